import assert from 'node:assert/strict';
import { once } from 'node:events';
import { existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, it } from 'node:test';
import { isLookasideError } from '../../src/domain/errors.ts';
import { holderText } from '../../src/domain/holder.ts';
import { takeLock } from '../../src/sqlite/lock.ts';
import { otherProcess, temporaryFolder } from './scratch.ts';

const TAKER = { command: 'serve', host: 'box' };

const alreadyRunning = (error: unknown): boolean => isLookasideError(error, 'ALREADY_RUNNING');

describe('the lock of a data directory', () => {
  it('is taken once, and again after its release', (t) => {
    const dataDir = join(temporaryFolder(t), 'made', 'by', 'it');
    const lock = takeLock(dataDir, TAKER);
    assert.throws(() => takeLock(dataDir, TAKER), alreadyRunning);
    lock.release();
    lock.release();
    takeLock(dataDir, TAKER)[Symbol.dispose]();
  });

  it('is refused at once where no data directory can be made', (t) => {
    const file = join(temporaryFolder(t), 'file');
    writeFileSync(file, '');
    for (const dataDir of ['/proc/lookaside/data', file, join(file, 'below')]) {
      const refused = (error: unknown): boolean =>
        isLookasideError(error, 'STORE_UNAVAILABLE') &&
        error.message.includes(`cannot make the data directory ${dataDir}: `);
      assert.throws(() => takeLock(dataDir, TAKER), refused);
    }
    assert.throws(() => takeLock(file, TAKER), /: a file is there, or on the way to it; name a folder/);
  });

  it('is held against another process until that one lets go', async (t) => {
    const dataDir = temporaryFolder(t);
    const other = await otherProcess(t, 'data', dataDir);
    assert.throws(() => takeLock(dataDir, TAKER), alreadyRunning);
    await other.end();
    takeLock(dataDir, TAKER).release();
  });

  it('is free at once after its holder was killed', async (t) => {
    const dataDir = temporaryFolder(t);
    const { child } = await otherProcess(t, 'data', dataDir);
    const exited = once(child, 'exit');
    child.kill('SIGKILL');
    await exited;
    takeLock(dataDir, TAKER).release();
  });

  it('is not lost by a second try of the same process', async (t) => {
    const dataDir = temporaryFolder(t);
    const lock = takeLock(dataDir, TAKER);
    t.after(() => lock.release());
    assert.throws(() => takeLock(dataDir, TAKER), alreadyRunning);
    await assert.rejects(otherProcess(t, 'data', dataDir));
  });

  it('tells who holds it, and until when to wait', async (t) => {
    const dataDir = temporaryFolder(t);
    const { child, end } = await otherProcess(t, 'data', dataDir);
    const asked = { dataDir, pid: child.pid };
    assert.match(
      refusal(asked),
      /in use by lookaside import \/srv\/old \(process PID on host other-box, since 2/,
    );
    assert.match(refusal(asked), /wait until it has ended/);
    await end();
    assert.equal(existsSync(join(dataDir, 'lock.holder')), false);
  });

  it('names the process that the kernel knows when the text beside it is of a holder that was killed', async (t) => {
    const dataDir = temporaryFolder(t);
    const { child } = await otherProcess(t, 'data', dataDir);
    const killed = { command: 'serve', pid: 1, host: 'other-box', since: new Date(0) };
    for (const text of [holderText(killed), 'half a te', '', '{"command":"serve"}']) {
      writeFileSync(join(dataDir, 'lock.holder'), text);
      assert.match(refusal({ dataDir, pid: child.pid }), /^process PID is using/);
    }
  });

  it('that nobody holds is taken whatever the text beside it says', (t) => {
    const dataDir = temporaryFolder(t);
    const killed = { command: 'serve', pid: process.pid, host: 'box', since: new Date(0) };
    writeFileSync(join(dataDir, 'lock.holder'), holderText(killed));
    const lock = takeLock(dataDir, TAKER);
    assert.notEqual(readFileSync(join(dataDir, 'lock.holder'), 'utf8'), holderText(killed));
    lock.release();
  });

  it('is taken although nobody can be told of it', (t) => {
    const dataDir = temporaryFolder(t);
    mkdirSync(join(dataDir, 'lock.holder'));
    const lock = takeLock(dataDir, TAKER);
    t.after(() => lock.release());
    assert.match(refusal({ dataDir, pid: process.pid }), /^process PID is using/);
  });
});

/** In what words the lock is refused, with the holder's process as PID. */
function refusal({ dataDir, pid }: { readonly dataDir: string; readonly pid: number | undefined }): string {
  try {
    takeLock(dataDir, TAKER).release();
  } catch (error) {
    assert.ok(isLookasideError(error, 'ALREADY_RUNNING'));
    return error.message.replace(new RegExp(`process ${pid}\\b`), 'process PID');
  }
  throw new Error('the lock was taken');
}
