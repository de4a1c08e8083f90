// Every kind of upload against the real server: what it answers, that nothing of a refused one is there and the very
// bytes of a taken one are, and that gpg and skopeo still say of each what its case records.
import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { once } from 'node:events';
import { chmod, mkdir, readdir, readFile, writeFile } from 'node:fs/promises';
import { connect, type Socket } from 'node:net';
import path from 'node:path';
import { after, before, describe, test } from 'node:test';
import { forEachConcurrently } from '../../src/domain/concurrency.ts';
import type { ErrorCode } from '../../src/domain/errors.ts';
import { MAX_BATCH_BYTES } from '../../src/domain/limits.ts';
import { connect as connectSqlite } from '../../src/sqlite/connect.ts';
import { memoryOf } from '../faults/memory.ts';
import { count, isFull, longTest, promise } from '../faults/promise.ts';
import { asNobody, giveToNobody, needsNobody } from '../faults/unprivileged.ts';
import { parseAnswer, type RawAnswer, requestRaw, sendRaw } from '../http/raw-request.ts';
import { message, SIGNED_AT } from '../openpgp/packet-writer.ts';
import { needs } from './available.ts';
import { assertAccepted, type ClientHome, makeClientHome } from './client-home.ts';
import { run } from './command.ts';
import { eventually } from './eventually.ts';
import { writeImage } from './image.ts';
import type { SigningKey } from './keys.ts';
import { openScene, type Scene } from './scene.ts';
import { isByNodes } from './served-by.ts';
import { createToken, type LookasideServer, runLookaside, startServer } from './server.ts';
import { openTempFolder } from './temp-folder.ts';
import {
  GROUPS,
  type Peers,
  type Place,
  type Programs,
  payloadFor,
  UPLOAD_CORPUS,
  type UploadCase,
  type Wire,
} from './upload-corpus.ts';
import { type AskPeers, createPeers, untagged } from './upload-peers.ts';
import { ALGORITHM_SIGNERS, SIGNERS } from './upload-signers.ts';

/** What an upload can be refused with. */
const CODES: readonly ErrorCode[] = [
  'EMPTY',
  'FIRST_BYTE',
  'ARMORED',
  'NOT_INLINE_SIGNED',
  'STRUCTURE_INVALID',
  'DECOMPRESSION_LIMIT',
  'PAYLOAD_INVALID',
  'DIGEST_MISMATCH',
  'REPOSITORY_MISMATCH',
  'REFERENCE_INVALID',
  'KEY_UNKNOWN',
  'KEY_EXPIRED',
  'KEY_REVOKED',
  'KEY_UNUSABLE',
  'SIGNATURE_BAD',
  'SIGNATURE_EXPIRED',
  'SIGNED_IN_FUTURE',
  'ALGORITHM_UNSUPPORTED',
  'ALGORITHM_WEAK',
  'FORMAT_UNSUPPORTED',
  'TOO_LARGE',
  'PATH_INVALID',
  'NUMBER_TAKEN',
  'NUMBER_NOT_NEXT',
  'TOO_MANY_SIGNATURES',
  'UNAUTHORIZED',
  'DENIED',
  'READ_ONLY',
  'DISK_FULL',
  'SLOW_DOWN',
  'REQUEST_INVALID',
  'METHOD_NOT_ALLOWED',
  'BUSY',
];

/** A case with what was made of it. */
interface Made {
  readonly place: Place;
  /** The folder of the image, below the tree. */
  readonly folder: string;
  readonly bytes: Uint8Array;
  /** What gpg and skopeo say now; null when they were not asked. */
  readonly peers: Peers | null;
}

const PEERS_AT_ONCE = 4;
const VERDICT_MS = 2000;

const sha256 = (bytes: Uint8Array) => createHash('sha256').update(bytes).digest('hex');
const json = ({ body }: RawAnswer) => JSON.parse(body.toString());

/** What HAProxy answers itself, and no node gets. */
const BALANCERS = new Set(isByNodes ? ['the absolute form of a target', 'two Host lines'] : []);
const REACHING = UPLOAD_CORPUS.filter(({ what }) => !BALANCERS.has(what));

/** gpg and skopeo are asked of every case in `npm run faults`, and of a few in `npm test`: they take most of its time. */
const ASKED_OF_EACH = count(1, 25);

/** The cases that are pulled after their upload in `npm test`. */
const PULLED = new Set(
  UPLOAD_CORPUS.filter(({ isPulled }) => isPulled).filter((_, k) => k % count(1, 5) === 0),
);

describe('uploads', needs('gpg', 'skopeo', 'docker-registry'), () => {
  let scene: Scene;
  let server: LookasideServer;
  let data: string;
  let tree: string;
  let layout: string;
  let manifest: Buffer;
  let reader: ClientHome;
  let askPeers: AskPeers;
  let keyFiles: readonly string[];
  let tokens: Readonly<Record<'uploader' | 'reader' | 'auditor' | 'wrong', string>>;
  /** One uploader for each hundred cases: the audit log tells no more refusals of one uploader one by one. */
  let pipelines: readonly string[];
  const made = new Map<UploadCase, Made>();
  /** What was in the tree after the last case. */
  let stored: readonly string[] = [];
  const met = new Set<string>();
  /** How long the cases took that were answered as they should be. */
  const answeredMs = new Map<UploadCase, number>();
  /** How many upload events there must be in the end. */
  let eventCount = 0;

  before(async () => {
    scene = await openScene();
    data = path.join(scene.folder, 'data');
    tree = path.join(data, 'sigstore');
    layout = await writeImage(path.join(scene.folder, 'image'), 'signed in every way');
    manifest = await manifestOf(path.join(scene.folder, 'image'));
    keyFiles = await writeKeys(scene);
    server = await startServer({ data });
    tokens = {
      uploader: await createToken(data, 'pipeline', 'uploader'),
      reader: await createToken(data, 'dashboard', 'reader'),
      auditor: await createToken(data, 'revision', 'auditor'),
      wrong: 'lookaside_wrong',
    };
    pipelines = await Promise.all(
      [...new Set(UPLOAD_CORPUS.map(pipelineOf))].map((k) => createToken(data, `pipeline-${k}`, 'uploader')),
    );
    const added = await runLookaside(['key', 'add', ...keyFiles, '--data', data]);
    assert.equal(added.status, 0, added.stdout.replace(/^added.*\n/gm, ''));
    reader = await makeReader(scene, server.url);
    const manifestFile = path.join(scene.folder, 'manifest.json');
    await writeFile(manifestFile, manifest);
    const folder = path.join(scene.folder, 'peers');
    await mkdir(folder);
    askPeers = createPeers({ folder, gnupg: scene.gnupg, manifestFile });
    const programs = createPrograms(scene, manifestFile);
    await forEachConcurrently(UPLOAD_CORPUS, PEERS_AT_ONCE, async (each) => {
      made.set(each, await make(each, programs));
    });
  });

  after(async () => {
    await server?.[Symbol.asyncDispose]();
    await scene?.[Symbol.asyncDispose]();
  });

  async function make(each: UploadCase, programs: Programs): Promise<Made> {
    const place = placeOf(each.shares ?? slugOf(each.what));
    const folder = each.folder?.(place) ?? `${place.repository}@sha256=${place.sha256}`;
    const bytes = await each.make(place, programs);
    const reference = each.pulledAs?.(place) ?? place.reference;
    const isAsked = UPLOAD_CORPUS.indexOf(each) % ASKED_OF_EACH === 0;
    const peers = isAsked ? await askPeers({ bytes, reference, fingerprint: fingerprintOf(each) }) : null;
    return { place, folder, bytes, peers };
  }

  function placeOf(slug: string): Place {
    const repository = `corpus/${slug}`;
    return {
      host: scene.registry,
      repository,
      reference: `${scene.registry}/${repository}:v1`,
      sha256: sha256(manifest),
      sha384: createHash('sha384').update(manifest).digest('hex'),
      sha512: createHash('sha512').update(manifest).digest('hex'),
    };
  }

  const fingerprintOf = ({ fingerprint }: UploadCase) => fingerprint ?? scene.alice.fingerprint;

  function madeOf(each: UploadCase): Made {
    const signature = made.get(each);
    assert.ok(signature !== undefined);
    return signature;
  }

  async function send(
    port: number,
    wire: Wire,
    bytes: Uint8Array,
    uploader = tokens.uploader,
  ): Promise<RawAnswer> {
    const { requestLine, lines = [], token = 'uploader', scheme = 'bearer', isChunked = false } = wire;
    const text = token === null ? null : { ...tokens, uploader }[token];
    const all = [...(text === null ? [] : [authorization(text, scheme)]), ...lines];
    const answer = isChunked
      ? parseAnswer(await sendRaw(port, chunkedRequest(requestLine, all, bytes)))
      : await requestRaw(port, requestLine, all, bytes);
    if (answer.status >= 400) met.add(json(answer).errors[0].code);
    return answer;
  }

  const upload = (requestLine: string, bytes: Uint8Array) => send(server.port, { requestLine }, bytes);
  const get = (target: string) =>
    requestRaw(server.port, `GET ${target}`, [authorization(tokens.reader, 'bearer')]);
  const imageOf = (folder: string) => `/api/v1/images/${folder.replace('=', ':')}`;

  /** Files of the tree, and nothing left over from an upload. */
  async function storedFiles(): Promise<readonly string[]> {
    if (isByNodes) return (await import('./by-nodes.ts')).servedInsteadOf(data);
    const names = await readdir(tree, { recursive: true });
    const left = names.filter((name) => name.startsWith('.lookaside/tmp/'));
    assert.deepEqual(left, [], 'something is left in .lookaside/tmp');
    return names.filter((name) => !name.startsWith('.lookaside')).sort();
  }

  async function assertRefused(each: UploadCase, answer: RawAnswer) {
    const { folder } = madeOf(each);
    const said = answer.body.toString();
    assert.deepEqual([answer.status, json(answer).errors?.[0]?.code], [each.status, each.code], said);
    assert.match(json(answer).errors[0].message, /\S/);
    assert.deepEqual(await storedFiles(), stored, 'the tree has changed');
    assert.equal((await get(`/${folder}/signature-1`)).status, 404);
    // a folder that is too long is no image to ask for either
    const isNoImage = each.code === 'PATH_INVALID' && each.send === undefined;
    assert.equal((await get(imageOf(folder))).status, isNoImage ? 400 : 404);
    if (!each.isAtDoor) eventCount += 1;
  }

  async function assertTaken(each: UploadCase, answer: RawAnswer) {
    const { folder, bytes } = madeOf(each);
    const said = answer.body.toString();
    assert.equal(answer.status, 201, said);
    const target = `/${folder}/signature-1`;
    assert.equal(answer.headers.get('location'), target);
    const { auditSeq, logIndex, signedAt, dockerReference, warnings, signingFingerprint, ...receipt } =
      json(answer);
    const [, algorithm, hex] = /(sha[0-9]+)=([0-9a-f]+)$/.exec(folder) ?? [];
    assert.deepEqual(receipt, {
      path: target,
      number: 1,
      created: true,
      state: 'verified',
      fingerprint: fingerprintOf(each),
      manifestDigest: `${algorithm}:${hex}`,
      signatureSha256: sha256(bytes),
    });
    assert.deepEqual(
      warnings.map(({ code }: { readonly code: string }) => code),
      each.warnings,
    );
    assert.equal(signingFingerprint === receipt.fingerprint, !each.warnings.includes('SIGNING_SUBKEY'));
    assert.ok(Number.isInteger(auditSeq) && !Number.isNaN(Date.parse(signedAt)), said);
    assert.equal(logIndex, auditSeq - 1, said);
    assert.ok(typeof dockerReference === 'string');
    const served = await get(target);
    assert.equal(served.status, 200);
    assert.ok(served.body.equals(bytes), 'other bytes are served');
    assert.equal(served.headers.get('etag'), `"${sha256(bytes)}"`);
    const { signatures } = json(await get(imageOf(folder)));
    assert.deepEqual([signatures.length, signatures[0].state], [1, 'verified']);
    const now = await storedFiles();
    const added = now.filter((name) => !stored.includes(name));
    stored = now;
    assert.deepEqual(
      added.filter((name) => !folder.startsWith(name)),
      [`${folder}/signature-1`],
    );
    eventCount += 1;
  }

  async function assertPulled(each: UploadCase) {
    const { place, folder, bytes } = madeOf(each);
    assert.equal(folder, `${place.repository}@sha256=${place.sha256}`);
    const image = `${place.repository}:v1`;
    await scene.push(reader, layout, image);
    const copied = await scene.copy(reader, image);
    assertAccepted(copied);
    assert.deepEqual(await readFile(path.join(copied.folder, 'signature-1')), Buffer.from(untagged(bytes)));
  }

  for (const group of GROUPS) {
    describe(`of ${group}:`, () => {
      for (const each of UPLOAD_CORPUS.filter((one) => one.group === group)) {
        test(`${each.what}: ${each.code ?? 'taken'}`, async () => {
          const { place, folder, bytes, peers } = madeOf(each);
          if (peers !== null) {
            assert.deepEqual(peers, each.peers, 'gpg and skopeo say something else than is recorded');
          }
          const wire = each.send?.(place, folder) ?? { requestLine: `PUT /${folder}/signature-1` };
          const sentMs = performance.now();
          const answer = await send(server.port, wire, bytes, pipelines[pipelineOf(each)]);
          const tookMs = performance.now() - sentMs;
          if (each.code !== null) await assertRefused(each, answer);
          else await assertTaken(each, answer);
          if (PULLED.has(each)) await assertPulled(each);
          answeredMs.set(each, tookMs);
        });
      }
    });
  }

  promise(
    {
      id: 'P7',
      what: 'good and bad uploads of every kind, with the verdict of gpg and skopeo beside ours: all answered as listed',
      wanted: `${UPLOAD_CORPUS.length} of ${UPLOAD_CORPUS.length}, each in ≤ ${VERDICT_MS / 1000} s, memory ≤ 512 MiB`,
    },
    async (see) => {
      const slowestMs = Math.max(...answeredMs.values());
      const peakMib = (await memoryOf(server.pid)).peakBytes / 2 ** 20;
      const askedOf = UPLOAD_CORPUS.filter((each) => madeOf(each).peers !== null).length;
      see(
        `${answeredMs.size} of ${UPLOAD_CORPUS.length}, gpg and skopeo asked of ${askedOf}, slowest ${Math.round(slowestMs)} ms, peak ${Math.round(peakMib)} MiB`,
      );
      assert.equal(answeredMs.size, REACHING.length);
      assert.ok(peakMib <= 512);
      if (isFull) assert.ok(slowestMs <= VERDICT_MS);
    },
  );

  test('of a key that key add refuses are made by none that it takes', async () => {
    const unfit = SIGNERS.filter(({ standing }) => standing === 'unfit');
    const files = unfit.map(({ name }) => path.join(scene.folder, `${name}.key`));
    const { status, stdout } = await runLookaside(['key', 'add', '--json', ...files, '--data', data]);
    assert.equal(status, 1);
    const results: readonly { readonly result: string }[] = JSON.parse(stdout).results;
    assert.deepEqual(
      results.map(({ result }) => result),
      unfit.map(() => 'refused'),
    );
  });

  /** Signatures of different tags: one key has but a few numbers for each. */
  const series = (place: Place, count: number) =>
    Array.from({ length: count }, (_, tag) =>
      message(
        ALGORITHM_SIGNERS.ed25519.key,
        payloadFor({ ...place, reference: `${place.host}/${place.repository}:v${tag + 1}` }),
        { at: SIGNED_AT },
      ),
    );

  async function assertServes(folder: string, all: readonly Uint8Array[]): Promise<void> {
    for (const [index, bytes] of all.entries()) {
      const { status, body } = await get(`/${folder}/signature-${index + 1}`);
      assert.equal(status, 200);
      assert.ok(body.equals(bytes));
    }
    assert.equal((await get(`/${folder}/signature-${all.length + 1}`)).status, 404);
  }

  test('to a number that is taken or would leave a gap are refused with the number that is free', async () => {
    const place = placeOf('numbers');
    const folder = `${place.repository}@sha256=${place.sha256}`;
    const [one, two] = series(place, 2);
    assert.ok(one !== undefined && two !== undefined);
    assert.equal((await upload(`PUT /${folder}/signature-1`, one)).status, 201);
    for (const [number, code] of [
      [1, 'NUMBER_TAKEN'],
      [3, 'NUMBER_NOT_NEXT'],
      [999_999_999, 'NUMBER_NOT_NEXT'],
    ]) {
      const answer = await upload(`PUT /${folder}/signature-${number}`, two);
      const [{ code: refusal, detail }] = json(answer).errors;
      assert.deepEqual([answer.status, refusal, detail], [409, code, { next: 2 }]);
    }
    const again = await upload(`PUT /${folder}/signature-7`, one);
    assert.deepEqual([again.status, again.headers.get('location')], [200, `/${folder}/signature-1`]);
    await assertServes(folder, [one]);
    eventCount += 4;
  });

  // by every door: test/clients/uploads-together.test.ts
  longTest('of a 128th signature of an image are refused, and the 127 stay', async () => {
    const place = placeOf('full');
    const folder = `${place.repository}@sha256=${place.sha256}`;
    const all = series(place, 128);
    const [fitting, last] = [all.slice(0, -1), all.at(-1)];
    assert.ok(last !== undefined);
    for (const parts of [fitting.slice(0, 100), fitting.slice(100)]) {
      const results = await sendForm(
        server.url,
        '?force=1',
        parts.map((bytes) => ({ bytes, name: 'x' })),
      );
      assert.ok(results.every(({ result }) => result === 'created'));
    }
    for (const target of [`POST /${folder}?force=1`, `PUT /${folder}/signature-128`]) {
      const answer = await upload(target, last);
      assert.deepEqual([answer.status, json(answer).errors[0].code], [409, 'TOO_MANY_SIGNATURES']);
    }
    await assertServes(folder, fitting);
    eventCount += 129;
  });

  interface FormPart {
    readonly bytes: Uint8Array;
    readonly name: string;
  }

  async function sendForm(
    url: string,
    query: string,
    parts: readonly FormPart[],
    token = tokens.uploader,
  ): Promise<readonly { readonly result: string; readonly code?: string }[]> {
    const form = new FormData();
    for (const { bytes, name } of parts) form.append('signature', new Blob([Buffer.from(bytes)]), name);
    const headers = { Authorization: `Bearer ${token}` };
    const answer = await fetch(`${url}/api/v1/signatures${query}`, { method: 'POST', headers, body: form });
    assert.equal(answer.status, 200);
    const { results } = JSON.parse(await answer.text());
    return results;
  }

  describe('to a server whose disk is full', () => {
    let full: LookasideServer;
    let token: string;
    let fullData: string;

    before(async () => {
      fullData = path.join(scene.folder, 'full');
      token = await createToken(fullData, 'pipeline', 'uploader');
      assertAccepted(await runLookaside(['key', 'add', ...keyFiles, '--data', fullData]));
      full = await startServer({ data: fullData, settings: { LOOKASIDE_MIN_FREE: '9999TiB' } });
    });

    after(() => full?.[Symbol.asyncDispose]());

    const bearer = () => [authorization(token, 'bearer')];
    const good = () => {
      const place = placeOf('disk-full');
      const [bytes = Buffer.alloc(0)] = series(place, 1);
      return { requestLine: `PUT /${place.repository}@sha256=${place.sha256}/signature-1`, bytes };
    };

    async function assertAnswer(answer: RawAnswer, status: number, code: ErrorCode): Promise<void> {
      assert.deepEqual([answer.status, json(answer).errors[0].code], [status, code]);
      met.add(code);
      const files = await readdir(path.join(fullData, 'sigstore'), { recursive: true });
      assert.deepEqual(
        files.filter((name) => !name.startsWith('.lookaside')),
        [],
      );
      assert.deepEqual(
        files.filter((name) => name.startsWith('.lookaside/tmp/')),
        [],
      );
    }

    test('are refused with 507', async () => {
      const { requestLine, bytes } = good();
      await assertAnswer(await requestRaw(full.port, requestLine, bearer(), bytes), 507, 'DISK_FULL');
    });

    longTest('are refused in a form for the same reasons as one by one', async () => {
      const refused = UPLOAD_CORPUS.filter(({ code, isAtDoor }) => code !== null && !isAtDoor);
      for (let from = 0; from < refused.length; from += 50) {
        const some = refused.slice(from, from + 50);
        const parts = some.map((each) => ({
          bytes: madeOf(each).bytes,
          name: `${madeOf(each).folder}/signature-1`,
        }));
        const results = await sendForm(full.url, '', parts, token);
        assert.deepEqual(
          results.map(({ result, code }) => [result, code]),
          some.map(({ code }) => ['refused', code]),
        );
      }
    });

    test('are told to come back while their uploader holds as much as he may at one time', async () => {
      const waiting = await Promise.all([beginBatch(full.port, token), beginBatch(full.port, token)]);
      const lines = [...bearer(), 'Content-Type: multipart/form-data; boundary=x'];
      const largest = Buffer.alloc(MAX_BATCH_BYTES, 'x');
      try {
        await eventually(async () => {
          const answer = await requestRaw(full.port, 'POST /api/v1/signatures', lines, largest);
          await assertAnswer(answer, 503, 'BUSY');
          assert.match(answer.headers.get('retry-after') ?? '', /^[1-9][0-9]*$/);
        });
      } finally {
        for (const socket of waiting) socket.destroy();
      }
    });

    test('are told to slow down after ten wrong tokens, which those with the right one are not', async () => {
      const { requestLine, bytes } = good();
      const wrong = [authorization('wrong', 'bearer')];
      for (let count = 0; count < 10; count += 1) {
        const answer = await requestRaw(full.port, requestLine, wrong, bytes);
        await assertAnswer(answer, 401, 'UNAUTHORIZED');
        assert.equal(answer.headers.get('www-authenticate'), 'Basic realm="lookaside"');
      }
      const answer = await requestRaw(full.port, requestLine, wrong, bytes);
      await assertAnswer(answer, 429, 'SLOW_DOWN');
      assert.match(answer.headers.get('retry-after') ?? '', /^[1-9][0-9]*$/);
      await assertAnswer(await requestRaw(full.port, requestLine, bearer(), bytes), 507, 'DISK_FULL');
    });
  });

  test('to a tree that may not be written are refused, and taken once it may', needsNobody(), async () => {
    await using temp = await openTempFolder();
    const closedData = path.join(temp.path, 'data');
    const closedTree = path.join(closedData, 'sigstore');
    const token = await createToken(closedData, 'pipeline', 'uploader');
    assertAccepted(
      await runLookaside(['key', 'add', path.join(scene.folder, 'ed25519.key'), '--data', closedData]),
    );
    await giveToNobody(temp.path);
    await using closed = await startServer({ data: closedData, on: asNobody });
    const place = placeOf('read-only');
    const [bytes] = series(place, 1);
    const requestLine = `PUT /${place.repository}@sha256=${place.sha256}/signature-1`;
    const put = () => requestRaw(closed.port, requestLine, [authorization(token, 'bearer')], bytes);
    await chmod(closedTree, 0o555);
    const answer = await put();
    assert.deepEqual(
      [answer.status, json(answer).errors[0].code],
      [403, 'READ_ONLY'],
      answer.body.toString(),
    );
    met.add('READ_ONLY');
    assert.deepEqual(
      (await readdir(closedTree)).filter((name) => name !== '.lookaside'),
      [],
    );
    await chmod(closedTree, 0o755);
    assert.equal((await put()).status, 201);
  });

  test('have met every code that an upload can be refused with', () => {
    const unmet = CODES.filter((code) => !met.has(code));
    const notTried = [
      ...(isFull ? [] : ['TOO_MANY_SIGNATURES']),
      ...(needsNobody().skip === false && !isByNodes ? [] : ['READ_ONLY']),
      // the disk is that of the database; and how much at once, and how often, each node counts for itself
      ...(isByNodes ? ['DISK_FULL', 'BUSY', 'SLOW_DOWN'] : []),
    ];
    assert.deepEqual(
      unmet,
      CODES.filter((code) => notTried.includes(code)),
    );
  });

  test('have each left one audit event, and nothing of those that were stopped at the door', async () => {
    await server.stop();
    const events = await readUploadEvents(data);
    for (const each of REACHING) {
      const { folder, bytes } = madeOf(each);
      const result = each.code ?? 'created';
      assert.deepEqual(
        events.filter(({ image }) => image === folder).map(({ image, ...event }) => event),
        each.isAtDoor
          ? []
          : [{ result, signatureSha256: sha256(bytes), actor: `pipeline-${pipelineOf(each)}` }],
        each.what,
      );
    }
    assert.equal(events.length, eventCount);
  });
});

/** A batch of 16 MiB of which all but the last byte was sent. */
async function beginBatch(port: number, token: string): Promise<Socket> {
  const socket = connect({ host: '127.0.0.1', port });
  const lines = [
    'POST /api/v1/signatures HTTP/1.1',
    'Host: lookaside.example',
    authorization(token, 'bearer'),
    'Content-Type: multipart/form-data; boundary=x',
    `Content-Length: ${MAX_BATCH_BYTES}`,
    'Expect: 100-continue',
  ];
  socket.write(`${lines.join('\r\n')}\r\n\r\n`);
  const [chunk] = await once(socket, 'data');
  assert.match(chunk.toString(), /^HTTP\/1\.1 100 /);
  await new Promise((resolve) => socket.write(Buffer.alloc(MAX_BATCH_BYTES - 1, 'x'), resolve));
  return socket;
}

/** Which uploader sends it. */
function pipelineOf(each: UploadCase): number {
  return Math.floor(UPLOAD_CORPUS.indexOf(each) / 100);
}

interface UploadEvent {
  readonly image: string | null;
  readonly signatureSha256: string;
  readonly result: string;
  readonly actor: string;
}

async function readUploadEvents(data: string): Promise<readonly UploadEvent[]> {
  if (isByNodes) {
    const { askInsteadOf } = await import('./by-nodes.ts');
    const columns = ['leaf image', 'leaf signatureSha256', 'leaf result', 'private actor'].map((column) => {
      const [from, name] = column.split(' ');
      return `${from}::json ->> '${name}' AS "${name}"`;
    });
    const sql = `SELECT ${columns} FROM audit_event WHERE leaf::json ->> 'action' = 'upload' ORDER BY seq`;
    return (await askInsteadOf(data, sql)) as unknown as readonly UploadEvent[]; // as the statement names them
  }
  const db = connectSqlite(path.join(data, 'state.db'), { readonly: true });
  const rows = db
    .prepare(
      `SELECT leaf ->> '$.image' AS image, leaf ->> '$.signatureSha256' AS signatureSha256,
         leaf ->> '$.result' AS result, private ->> '$.actor' AS actor
       FROM audit_event
       WHERE leaf ->> '$.action' = 'upload'
       ORDER BY seq`,
    )
    .all() as UploadEvent[];
  db.close();
  return rows;
}

const KNOWN_TO_OLD_READERS: readonly string[] = ['SIGNING_SUBKEY', 'SHA512_DIGEST'];

describe('the corpus', () => {
  test('has more than 100 uploads, each with a name of its own, and every group', () => {
    assert.ok(UPLOAD_CORPUS.length > 100);
    assert.equal(new Set(UPLOAD_CORPUS.map(({ what }) => slugOf(what))).size, UPLOAD_CORPUS.length);
    assert.deepEqual([...new Set(UPLOAD_CORPUS.map(({ group }) => group))], [...GROUPS]);
  });

  test('says why wherever gpg or skopeo takes what is refused, and nowhere else', () => {
    for (const { what, code, peers, why } of UPLOAD_CORPUS) {
      if (code === null) continue;
      assert.equal(why !== null, peers.gpg === 'good' || peers.skopeo === 'good', what);
    }
  });

  test('has nothing taken that gpg refuses, and of what skopeo refuses only what the receipt warns of', () => {
    const unwarned: string[] = [];
    for (const { what, code, peers, warnings, why } of UPLOAD_CORPUS) {
      if (code !== null) continue;
      assert.equal(peers.gpg, 'good', what);
      const isWarned = warnings.some((warning) => KNOWN_TO_OLD_READERS.includes(warning));
      if (isWarned) assert.equal(peers.skopeo, 'bad', what);
      else if (peers.skopeo === 'bad') unwarned.push(what);
      assert.equal(why !== null, unwarned.includes(what), what);
    }
    assert.deepEqual(unwarned, ['a reference of an address of version 6']);
  });
});

/** As part of a repository path and as a file name. */
function slugOf(what: string): string {
  return what
    .toLowerCase()
    .replace(/[^a-z0-9]+/g, '-')
    .replace(/^-|-$/g, '');
}

function authorization(token: string, scheme: 'bearer' | 'basic'): string {
  if (scheme === 'bearer') return `Authorization: Bearer ${token}`;
  return `Authorization: Basic ${Buffer.from(`anybody:${token}`).toString('base64')}`;
}

function chunkedRequest(requestLine: string, lines: readonly string[], bytes: Uint8Array): Buffer {
  const head = [`${requestLine} HTTP/1.1`, 'Host: lookaside.example', 'Connection: close', ...lines];
  return Buffer.concat([
    Buffer.from(`${head.join('\r\n')}\r\nTransfer-Encoding: chunked\r\n\r\n${bytes.length.toString(16)}\r\n`),
    bytes,
    Buffer.from('\r\n0\r\n\r\n'),
  ]);
}

async function manifestOf(folder: string): Promise<Buffer> {
  const { manifests } = JSON.parse(await readFile(path.join(folder, 'index.json'), 'utf8'));
  return readFile(path.join(folder, 'blobs/sha256', manifests[0].digest.split(':')[1]));
}

/** Gives gpg every key, and returns the files of those that the server is to know. */
async function writeKeys(scene: Scene): Promise<readonly string[]> {
  const registered: string[] = [];
  for (const { name, certificate, standing } of SIGNERS) {
    const file = path.join(scene.folder, `${name}.key`);
    await writeFile(file, certificate);
    if (standing === 'registered') registered.push(file);
  }
  const file = path.join(scene.folder, 'all.key');
  await writeFile(file, Buffer.concat(SIGNERS.map(({ certificate }) => certificate)));
  const env = {
    PATH: process.env.PATH ?? '',
    LC_ALL: 'C',
    HOME: scene.folder,
    GNUPGHOME: scene.gnupg.folder,
  };
  await run(['gpg', '--batch', '--no-tty', '--import', file], { env }); // its status tells of those that it refuses
  return [...registered, scene.alice.publicKeyFile, scene.bob.publicKeyFile];
}

/** Somebody who trusts all keys that the server knows. */
async function makeReader(scene: Scene, url: string): Promise<ClientHome> {
  const publicKeyFile = path.join(scene.folder, 'trusted.gpg');
  const names = [scene.alice, scene.bob].map(({ fingerprint }) => fingerprint);
  const registered = SIGNERS.filter(({ standing }) => standing === 'registered');
  const fingerprints = [...names, ...registered.map(({ fingerprint }) => fingerprint)];
  await scene.gnupg.gpg('--output', publicKeyFile, '--export', ...fingerprints);
  const trusts: SigningKey = { email: '', fingerprint: '', publicKeyFile };
  return makeClientHome(path.join(scene.folder, 'reader'), {
    trusts,
    registriesD: { 'default-docker': { lookaside: url } },
    on: scene.on,
  });
}

function createPrograms(scene: Scene, manifestFile: string): Programs {
  let count = 0;
  const next = () => {
    count += 1;
    return path.join(scene.folder, `made-${count}`);
  };
  return {
    user: scene.alice.email,
    other: scene.bob.email,
    async gpg(content, ...options) {
      const [input, output] = [next(), next()];
      await writeFile(input, content);
      await scene.gnupg.gpg('--output', output, ...options, input);
      return readFile(output);
    },
    async skopeo(reference) {
      const output = next();
      const env = { PATH: process.env.PATH ?? '', HOME: scene.folder, GNUPGHOME: scene.gnupg.folder };
      const { fingerprint } = scene.alice;
      const args = ['standalone-sign', manifestFile, reference, fingerprint, '--output', output] as const;
      assertAccepted(await run(['skopeo', ...args], { env }));
      return readFile(output);
    },
  };
}
