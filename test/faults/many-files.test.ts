// An index is made anew and damage is found among however many files, and a damaged state.db is not taken for a good one.
import assert from 'node:assert/strict';
import { open, readFile, rename, stat, unlink, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { after, before, describe } from 'node:test';
import { setTimeout as pause } from 'node:timers/promises';
import { forEachConcurrently } from '../../src/domain/concurrency.ts';
import { describeOutcome, run } from '../clients/command.ts';
import { lookaside, runLookaside, startServer } from '../clients/server.ts';
import { openTempFolder, type TempFolder } from '../clients/temp-folder.ts';
import { requestRaw } from '../http/raw-request.ts';
import { folderOf, layImage, sha256Hex, signatureBytes } from '../store/lay.ts';
import { startAsking } from './asking.ts';
import { openTemplate } from './crash-scene.ts';
import { count, isFull, promise } from './promise.ts';

const FILES = count(100_000, 200);
const DEADLINE_MS = 20 * 60_000;
const LAID_AT_ONCE = 16;

describe(`a tree of ${FILES} signatures`, () => {
  let temp: TempFolder;
  let data: string;
  let root: string;
  const repositoryOf = (number: number) => `team-${number % 100}/app-${number}`;
  const bytesOf = (number: number) => signatureBytes(`image ${number}`);
  const placeOf = (position: number, signature = 1) =>
    `${folderOf(repositoryOf(Math.floor((FILES * position) / 10)))}/signature-${signature}`;
  const surroundings = { env: { PATH: process.env.PATH ?? '' }, deadlineMs: DEADLINE_MS };
  const command = (...args: readonly string[]) =>
    run(lookaside(...args, '--data', data, '--json'), surroundings);

  before(async () => {
    temp = await openTempFolder();
    data = temp.path;
    root = path.join(data, 'sigstore');
    const numbers = Array.from({ length: FILES }, (_, number) => number);
    await forEachConcurrently(numbers, LAID_AT_ONCE, async (number) => {
      await layImage(root, repositoryOf(number), bytesOf(number));
    });
  });
  after(() => temp?.[Symbol.asyncDispose]());

  promise(
    {
      id: 'P5',
      what: 'a server without index.db serves at once, and has made it anew soon',
      wanted: `${FILES} signatures: served ≤ 2 s after the start, the index whole ≤ 60 s after it, reads meanwhile right`,
    },
    async (see) => {
      const startedMs = performance.now();
      const sinceStart = () => (performance.now() - startedMs) / 1000;
      await using server = await startServer({ data });
      for (const position of [9, 0, 5]) {
        const { status } = await requestRaw(server.port, `GET /${placeOf(position)}`);
        assert.equal(status, 200, placeOf(position));
      }
      const servedSeconds = sinceStart();
      await using asking = startAsking({ port: server.port, target: `/${placeOf(5)}`, pauseMs: 20 });
      let state = '';
      while (state !== 'ok') {
        await pause(100);
        const { body } = await requestRaw(server.port, 'GET /readyz');
        state = JSON.parse(body.toString()).checks.index.state;
        assert.ok(sinceStart() * 1000 < DEADLINE_MS, server.output());
      }
      const wholeSeconds = sinceStart();
      const reads = await asking.end();
      const right = sha256Hex(bytesOf(Math.floor((FILES * 5) / 10)));
      for (const { status, sha256 } of reads) assert.deepEqual([status, sha256], [200, right]);
      const { body } = await requestRaw(server.port, 'GET /metrics');
      assert.match(body.toString(), new RegExp(`^lookaside_signatures\\{site="default"\\} ${FILES}$`, 'm'));
      await server.stop();
      see(
        `served after ${servedSeconds.toFixed(1)} s, whole after ${wholeSeconds.toFixed(1)} s, ${reads.length} reads right`,
      );
      if (isFull) assert.ok(servedSeconds <= 2 && wholeSeconds <= 60);
    },
  );

  promise(
    {
      id: 'P5',
      what: 'fsck names a flipped bit, a missing, an extra and two swapped files, and nothing else',
      wanted: `5 of 5 findings among ${FILES} files, exit status 1`,
    },
    async (see) => {
      const sound = await command('fsck');
      assert.equal(sound.status, 0, describeOutcome(sound));

      const [flipped, missing, extra, one, other] = [
        placeOf(1),
        placeOf(3),
        placeOf(5, 2),
        placeOf(7),
        placeOf(9),
      ];
      const fileOf = (place: string) => path.join(root, place);
      const bytes = await readFile(fileOf(flipped));
      bytes[100] = (bytes[100] ?? 0) ^ 1;
      await writeFile(fileOf(flipped), bytes);
      await unlink(fileOf(missing));
      await writeFile(fileOf(extra), signatureBytes('extra'));
      await rename(fileOf(one), path.join(temp.path, 'swapped'));
      await rename(fileOf(other), fileOf(one));
      await rename(path.join(temp.path, 'swapped'), fileOf(other));

      const damaged = await command('fsck');
      const findings: readonly { readonly kind: string; readonly path: string }[] = JSON.parse(
        damaged.stdout,
      ).findings;
      const named = findings.map((finding) => `${finding.kind} ${finding.path}`).sort();
      const expected = [
        `changed ${flipped}`,
        `changed ${one}`,
        `changed ${other}`,
        `extra ${extra}`,
        `missing ${missing}`,
      ].sort();
      const right = named.filter((name) => expected.includes(name)).length;
      see(`${right} of ${named.length} findings among ${FILES} files, exit status ${damaged.status}`);
      assert.deepEqual(named, expected);
      assert.equal(damaged.status, 1);
    },
  );
});

promise(
  {
    id: 'P5',
    what: 'a corrupt state.db is refused with the way to restore, and left as it is',
    wanted: 'refused, 0 bytes changed',
  },
  async (see) => {
    await using template = await openTemplate();
    const data = template.folder.path;
    const file = path.join(data, 'state.db');
    const { size } = await stat(file);
    const handle = await open(file, 'r+');
    await handle.write(Buffer.alloc(size - 200, 'x'), 0, size - 200, 200);
    await handle.close();
    const before = await readFile(file);
    const outcome = await runLookaside(['serve', '--data', data, '--listen', '127.0.0.1:0']);
    assert.notEqual(outcome.status, 0, describeOutcome(outcome));
    assert.match(outcome.stderr, /state\.db/);
    assert.match(outcome.stderr, /lookaside restore/);
    const after = await readFile(file);
    assert.deepEqual(after, before);
    see('refused, 0 bytes changed');
  },
);
