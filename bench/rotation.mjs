// `npm run bench -- rotation`: what `lookaside key rotation` costs: counts, and the whole list of work.
//   --images N      how many, 1,000,000 unless told; half are signed by the old key alone, a quarter by both, a quarter by the new key alone
// Ends with 1 when the whole answer takes longer than is promised: a second for up to 10,000 images, ten for up to 1,000,000.
import { createHash } from 'node:crypto';
import { loadavg } from 'node:os';
import { parseArgs } from 'node:util';
import { openFolder } from './run-folder.mjs';

const { openDatabases } = await import('../dist/src/sqlite/databases.js');
const { createRotation } = await import('../dist/src/service/rotation.js');

const { values: flags } = parseArgs({
  args: process.argv.slice(3),
  options: { images: { type: 'string', default: '1000000' } },
});
const total = Number(flags.images);
const [OLD, NEW] = ['A', 'B'].map((digit) => digit.repeat(40));
const BATCH = 5000;
const PROMISED = [
  { images: 10_000, seconds: 1 },
  { images: 1_000_000, seconds: 10 },
];

function digestOf(text) {
  return createHash('sha256').update(text).digest('hex');
}

function imageOf(k) {
  const path = `team-${k % 50}/app-${k % 5000}`;
  const image = {
    site: 'default',
    layout: 'repository',
    path,
    algorithm: 'sha256',
    hex: digestOf(`image ${k}`),
  };
  const by = [[OLD], [OLD], [OLD, NEW], [NEW]][k % 4];
  return { image, signatures: by.map((fingerprint, at) => signatureOf(k, image, fingerprint, at)) };
}

function signatureOf(k, { path, algorithm, hex }, fingerprint, at) {
  const bytes = Buffer.alloc(500, `signature ${k} ${at}`);
  const dockerReference = `registry.example.com/${path}:v${k}`;
  const judgement = {
    ...{
      verdict: 'good',
      refusal: null,
      form: 'binary',
      issuer: fingerprint,
      fingerprint,
      judgeAgainAt: null,
    },
    ...{ signingFingerprint: fingerprint, signedAt: new Date(0), expiresAt: null },
    claim: { algorithm, hex, dockerReference, creator: 'atomic' },
    traits: { signedSha256: digestOf(`${k} ${at}`), digestBits: 512, obstacles: [] },
  };
  const sha256 = digestOf(`bytes ${k} ${at}`);
  return { number: at + 1, sha256, sizeBytes: bytes.length, storedAt: new Date(), bytes, judgement };
}

const { path: folder, close } = openFolder(undefined, 'lookaside-rotation-');
try {
  const databases = await openDatabases({ dataDir: folder, onUnusable: () => undefined });
  const filling = performance.now();
  for (let from = 0; from < total; from += BATCH) {
    const length = Math.min(BATCH, total - from);
    await databases.index.record(Array.from({ length }, (_, k) => imageOf(from + k)));
  }
  console.log(`${total} images recorded in ${seconds(filling)} s`);
  const keys = { find: async (fingerprint) => ({ fingerprint }), list: async () => [] };
  const clock = { now: () => new Date() };
  const rotation = createRotation({ keys, lookups: databases.questions, clock });
  const asking = performance.now();
  for await (const part of rotation(OLD, NEW, { signal: new AbortController().signal })) {
    if ('images' in part) console.log(`${JSON.stringify(part.images)} after ${seconds(asking)} s`);
    if ('end' in part) check(part.end.work, (performance.now() - asking) / 1000);
  }
  await databases.close();
} finally {
  close();
}

function check(work, took) {
  const promised = PROMISED.find(({ images }) => total <= images);
  const [load] = loadavg();
  console.log(`${work} pieces of work after ${took.toFixed(2)} s, at a load of ${load.toFixed(1)}`);
  if (promised === undefined) console.log(`nothing is promised for ${total} images`);
  else if (took <= promised.seconds) console.log(`within the ${promised.seconds} s that are promised`);
  else {
    console.error(`longer than the ${promised.seconds} s that are promised for ${total} images`);
    process.exitCode = 1;
  }
}

function seconds(since) {
  return ((performance.now() - since) / 1000).toFixed(2);
}
