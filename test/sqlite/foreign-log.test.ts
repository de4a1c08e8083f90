// Proofs of the log as somebody else's code verifies them: @sigstore/verify, with which npm verifies the attestations of packages. It knows
// signed notes and RFC 6962, and nothing of us.
import assert from 'node:assert/strict';
import { createPublicKey } from 'node:crypto';
import { test } from 'node:test';
import { verifyCheckpoint } from '@sigstore/verify/dist/tlog/checkpoint.js';
import { verifyMerkleInclusion } from '@sigstore/verify/dist/tlog/merkle.js';
import { proveEvent } from '../../src/service/log-proofs.ts';
import { makePrivateKey } from '../../src/service/note-keys.ts';
import { openLogScene } from './log-scene.ts';
import { temporaryFolder } from './scratch.ts';

const SPKI_OF_ED25519 = Buffer.from('302a300506032b6570032100', 'hex');

/** What it wants to know of a log, from the text of its verifier key. */
function authorityOf(vkey: string) {
  const [name = '', id = ''] = vkey.split('+', 2);
  const key = Buffer.from(vkey.slice(name.length + id.length + 2), 'base64').subarray(1);
  return {
    baseURL: `https://${name}`,
    logID: Buffer.from(id, 'hex'),
    publicKey: createPublicKey({ key: Buffer.concat([SPKI_OF_ED25519, key]), format: 'der', type: 'spki' }),
    validFor: { start: new Date(0), end: new Date(8.64e15) },
  };
}

type Entry = Parameters<typeof verifyMerkleInclusion>[0];

/** The parts of a C2SP tlog-proof by their names in an attestation. */
function entryOf(proof: string): Entry {
  const end = proof.indexOf('\n\n');
  const [, extra = '', index = '', ...hashes] = proof.slice(0, end).split('\n');
  const logIndex = index.replace('index ', '');
  return {
    logIndex,
    canonicalizedBody: Buffer.from(extra.replace('extra ', ''), 'base64'),
    inclusionProof: {
      logIndex,
      treeSize: '',
      rootHash: Buffer.alloc(0),
      hashes: hashes.map((hash) => Buffer.from(hash, 'base64')),
      checkpoint: { envelope: proof.slice(end + 2) },
    },
  } as unknown as Entry; // the members that are read
}

function verify(proof: string, vkey: string): string {
  const entry = entryOf(proof);
  const checkpoint = verifyCheckpoint(entry, [authorityOf(vkey)]);
  verifyMerkleInclusion(entry, checkpoint);
  return `${checkpoint.origin} ${checkpoint.logSize} ${entry.canonicalizedBody}`;
}

const noWait = async () => undefined;

test('proofs of events in trees of all shapes are right to a verifier that is not ours', async (t) => {
  const scene = await openLogScene(temporaryFolder(t));
  t.after(() => scene.close());
  const { vkey } = scene.keeper.identity;
  let size = 0;
  for (const grown of [1, 2, 3, 7, 8, 255, 256, 257, 600]) {
    await scene.add(grown - size);
    size = grown;
    await scene.keeper.publish();
    for (const seq of new Set(
      [1, 2, Math.ceil(size / 2), size - 1, size].filter((one) => one > 0 && one <= size),
    )) {
      const proof = await proveEvent(scene.databases.log, seq, noWait);
      assert.match(verify(proof, vkey), new RegExp(`^log\\.example/test [0-9]+ \\{.*"seq":${seq},`));
    }
  }
});

test('a verifier that is not ours refuses a proof of which anything was changed', async (t) => {
  const scene = await openLogScene(temporaryFolder(t));
  t.after(() => scene.close());
  await scene.add(300);
  await scene.keeper.publish();
  const { vkey } = scene.keeper.identity;
  const proof = await proveEvent(scene.databases.log, 200, noWait);
  verify(proof, vkey);
  const [origin = '', count = '', root = ''] = proof.slice(proof.indexOf('\n\n') + 2).split('\n');
  const [, extra = '', , firstHash = '', secondHash = ''] = proof.split('\n');
  for (const [what, changed] of [
    ['the entry', proof.replace(extra, `extra ${Buffer.from('{"v":1}').toString('base64')}`)],
    ['its number', proof.replace('\nindex 199\n', '\nindex 198\n')],
    ['a hash', proof.replace(firstHash, secondHash)],
    ['a hash that is gone', proof.replace(`${firstHash}\n`, '')],
    ['the size of the tree', proof.replace(`\n${count}\n`, `\n${Number(count) + 1}\n`)],
    ['the root', proof.replace(root, Buffer.alloc(32).toString('base64'))],
    ['the origin', proof.replace(`\n${origin}\n`, '\nlog.example/other\n')],
  ] as const) {
    assert.notEqual(changed, proof, what);
    assert.throws(() => verify(changed, vkey), { name: 'VerificationError' }, what);
  }
  const other = await openLogScene(temporaryFolder(t), { key: makePrivateKey() });
  t.after(() => other.close());
  assert.throws(
    () => verify(proof, other.keeper.identity.vkey),
    { name: 'VerificationError' },
    'another key',
  );
});
