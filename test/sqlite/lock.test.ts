import assert from 'node:assert/strict';
import { once } from 'node:events';
import { join } from 'node:path';
import { describe, it } from 'node:test';
import { isLookasideError } from '../../src/domain/errors.ts';
import { takeLock } from '../../src/sqlite/lock.ts';
import { otherProcess, temporaryFolder } from './scratch.ts';

const alreadyRunning = (error: unknown): boolean => isLookasideError(error, 'ALREADY_RUNNING');

describe('the lock of a data directory', () => {
  it('is taken once, and again after its release', (t) => {
    const dataDir = join(temporaryFolder(t), 'made', 'by', 'it');
    const lock = takeLock(dataDir);
    assert.throws(() => takeLock(dataDir), alreadyRunning);
    lock.release();
    lock.release();
    takeLock(dataDir)[Symbol.dispose]();
  });

  it('is held against another process until that one lets go', async (t) => {
    const dataDir = temporaryFolder(t);
    const other = await otherProcess(t, 'data', dataDir);
    assert.throws(() => takeLock(dataDir), alreadyRunning);
    await other.end();
    takeLock(dataDir).release();
  });

  it('is free at once after its holder was killed', async (t) => {
    const dataDir = temporaryFolder(t);
    const { child } = await otherProcess(t, 'data', dataDir);
    const exited = once(child, 'exit');
    child.kill('SIGKILL');
    await exited;
    takeLock(dataDir).release();
  });

  it('is not lost by a second try of the same process', async (t) => {
    const dataDir = temporaryFolder(t);
    const lock = takeLock(dataDir);
    t.after(() => lock.release());
    assert.throws(() => takeLock(dataDir), alreadyRunning);
    await assert.rejects(otherProcess(t, 'data', dataDir));
  });
});
