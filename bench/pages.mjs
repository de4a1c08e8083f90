// `npm run bench -- pages`: how long each web page takes, asked one after the other, of a server with many images and reads; and the
// processor time of the server's threads for it, which other work on the machine changes less.
//   --images N      100,000 unless told: a fifth in one repository, the others in 4,999; every second one has the tag latest
//   --reads N       rows of the record of reads, over the last 30 days; 1,000,000 unless told
//   --events N      audit events; 100,000 unless told
//   --rounds N      how often each page is asked for; 20 unless told
//   --only TEXT     the pages whose address has TEXT in it
//   --folder DIR    keeps what was made for the next run
//   --fill          makes it, and measures nothing
import { createHash, randomBytes } from 'node:crypto';
import { existsSync, mkdirSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { bytesOf, laySigned } from './material.mjs';
import { progressOf } from './progress.mjs';
import { openFolder } from './run-folder.mjs';
import { runCommand, settle, startLookaside, stopAll } from './servers.mjs';

const { openDatabases } = await import('../dist/src/sqlite/databases.js');
const { createEventMaker } = await import('../dist/src/service/audit.js');

const { values: flags } = parseArgs({
  args: process.argv.slice(3),
  options: {
    images: { type: 'string', default: '100000' },
    reads: { type: 'string', default: '1000000' },
    events: { type: 'string', default: '100000' },
    rounds: { type: 'string', default: '20' },
    only: { type: 'string', default: '' },
    folder: { type: 'string' },
    fill: { type: 'boolean', default: false },
  },
});
const [IMAGES, READS, EVENTS, ROUNDS] = [flags.images, flags.reads, flags.events, flags.rounds].map(Number);
const REPOSITORIES = 4999;
const PORT = 18_105;
const DAYS = 30;
const DAY_MS = 86_400_000;
const BATCH = 5000;
/** The writer's queue is bounded. */
const EVENTS_AT_ONCE = 200;
const LARGE = 'team-0/large';

const { path: folder, close } = openFolder(flags.folder, 'lookaside-pages-');
const data = join(folder, 'data');
mkdirSync(data, { recursive: true });
try {
  const made = await fill();
  if (!flags.fill) await measure(made);
} finally {
  await stopAll();
  close();
}

function digestOf(text) {
  return createHash('sha256').update(text).digest('hex');
}

function pathOf(k) {
  if (k % 5 === 0) return LARGE;
  const repository = k % REPOSITORIES;
  return `team-${repository % 50}/app-${repository}`;
}

function imageOf(k) {
  return {
    site: 'default',
    layout: 'repository',
    path: pathOf(k),
    algorithm: 'sha256',
    hex: digestOf(`image ${k}`),
  };
}

/** Keys and tokens by the commands, the rest straight into the databases. Returns what pages are asked for. */
async function fill() {
  const done = join(folder, 'made.json');
  if (existsSync(done)) return JSON.parse(readFileSync(done, 'utf8'));
  const { publicKey } = await laySigned(join(folder, 'signed'), 0);
  await (await openDatabases({ dataDir: data, onUnusable: () => undefined })).close(); // commands make no data directory
  runCommand(['key', 'add', publicKey, '--data', data]);
  const { keys } = JSON.parse(runCommand(['key', 'list', '--data', data, '--json']));
  const [{ fingerprint }] = keys;
  const { token } = JSON.parse(
    runCommand(['token', 'create', '--name', 'admin', '--role', 'admin', '--data', data, '--json']),
  );
  const databases = await openDatabases({ dataDir: data, onUnusable: () => undefined });
  const say = progressOf('images', IMAGES);
  for (let from = 0; from < IMAGES; from += BATCH) {
    const length = Math.min(BATCH, IMAGES - from);
    await databases.index.record(Array.from({ length }, (_, k) => recorded(from + k, fingerprint)));
    say(from + length);
  }
  await databases.index.markComplete('default');
  await fillReads(databases);
  await fillEvents(databases, fingerprint);
  await databases.close();
  process.stderr.write('\n');
  const made = { fingerprint, token };
  writeFileSync(done, JSON.stringify(made));
  return made;
}

/** The file too: the server would forget what is not there. */
function recorded(k, fingerprint) {
  const image = imageOf(k);
  const at = join(data, 'sigstore', `${image.path}@sha256=${image.hex}`);
  mkdirSync(at, { recursive: true });
  const bytes = bytesOf(k);
  writeFileSync(join(at, 'signature-1'), bytes);
  const storedAt = new Date(Math.trunc(statSync(join(at, 'signature-1')).mtimeMs));
  const { path, algorithm, hex } = image;
  const dockerReference = `registry.example.com/${path}:${k % 2 === 0 ? 'latest' : `v${k}`}`;
  const judgement = {
    ...{ verdict: 'good', refusal: null, form: 'binary', issuer: fingerprint, fingerprint },
    ...{ judgeAgainAt: null, signingFingerprint: fingerprint, signedAt: new Date(0), expiresAt: null },
    claim: { algorithm, hex, dockerReference, creator: 'atomic' },
    traits: { signedSha256: digestOf(`${k}`), digestBits: 512, obstacles: [] },
  };
  const sha256 = createHash('sha256').update(bytes).digest('hex');
  return {
    image,
    signatures: [{ number: 1, sha256, sizeBytes: bytes.length, storedAt, bytes, judgement }],
  };
}

/** Six reads of eight got a signature, one met the end of a list, and one asked for an image that has none; those are 5,000. */
async function fillReads({ access }) {
  const since = Date.now() - DAYS * DAY_MS;
  const say = progressOf('reads', READS);
  for (let from = 0; from < READS; from += BATCH) {
    const reads = [];
    const missing = [];
    for (let k = from; k < Math.min(from + BATCH, READS); k += 1) {
      const at = new Date(since + Math.floor((k / READS) * DAYS * DAY_MS));
      const number = (k * 7919) % IMAGES;
      const client = k % 5000;
      const address = `10.${client >> 12}.${(client >> 6) & 63}.${client & 63}`;
      const seen = { firstAt: at, lastAt: at, count: 1 };
      if (k % 8 === 0) {
        const hex = digestOf(`missing ${(k / 8) % 5000}`);
        missing.push({ image: { ...imageOf(number), hex }, lastAddress: address, ...seen });
        continue;
      }
      const isFound = k % 8 !== 4;
      reads.push({
        image: imageOf(number),
        number: isFound ? 1 : 2,
        signatureSha256: isFound ? digestOf(`signature ${number}`) : null,
        status: isFound ? 200 : 404,
        address,
        agent: 'cri-o/1',
        token: null,
        bytes: isFound ? 850 : 0,
        ...seen,
      });
    }
    await access.write({ reads, missing });
    say(from + reads.length + missing.length);
  }
  await access.closeDays(new Date());
}

async function fillEvents({ audit }, fingerprint) {
  const makeEvent = createEventMaker({ clock: { now: () => new Date() }, randomBytes });
  const say = progressOf('events', EVENTS);
  for (let from = 0; from < EVENTS; from += EVENTS_AT_ONCE) {
    const events = Array.from({ length: Math.min(EVENTS_AT_ONCE, EVENTS - from) }, (_, k) => {
      const image = imageOf((from + k) % IMAGES);
      const about = { image, fingerprint, signatureSha256: digestOf(`signature ${k}`) };
      const what = { action: 'upload', result: k % 50 === 0 ? 'KEY_UNKNOWN' : 'created', ...about };
      return makeEvent(what, { name: `ci-${k % 20}`, address: '10.0.0.1', requestId: null });
    });
    await Promise.all(events.map((event) => audit.append(event)));
    say(from + events.length);
  }
}

async function measure({ fingerprint, token }) {
  const server = await startLookaside({ data, port: PORT, isPinned: false });
  await settle(server, { mostMs: 90_000 }).catch(() => process.stderr.write('the server has other work\n'));
  const cookie = await logIn(server.url, token);
  const asked = pagesOf(fingerprint).filter(({ path }) => path.includes(flags.only));
  process.stdout.write(
    `${IMAGES} images, ${READS} rows of reads, ${EVENTS} audit events; ${ROUNDS} rounds\n\n`,
  );
  process.stdout.write(
    '| page | who | status | KiB | first | median | slowest | processor of the first | and of each other |\n|---|---|---|---|---|---|---|---|---|\n',
  );
  for (const { who, path } of asked) {
    const headers = who === 'visitor' ? {} : { cookie };
    const times = [];
    let status = 0;
    let sizeBytes = 0;
    const cpuMs = [server.cpuMs()];
    for (let round = 0; round < ROUNDS; round += 1) {
      const startedMs = performance.now();
      const answer = await fetch(`${server.url}/ui/${path}`, { headers, redirect: 'manual' });
      sizeBytes = (await answer.arrayBuffer()).byteLength;
      times.push(performance.now() - startedMs);
      status = answer.status;
      cpuMs.push(server.cpuMs());
    }
    const [first = 0] = times;
    times.sort((one, other) => one - other);
    const [startMs = 0, firstMs = 0] = cpuMs;
    const others = ROUNDS > 1 ? ((cpuMs.at(-1) ?? 0) - firstMs) / (ROUNDS - 1) : 0;
    const ms = [first, times[ROUNDS >> 1] ?? 0, times.at(-1) ?? 0, firstMs - startMs, others].map(
      (time) => `${time.toFixed(1)} ms`,
    );
    const short = path.replace(/[0-9a-fA-F]{40,}/g, '…');
    // at once, so that a run that is ended early has said something
    process.stdout.write(
      `| /ui/${short} | ${who} | ${status} | ${(sizeBytes / 1024).toFixed(1)} | ${ms.join(' | ')} |\n`,
    );
  }
}

async function logIn(url, token) {
  const body = new URLSearchParams({ token });
  const answer = await fetch(`${url}/ui/log-in`, { method: 'POST', body, redirect: 'manual' });
  const [cookie] = (answer.headers.get('set-cookie') ?? '').split(';');
  if (answer.status !== 303 || !cookie) throw new Error(`the log-in answered ${answer.status}`);
  return cookie;
}

function pagesOf(fingerprint) {
  const image = `${LARGE}@sha256:${digestOf('image 0')}`;
  const q = (text) => `search?q=${encodeURIComponent(text)}`;
  const both = [
    '',
    'repositories?filter=app-49',
    'repositories?filter=no-such-name',
    'repositories/team-7',
    `repositories/${LARGE}`,
    `repositories/${LARGE}?tag=latest`,
    'repositories/team-1/app-1?tag=latest',
    `images/${image}`,
    `images/${LARGE}@sha256:${digestOf('nothing')}`,
    'keys',
    `keys/${fingerprint}`,
    q(`registry.example.com/${LARGE}:latest`),
    q(`registry.example.com/${LARGE}:v5`),
    q('registry.example.com/team-1/app-1:latest'),
    q(`registry.example.com/${LARGE}:never`),
    q('team-7/app-7'),
    q(`sha256:${digestOf('image 7')}`),
    q(fingerprint.slice(-16)),
    q('bench'),
    q('nobody of that name'),
    `check?image=registry.example.com/${LARGE}:latest`,
    'check?image=registry.example.com/team-1/app-1:latest',
    'check?image=registry.example.com/no/such:latest',
    `check?image=sha256:${digestOf('nothing')}`,
    'set-up',
    'log-in',
  ];
  const audited = [
    'overview',
    'audit',
    'audit?since=7d&action=upload',
    'audit?actor=ci-7',
    'audit?result=KEY_UNKNOWN',
    'audit?result=DIGEST_MISMATCH',
    'audit?action=key-add',
    'audit?action=withdraw',
    'audit?address=203.0.113.0/24',
    'audit?address=10.0.0.0/8',
    `audit?image=sha256:${digestOf('image 7')}`,
    `audit?signature=${digestOf('signature 7')}`,
    'audit?until=20d',
    `audit?repository=${LARGE}`,
    'audit/events/100',
    'access',
    'access?since=1d&status=404',
    'access?address=10.0.12.7',
    'access?repository=team-7/app-7',
    `access?image=sha256:${digestOf('image 7')}`,
    'access?agent=skopeo',
    'never-signed',
    'never-signed?since=7d',
    'never-signed?since=30d&repository=team-7',
    'signers',
    'tokens',
    'mirrors',
    'system',
    'upload',
    'keys/add',
    `keys/${fingerprint}/remove`,
    q('10.0.12.7'),
    `images/${image}`,
    `check?image=registry.example.com/${LARGE}:latest`,
  ];
  return [
    ...both.map((path) => ({ who: 'visitor', path })),
    ...audited.map((path) => ({ who: 'admin', path })),
  ];
}
