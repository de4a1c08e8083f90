// Two servers that watch each other, by the files that their settings name.
import assert from 'node:assert/strict';
import { writeFile } from 'node:fs/promises';
import path from 'node:path';
import { test } from 'node:test';
import { parseCheckpoint } from '../../src/domain/checkpoint.ts';
import { parseNoteKey, verdictOf } from '../../src/domain/signed-note.ts';
import { sha256, verifySignature } from '../../src/service/note-keys.ts';
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
