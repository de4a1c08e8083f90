// What it costs to start a command of signers, in CPU of the process with all its threads, beside `node -e 0` in the same run
// on the same machine: first with nothing to do, then with one signature and a server that answers at once. Wanted of a start:
// at most 1.5 times `node -e 0` and 150 ms.
// Run: npm run build && npm run bench -- start
import { spawn } from 'node:child_process';
import { createHash } from 'node:crypto';
import { once } from 'node:events';
import { mkdirSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:http';
import { join } from 'node:path';
import { createMessage, generateKey, sign } from 'openpgp';
import { openFolder } from './run-folder.mjs';

const ROUNDS = Number(process.env.ROUNDS ?? 15);
const MAIN = new URL('../dist/src/main.js', import.meta.url).pathname;
const REFERENCE = 'registry.example/team/app:v1';
const MANIFEST = '{"schemaVersion":2,"mediaType":"application/vnd.oci.image.manifest.v1+json"}';
const DIGEST = createHash('sha256').update(MANIFEST).digest('hex');

/** Loaded ahead of each process: tells at its end what it has used. */
const PROBE = `data:text/javascript,${encodeURIComponent(`
  import { writeSync } from 'node:fs';
  process.on('exit', () => {
    const { user, system } = process.cpuUsage();
    writeSync(3, String((user + system) / 1000));
  });
`)}`;

const NOW = '2026-01-01T00:00:00.000Z';
const FINGERPRINT = 'A1'.repeat(20);
const STORED = {
  image: `team/app@sha256:${DIGEST}`,
  path: `/team/app@sha256=${DIGEST}/signature-1`,
  number: 1,
  state: 'verified',
  reason: null,
  form: 'binary',
  fingerprint: FINGERPRINT,
  signingFingerprint: FINGERPRINT,
  issuer: null,
  manifestDigest: `sha256:${DIGEST}`,
  dockerReference: REFERENCE,
  creator: 'bench',
  signedAt: NOW,
  expiresAt: null,
  storedAt: NOW,
  sizeBytes: 300,
  signatureSha256: DIGEST,
  uploader: 'bench',
  auditSeq: 1,
  warnings: [],
};

const { path: folder, close } = openFolder(undefined, 'lookaside-bench-start-');
const server = createServer(answer);

try {
  const files = await layFiles();
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const commands = commandsOf(files, `http://127.0.0.1:${server.address().port}`);
  const used = new Map([...commands.keys()].map((name) => [name, []]));
  // in turn, so that a machine that slows down slows down all of them
  for (let round = 0; round < ROUNDS; round += 1) {
    for (const [name, { args, status }] of commands) used.get(name).push(await cpuMs(args, status));
  }
  console.table(rowsOf(used, commands));
} finally {
  server.close();
  close();
}

function commandsOf({ empty, staging, manifest, signature, keyring }, url) {
  const main = (status, ...args) => ({ args: [MAIN, ...args], status });
  const asking = (...args) => main(0, ...args, '--server', url);
  const verifying = (status, file) =>
    main(status, 'verify', file, REFERENCE, signature, '--keyring', keyring);
  return new Map([
    ['node -e 0', { args: ['-e', '0'], status: 0 }],
    ['lookaside --help', main(0, '--help')],
    ['list --help', main(0, 'list', '--help')],
    ['push, nothing there', main(0, 'push', empty)],
    ['verify, no such manifest', verifying(2, `${manifest}-`)],
    ['push, one signature', asking('push', staging)],
    ['list, one signature', asking('list')],
    ['show, one signature', asking('show', `team/app@sha256:${DIGEST}`)],
    ['verify, one signature', verifying(0, manifest)],
  ]);
}

function rowsOf(used, commands) {
  const least = (name) => Math.min(...used.get(name));
  const base = least('node -e 0');
  const limit = 1.5 * base + 150;
  return [...commands.keys()].map((command) => ({
    command,
    'CPU ms': Math.round(least(command)),
    'times node -e 0': Number((least(command) / base).toFixed(1)),
    [`within ${Math.round(limit)} ms`]: least(command) <= limit,
  }));
}

/** The CPU milliseconds of one run. */
async function cpuMs(args, status) {
  const child = spawn(process.execPath, ['--import', PROBE, ...args], {
    env: { PATH: process.env.PATH ?? '', HOME: folder },
    stdio: ['ignore', 'ignore', 'pipe', 'pipe'],
  });
  const [said, cpu] = [textOf(child.stderr), textOf(child.stdio[3])];
  const [code] = await once(child, 'close');
  if (code !== status) throw new Error(`${args.join(' ')} ended with ${code}:\n${await said}`);
  return Number(await cpu);
}

async function textOf(stream) {
  let text = '';
  for await (const chunk of stream) text += chunk;
  return text;
}

async function layFiles() {
  const inFolder = (name) => join(folder, name);
  const { privateKey, publicKey } = await generateKey({
    userIDs: [{ name: 'bench', email: 'bench@example.invalid' }],
    format: 'object',
  });
  const payload = JSON.stringify({
    critical: {
      type: 'atomic container signature',
      image: { 'docker-manifest-digest': `sha256:${DIGEST}` },
      identity: { 'docker-reference': REFERENCE },
    },
    optional: { creator: 'bench' },
  });
  const message = await createMessage({ binary: Buffer.from(payload) });
  const signature = await sign({ message, signingKeys: privateKey, format: 'binary' });
  const image = inFolder(`staging/team/app@sha256=${DIGEST}`);
  mkdirSync(image, { recursive: true });
  mkdirSync(inFolder('empty'));
  writeFileSync(join(image, 'signature-1'), signature);
  writeFileSync(inFolder('manifest.json'), MANIFEST);
  writeFileSync(inFolder('key.gpg'), publicKey.write());
  return {
    empty: inFolder('empty'),
    staging: inFolder('staging'),
    manifest: inFolder('manifest.json'),
    signature: join(image, 'signature-1'),
    keyring: inFolder('key.gpg'),
  };
}

/** Says what a server with this one signature says. */
function answer(req, res) {
  const say = (value) => {
    res.setHeader('Content-Type', 'application/json');
    res.end(JSON.stringify(value));
  };
  req.resume().on('end', () => {
    if (req.url.endsWith('/missing')) return say({ missing: [] });
    if (req.url.startsWith('/api/v1/keys')) return say({ keys: [] });
    return say({ signatures: [STORED], next: null, cursor: null });
  });
}
