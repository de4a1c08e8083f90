// A machine on which a server cannot ask where its files lie.
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import path from 'node:path';
import { afterEach, beforeEach, it } from 'node:test';
import { needs } from './available.ts';
import { lookaside } from './server.ts';
import { openTempFolder, type TempFolder } from './temp-folder.ts';

let temp: TempFolder;

beforeEach(async () => {
  temp = await openTempFolder();
});

afterEach(() => temp[Symbol.asyncDispose]());

it('a server that cannot ask where its files lie does not start, and says why', needs('private host'), () => {
  const serve = lookaside('serve', '--data', path.join(temp.path, 'data'), '--listen', '127.0.0.1:0');
  const script = 'mount -t tmpfs none /proc && exec "$@"';
  const argv = ['--mount', '--propagation', 'private', 'sh', '-c', script, 'sh', ...serve];
  const { status, stderr } = spawnSync('unshare', argv, { encoding: 'utf8', timeout: 60_000 });
  assert.equal(status, 2, stderr);
  assert.match(stderr, /cannot find out where open files lie .* with \/proc mounted/);
});
