// Which files of keys gpg imports nothing of: what we warn of, and nothing else.
import assert from 'node:assert/strict';
import { mkdir, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { describe, test } from 'node:test';
import { cleanCertificates } from '../../src/openpgp/certificates.ts';
import { KEY_FILES, KEY_FILES_FINGERPRINT } from '../openpgp/other-versions.ts';
import { needs } from './available.ts';
import { run } from './command.ts';
import { makeDataDirectory } from './data-directory.ts';
import { runLookaside } from './server.ts';
import { openTempFolder } from './temp-folder.ts';

describe('gpg', needs('gpg'), () => {
  for (const { what, bytes, obstacle } of KEY_FILES) {
    test(`imports ${obstacle === null ? 'the key from' : 'nothing from'} a file with ${what}, as we tell, and the key from what we export`, async () => {
      await using temp = await openTempFolder();
      const file = path.join(temp.path, 'keys.gpg');
      await writeFile(file, bytes);
      const results = cleanCertificates(bytes, new Map(), new Date());
      const warnings = results.flatMap((result) => (result.kind === 'clean' ? result.warnings : []));
      assert.equal(warnings.length > 0, obstacle !== null);
      assert.equal(await imports(file, path.join(temp.path, 'one')), obstacle === null);

      const data = path.join(temp.path, 'data');
      await makeDataDirectory(data);
      await runLookaside(['key', 'add', file, '--data', data]); // its status tells of other keys in the file
      const exported = await runLookaside([
        ...['key', 'export', '--for', 'gpg-2.2', KEY_FILES_FINGERPRINT],
        ...['--data', data],
      ]);
      assert.equal(exported.status, 0, exported.stderr);
      await writeFile(file, exported.stdout);
      assert.equal(await imports(file, path.join(temp.path, 'two')), true);
    });
  }
});

async function imports(file: string, home: string): Promise<boolean> {
  await mkdir(home, { mode: 0o700 });
  const gpg = ['gpg', '--homedir', home, '--batch', '--no-tty'] as const;
  const env = { PATH: process.env.PATH ?? '', LC_ALL: 'C', HOME: home };
  await run([...gpg, '--import', file], { env });
  const { stdout } = await run([...gpg, '--with-colons', '--list-keys'], { env });
  return stdout.includes(KEY_FILES_FINGERPRINT);
}
