// The file of LOOKASIDE_WITNESSES: what no start goes on with.
import assert from 'node:assert/strict';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { openCosigning } from '../../src/compose/witnesses.ts';
import { isLookasideError } from '../../src/domain/errors.ts';
import { COSIGNATURE_V1, formatNoteKey } from '../../src/domain/signed-note.ts';
import { makePrivateKey, noteSigner } from '../../src/service/note-keys.ts';
import { createLog } from '../service/hand-driven.ts';
import { openLogScene } from '../sqlite/log-scene.ts';
import { temporaryFolder } from '../sqlite/scratch.ts';

test('no start takes one witness for two, nor more than a head has room for', async (t) => {
  const folder = temporaryFolder(t);
  const scene = await openLogScene(folder);
  t.after(() => scene.close());
  const witnessesFile = join(folder, 'witnesses');
  const pem = makePrivateKey();
  const lines = Array.from({ length: 61 }, (_, k) => {
    const { key } = noteSigner(pem, { name: `w${k}.example`, type: COSIGNATURE_V1, file: 'witness.key' });
    return `https://w${k}.example ${formatNoteKey(key)}`;
  });
  const openWith = async (named: readonly string[]) => {
    writeFileSync(witnessesFile, named.join('\n'));
    const cosigning = await openCosigning({
      config: {
        witnessesFile,
        witnessQuorum: 1,
        witnessLogsFile: null,
        witnessName: null,
        remote: { hasProxies: false },
      },
      store: scene.databases.log,
      auditLog: scene.keeper,
      log: createLog(),
    });
    await cosigning?.close();
  };
  const again = lines[0]?.replace('w0.example ', 'other.example ') ?? '';
  for (const [named, message] of [
    [lines, /names 61 witnesses; a head has room for 60/],
    [[...lines.slice(0, 2), again], /names the key w0\.example\+[0-9a-f]{8} twice/],
  ] as const) {
    await assert.rejects(openWith(named), (error) => {
      assert.ok(isLookasideError(error, 'CONFIG_INVALID'));
      assert.match(error.message, message);
      return true;
    });
  }
  await openWith(lines.slice(0, 60));
});
