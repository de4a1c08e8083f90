// A signature is put back while the disk loses what is written to it.
import assert from 'node:assert/strict';
import { mkdir, readFile } from 'node:fs/promises';
import path from 'node:path';
import { it } from 'node:test';
import { fileURLToPath } from 'node:url';
import { needs } from '../clients/available.ts';
import { describeOutcome, run } from '../clients/command.ts';
import { openTempFolder } from '../clients/temp-folder.ts';

const CHILD = fileURLToPath(new URL('./restore-child.js', import.meta.url));

it(
  'a signature that is put back is refused until a restart once an fsync of it has failed',
  needs('strace'),
  async () => {
    await using temp = await openTempFolder();
    for (let nth = 1; ; nth += 1) {
      const inject = ['-e', 'trace=fsync', '-e', `inject=fsync:error=EIO:when=${nth}`];
      const trace = path.join(temp.path, 'trace');
      const fresh = path.join(temp.path, `fresh-${nth}`);
      await mkdir(fresh);
      // strace counts the calls of each thread by itself
      const env = { PATH: process.env.PATH ?? '', UV_THREADPOOL_SIZE: '1' };
      const child = ['strace', '-f', '-qq', '-o', trace, ...inject, process.execPath, CHILD, fresh] as const;
      const outcome = await run(child, { env });
      assert.equal(outcome.status, 0, describeOutcome(outcome));
      const times = outcome.stdout.trim().split('\n');
      if (!(await readFile(trace, 'utf8')).includes('INJECTED')) {
        assert.ok(nth > 3);
        return;
      }
      const failed = times.indexOf('STORE_UNAVAILABLE');
      assert.ok(failed >= 0, `fsync ${nth}: ${times}`);
      assert.ok(!times.slice(failed).includes('done'), `fsync ${nth}: ${times}`);
    }
  },
);
