// Keys that are poisoned, revoked or secret, tokens that are guessed, and what judging costs.
import assert from 'node:assert/strict';
import { readdir, readFile, writeFile } from 'node:fs/promises';
import { Agent } from 'node:http';
import path from 'node:path';
import { armorPublicKey } from '../../src/openpgp/armor.ts';
import { openVerifier } from '../../src/openpgp/pool.ts';
import { needs } from '../clients/available.ts';
import { bzip2Bomb, deflateBomb } from '../clients/bombs.ts';
import { createToken, runLookaside, startServer } from '../clients/server.ts';
import { makeSigner } from '../clients/signer.ts';
import { openTempFolder } from '../clients/temp-folder.ts';
import { requestRaw } from '../http/raw-request.ts';
import {
  binding,
  keyOf,
  makeKey,
  mpi,
  onKey,
  onUserId,
  packet,
  primaryPacket,
  simpleCertificate,
  subkeyPacket,
  T0,
  TAGS,
  TYPES,
  uint16,
  type WrittenKey,
} from '../openpgp/certificate-writer.ts';
import { certificate, makeKey as makeSigningKey } from '../openpgp/packet-writer.ts';
import { folderOf, layImage, signatureBytes } from '../store/lay.ts';
import { ask } from './ask.ts';
import { percentile } from './percentile.ts';
import { count, isFull, promise } from './promise.ts';

const NOW = new Date('2026-01-01T00:00:00Z');

promise(
  {
    id: 'P7',
    what: 'eight decompression bombs judged at once',
    wanted: 'each verdict in at most 2 s, peak memory at most 512 MiB',
    ...needs('bzip2'),
  },
  async (see) => {
    const signer = makeSigner('alice');
    const makers = [
      () => deflateBomb(signer, 'zip'),
      () => deflateBomb(signer, 'zlib'),
      () => bzip2Bomb(signer),
    ];
    const bombs = makers.map((make) => make());
    const verifier = openVerifier();
    try {
      verifier.setKeyring([signer.certificate]);
      await verifier.examine(signer.sign({ repository: 'a/b', tag: 'v1' }), NOW, 'upload'); // threads are started
      let slowestMs = 0;
      for (let round = 0; round < count(5, 1); round += 1) {
        const all = Array.from({ length: 8 }, async (_, k) => {
          const startMs = performance.now();
          const { verdict } = await verifier.examine(bombs[k % bombs.length] ?? assert.fail(), NOW, 'upload');
          slowestMs = Math.max(slowestMs, performance.now() - startMs);
          assert.notEqual(verdict, 'good');
        });
        await Promise.all(all);
      }
      const peakMiB = process.resourceUsage().maxRSS / 1024;
      see(`slowest ${Math.round(slowestMs)} ms, peak ${Math.round(peakMiB)} MiB, in 8 of 8`);
      assert.ok(peakMiB <= 512, `${peakMiB} MiB`);
      if (isFull) assert.ok(slowestMs <= 2000, `${slowestMs} ms`);
    } finally {
      await verifier.close();
    }
  },
);

promise(
  {
    id: 'P19',
    what: 'a certificate of 2 MiB with thousands of forged certifications, forged revocations and unbound subkeys is cleaned',
    wanted: 'in at most 1 s, at most 8 KiB kept, not revoked, no subkey',
  },
  async (see) => {
    const key = makeKey();
    const poisoned = poisonedCertificate(key);
    const verifier = openVerifier();
    try {
      await verifier.cleanCertificates(simpleCertificate(makeKey()), NOW); // a thread is started
      const startMs = performance.now();
      const [result] = await verifier.cleanCertificates(poisoned, NOW);
      const tookMs = performance.now() - startMs;
      assert.ok(result?.kind === 'clean', JSON.stringify(result));
      const { certificate: kept, details } = result;
      see(
        `${(poisoned.length / 2 ** 20).toFixed(1)} MiB in ${Math.round(tookMs)} ms, ${kept.length} bytes kept, ${details.revokedAt === null ? 'not ' : ''}revoked, ${details.subkeys.length} subkeys`,
      );
      assert.ok(poisoned.length >= 2 ** 21);
      assert.ok(kept.length <= 8192);
      assert.deepEqual([details.revokedAt, details.subkeys], [null, []]);
      if (isFull) assert.ok(tookMs <= 1000, `${tookMs} ms`);
    } finally {
      await verifier.close();
    }
  },
);

/** What strangers can add to anybody's certificate on a key server that takes everything. */
function poisonedCertificate(key: WrittenKey): Buffer {
  const forgery = (k: number) => ({
    createdAt: T0 + k,
    forged: [Buffer.alloc(32, k % 255 || 1), Buffer.alloc(32, 7)],
    // most do not even begin as their digest would; who takes the trouble has to be checked
    ...(k % 20 === 0 ? {} : { digestStart: k & 0xffff }),
  });
  const certifications = Array.from({ length: 10_000 }, (_, k) => onUserId(key, 'alice', forgery(k)));
  const revocations = Array.from({ length: 4000 }, (_, k) =>
    onKey(key, { type: TYPES.keyRevocation, ...forgery(k) }),
  );
  const subkeys = Array.from({ length: 4000 }, (_, k) => {
    const subkey = keyOf(key.algorithm, key.body.subarray(6), T0 + 1 + k);
    return Buffer.concat([subkeyPacket(subkey), binding(key, subkey, { back: null, ...forgery(k) })]);
  });
  // revocations of a key stand before its user IDs, and subkeys behind them
  const primary = primaryPacket(key);
  const owned = simpleCertificate(key).subarray(primary.length);
  return Buffer.concat([primary, ...revocations, owned, ...certifications, ...subkeys]);
}

promise(
  {
    id: 'P19',
    what: 'a revoked key stays revoked after an older copy of it; secret keys leave nothing',
    wanted: 'revoked; 0 bytes of 3 secret keys in the data directory and the log',
  },
  async (see) => {
    await using temp = await openTempFolder();
    const data = temp.path;
    const key = makeSigningKey('ed25519');
    const files = { fresh: path.join(data, 'a.gpg'), revoked: path.join(data, 'b.gpg') };
    await writeFile(files.fresh, certificate(key));
    await writeFile(files.revoked, certificate(key, { revoked: { at: new Date('2024-01-01'), reason: 2 } }));
    await using server = await startServer({ data });
    const add = (file: string) => runLookaside(['key', 'add', file, '--data', data]);
    for (const file of [files.fresh, files.revoked, files.fresh]) assert.equal((await add(file)).status, 0);
    const { stdout } = await runLookaside(['key', 'show', key.fingerprint, '--data', data]);
    assert.match(stdout, /revoked/);

    const owner = makeKey();
    const marker = Buffer.from('SECRET-MATERIAL-OF-32-BYTES-HERE');
    const body = Buffer.concat([owner.body, Uint8Array.of(0), mpi(marker), uint16(0)]);
    const secret = Buffer.concat([packet(TAGS.secretKey, body), simpleCertificate(owner).subarray(5)]);
    await using outside = await openTempFolder();
    const forms: readonly Buffer[] = [
      secret,
      Buffer.from(armorPublicKey(secret).replaceAll('PUBLIC', 'PRIVATE')),
      Buffer.concat([simpleCertificate(owner), packet(TAGS.secretSubkey, body)]),
    ];
    let said = '';
    for (const [k, form] of forms.entries()) {
      const file = path.join(outside.path, `secret-${k}`);
      await writeFile(file, form);
      const refused = await add(file);
      assert.equal(refused.status, 1);
      said += refused.stdout + refused.stderr;
    }
    await server.stop();
    said += server.output();
    let traceFiles = 0;
    for (const name of await readdir(data, { recursive: true })) {
      const content = await readFile(path.join(data, name)).catch(() => Buffer.alloc(0)); // a folder
      if (content.includes(marker) || content.includes(marker.toString('base64').slice(4, 36)))
        traceFiles += 1;
    }
    see(`revoked; ${traceFiles} files with bytes of ${forms.length} secret keys`);
    assert.equal(traceFiles, 0);
    assert.ok(!said.includes(marker.toString()) && !said.includes(marker.toString('hex')));
  },
);

const LOG_FORMATS = isFull ? (['combined', 'json'] as const) : (['json'] as const);

promise(
  {
    id: 'P20',
    what: 'wrong tokens are slowed on writes alone; the right one never is, and no token is kept, logged or told',
    wanted:
      '10 × 401 and then 429; reads 200; the right token 422; 0 times in files, logs of both formats, answers and metrics',
  },
  async (see) => {
    const seen = new Set<string>();
    for (const format of LOG_FORMATS) {
      await using temp = await openTempFolder();
      seen.add(await guessTokens(temp.path, format));
    }
    see([...seen].join('; '));
  },
);

/** The figure of one server. */
async function guessTokens(folder: string, format: (typeof LOG_FORMATS)[number]): Promise<string> {
  const data = path.join(folder, 'data');
  const root = path.join(folder, 'tree');
  const image = await layImage(root, 'team/app', signatureBytes('one'));
  const token = await createToken(data, 'pipeline', 'uploader');
  const settings = { LOOKASIDE_ACCESS_LOG: format, LOOKASIDE_LOG_LEVEL: 'debug' };
  await using server = await startServer({ data, root, settings });
  const wrong = [
    `lookaside_${'0123456789abcdef'.repeat(4)}`,
    flippedAt(token, token.length - 1),
    'pa55word-of-no-token',
  ];
  let message = '';
  const request = async (line: string, authorization: string, body?: Uint8Array) => {
    const answer = await requestRaw(server.port, line, [`Authorization: ${authorization}`], body);
    message += `${[...answer.headers].join()} ${answer.body}`;
    return answer.status;
  };
  const put = (authorization: string) =>
    request(`PUT /${folderOf('team/new')}/signature-1`, authorization, signatureBytes('x'));
  const statuses: number[] = [];
  for (let k = 0; k < 12; k += 1)
    statuses.push(await put(SCHEMES[k % 2 === 0 ? 'bearer' : 'basic'](wrong[k % 3] ?? '')));
  const reads = new Set<number>();
  for (let k = 0; k < 20; k += 1) {
    const scheme = SCHEMES[k % 2 === 0 ? 'bearer' : 'basic'];
    reads.add(await request(`GET /${image}/signature-1`, scheme([token, ...wrong][k % 4] ?? '')));
  }
  const right = await put(SCHEMES.bearer(token));
  assert.equal(await put(SCHEMES.basic(token)), right);
  message += (await requestRaw(server.port, 'GET /metrics')).body.toString();
  await server.stop();

  const log = server.output();
  const lines = log.split('\n').filter((line) => line.includes('signature-1'));
  assert.ok(lines.length >= statuses.length + 20 + 2, `${lines.length} lines of requests:\n${log}`);
  const places = new Map([
    ['log', Buffer.from(log)],
    ['answers', Buffer.from(message)],
    ...(await filesBelow(folder)),
  ]);
  assert.ok(
    [...places.keys()].some((place) => place.includes('/access/')),
    'reads are recorded',
  );
  const traces = [token, ...wrong].flatMap(tracesOf);
  const leaks = [...places].filter(([, content]) => traces.some((trace) => content.includes(trace)));
  assert.deepEqual(
    leaks.map(([place]) => place),
    [],
  );
  assert.deepEqual(statuses, [...Array<number>(10).fill(401), 429, 429]);
  assert.deepEqual([...reads], [200]);
  assert.equal(right, 422);
  return `${statuses.filter((status) => status === 401).length} × 401, then ${statuses.at(-1)}; reads ${[...reads]}; the right token ${right}; ${leaks.length} times in files, logs, answers and metrics`;
}

async function filesBelow(folder: string): Promise<readonly (readonly [file: string, content: Buffer])[]> {
  const entries = await readdir(folder, { recursive: true, withFileTypes: true });
  const files = entries
    .filter((entry) => entry.isFile())
    .map((entry) => path.join(entry.parentPath, entry.name));
  return Promise.all(files.map(async (file) => [file, await readFile(file)] as const));
}

const SCHEMES = {
  bearer: (text: string) => `Bearer ${text}`,
  basic: (text: string) => `Basic ${Buffer.from(`user:${text}`).toString('base64')}`,
};

/** As it is sent, in both schemes, and what would do to guess it. */
function tracesOf(token: string): readonly string[] {
  const [, encoded = ''] = SCHEMES.basic(token).split(' ');
  return [token, token.replace('lookaside_', '').slice(0, 16), encoded, encoded.slice(8, 40)];
}

function flippedAt(token: string, at: number): string {
  return token.slice(0, at) + (token[at] === '0' ? '1' : '0') + token.slice(at + 1);
}

/** Above this what is told of two series of times differs by more than chance: https://www.bearssl.org/constanttime.html */
const WELCH_LIMIT = 4.5;
const GUESSES = count(20_000, 100);

promise(
  {
    id: 'P20',
    what: 'how long it takes to refuse a token tells nothing of how much of it is right',
    wanted: `|t| of Welch < ${WELCH_LIMIT} over 2 × ${GUESSES} requests`,
  },
  async (see) => {
    await using temp = await openTempFolder();
    const data = path.join(temp.path, 'data');
    const token = await createToken(data, 'pipeline', 'uploader');
    await using server = await startServer({ data, settings: { LOOKASIDE_READ: 'token' } });
    // right but for the last character, and wrong from the first one that is not the same in all
    const guesses = [flippedAt(token, token.length - 1), flippedAt(token, 'lookaside_'.length)] as const;
    const agent = new Agent({ keepAlive: true, maxSockets: 1 });
    const tookMs: [number[], number[]] = [[], []];
    for (let pair = 0; pair < GUESSES; pair += 1) {
      const first = Math.random() < 0.5 ? 0 : 1;
      for (const which of [first, 1 - first] as (0 | 1)[]) {
        const headers = { Authorization: `Bearer ${guesses[which]}` };
        const askedMs = performance.now();
        const { status } = await ask(server.port, `/${folderOf('team/app')}/signature-1`, agent, headers);
        tookMs[which].push(performance.now() - askedMs);
        assert.equal(status, 401);
      }
    }
    agent.destroy();
    const t = welch(...withoutOutliers(tookMs));
    see(`|t| ${Math.abs(t).toFixed(2)} over 2 × ${GUESSES} requests`);
    assert.ok(Number.isFinite(t));
    if (isFull) assert.ok(Math.abs(t) < WELCH_LIMIT);
  },
);

/** Both lists without the slowest twentieth of all times: those are what the machine held up. */
function withoutOutliers([one, other]: readonly [readonly number[], readonly number[]]): [
  number[],
  number[],
] {
  const most = percentile([...one, ...other], 95);
  const within = (all: readonly number[]) => all.filter((each) => each <= most);
  return [within(one), within(other)];
}

/** How far apart two means are, in standard errors. */
function welch(one: readonly number[], other: readonly number[]): number {
  const [a, b] = [momentsOf(one), momentsOf(other)];
  return (a.mean - b.mean) / Math.sqrt(a.variance / one.length + b.variance / other.length);
}

function momentsOf(all: readonly number[]): { readonly mean: number; readonly variance: number } {
  const mean = all.reduce((sum, each) => sum + each, 0) / all.length;
  const variance = all.reduce((sum, each) => sum + (each - mean) ** 2, 0) / (all.length - 1);
  return { mean, variance };
}
