// Two servers that watch each other, by the files that their settings name.
import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { writeFile } from 'node:fs/promises';
import path from 'node:path';
import { test } from 'node:test';
import { parseCheckpoint } from '../../src/domain/checkpoint.ts';
import { ED25519, formatNote, formatNoteKey, parseNoteKey, verdictOf } from '../../src/domain/signed-note.ts';
import { makePrivateKey, noteSigner, sha256, verifySignature } from '../../src/service/note-keys.ts';
import { hashOfLeaf, merkleTreeHash, subproof } from '../domain/independent-log.ts';
import { eventually } from './eventually.ts';
import { createReaderToken, startServer } from './server.ts';
import { openTempFolder } from './temp-folder.ts';

test('a server is the witness of another, whose heads then carry its cosignature', async () => {
  await using temp = await openTempFolder();
  const at = (name: string) => path.join(temp.path, name);
  const text = async (url: string) => (await (await fetch(url)).text()).trim();
  const first = await startServer({ data: at('log'), settings: { LOOKASIDE_LOG_ORIGIN: 'one.example/log' } });
  const vkey = await text(`${first.url}/log/key`);
  assert.equal((await fetch(`${first.url}/witness/key`)).status, 404);
  await first.stop();
  await writeFile(at('logs'), `# the logs that are watched\n${vkey}\n`);
  await using witness = await startServer({
    data: at('witness'),
    settings: { LOOKASIDE_WITNESS_LOGS: at('logs'), LOOKASIDE_WITNESS_NAME: 'two.example/witness' },
  });
  const witnessKey = await text(`${witness.url}/witness/key`);
  const key = parseNoteKey(sha256, witnessKey);
  assert.ok(key?.name === 'two.example/witness');
  await createReaderToken(at('log'), 'an-event');
  await writeFile(at('witnesses'), `${witness.url}/witness ${witnessKey}\n`);
  await using server = await startServer({
    data: at('log'),
    settings: { LOOKASIDE_WITNESSES: at('witnesses') },
  });
  await eventually(async () => {
    const checkpoint = parseCheckpoint(`${await text(`${server.url}/log/checkpoint`)}\n`);
    assert.ok(checkpoint !== null);
    assert.equal(checkpoint.size, 3); // the token, and the settings of two starts that differ
    assert.equal(verdictOf(checkpoint.note, key, verifySignature).verdict, 'good');
  });
  const refused = await fetch(`${witness.url}/witness/add-checkpoint`, { method: 'POST', body: 'old 0\n' });
  assert.equal(refused.status, 400);
});

// the rules of C2SP tlog-witness, "add-checkpoint", over HTTP; heads and proofs are made by code that the server does not use
test('a witness answers each head with the status that the specification names, and goes on from the last one alone', async () => {
  await using temp = await openTempFolder();
  const at = (name: string) => path.join(temp.path, name);
  const log = noteSigner(makePrivateKey(), { name: 'three.example/log', type: ED25519, file: 'log.key' });
  const foreign = noteSigner(makePrivateKey(), { name: 'three.example/log', type: ED25519, file: 'log.key' });
  const unknown = noteSigner(makePrivateKey(), { name: 'four.example/log', type: ED25519, file: 'log.key' });
  await writeFile(at('logs'), `${formatNoteKey(log.key)}\n`);
  await using witness = await startServer({
    data: at('witness'),
    settings: { LOOKASIDE_WITNESS_LOGS: at('logs'), LOOKASIDE_WITNESS_NAME: 'two.example/witness' },
  });
  const leaves = Array.from({ length: 9 }, (_, n) => hashOfLeaf(Buffer.from(`entry ${n}`)));
  const others = leaves.with(1, hashOfLeaf(Buffer.from('another')));
  const headOf = (of: readonly Buffer[], size: number, by = log) => {
    const text = `${by.key.name}\n${size}\n${merkleTreeHash(of.slice(0, size)).toString('base64')}\n`;
    return formatNote({ text, signatures: [by.sign(text)] });
  };
  const proofOf = (of: readonly Buffer[], from: number, size: number) =>
    from === 0 ? [] : subproof(from, of.slice(0, size));
  const bring = async (old: number, head: string, proof: readonly Buffer[] = []) => {
    const lines = proof.map((hash) => `${hash.toString('base64')}\n`).join('');
    const body = `old ${old}\n${lines}\n${head}`;
    const answer = await fetch(`${witness.url}/witness/add-checkpoint`, { method: 'POST', body });
    return { status: answer.status, type: answer.headers.get('content-type'), text: await answer.text() };
  };
  const emptyOfAnother = `three.example/log\n0\n${leaves[0]?.toString('base64')}\n`;
  const cases: readonly [why: string, status: number, answer: Awaited<ReturnType<typeof bring>>][] = [
    ['an origin that is not witnessed', 404, await bring(0, headOf(leaves, 4, unknown))],
    ['a signature by another key of that name', 403, await bring(0, headOf(leaves, 4, foreign))],
    ['an old size above that of the head', 400, await bring(5, headOf(leaves, 4))],
    ['a proof from the empty tree', 422, await bring(0, headOf(leaves, 4), leaves.slice(0, 1))],
    [
      'an empty tree with the root of another',
      422,
      await bring(0, formatNote({ text: emptyOfAnother, signatures: [log.sign(emptyOfAnother)] })),
    ],
    ['the first head', 200, await bring(0, headOf(leaves, 4))],
    ['the first head, as if none was cosigned', 409, await bring(0, headOf(leaves, 9))],
    ['no proof', 422, await bring(4, headOf(leaves, 9))],
    ['another history of the same size', 422, await bring(4, headOf(others, 4))],
    ['another history of a greater size', 422, await bring(4, headOf(others, 9), proofOf(others, 4, 9))],
    ['a head that goes on', 200, await bring(4, headOf(leaves, 9), proofOf(leaves, 4, 9))],
    ['the same head again', 200, await bring(9, headOf(leaves, 9))],
    ['a head of before', 400, await bring(9, headOf(leaves, 4))],
  ];
  for (const [why, status, answer] of cases) assert.equal(answer.status, status, `${why}: ${answer.text}`);
  const conflict = cases.find(([, status]) => status === 409)?.[2];
  assert.deepEqual([conflict?.type, conflict?.text], ['text/x.tlog.size', '4\n']);
  const origin = createHash('sha256').update('three.example/log').digest('hex');
  const kept = await (await fetch(`${witness.url}/witness/${origin}/checkpoint`)).text();
  assert.ok(kept.startsWith(headOf(leaves, 9)));
  assert.match(kept, /\n— two\.example\/witness [^\n]+\n$/);
});
