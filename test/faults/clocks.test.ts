// Clocks that are wrong: the server's jumps days back and years ahead, and signers' are ahead of it.
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { readdir, writeFile } from 'node:fs/promises';
import { connect } from 'node:net';
import path from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';
import { connect as connectDatabase } from '../../src/sqlite/connect.ts';
import { needs } from '../clients/available.ts';
import { describeOutcome, succeed } from '../clients/command.ts';
import { eventually } from '../clients/eventually.ts';
import { runLookaside, startServer } from '../clients/server.ts';
import { enrol, makeSigner } from '../clients/signer.ts';
import { openTempFolder } from '../clients/temp-folder.ts';
import { takenAs, uploadsTo } from '../clients/uploads.ts';
import { openUploadsScene } from '../clients/uploads-scene.ts';
import { folderOf, sha256Hex } from '../store/lay.ts';
import { startAsking } from './asking.ts';
import { count, isFull, promise } from './promise.ts';

const DAY_MS = 24 * 3600 * 1000;
const MINUTE_MS = 60 * 1000;

/** As libfaketime reads them, and the same in milliseconds; the same clock again comes last. */
const ALL_CLOCKS = [
  ['+0d', 0],
  ['-3d', -3 * DAY_MS],
  ['+14y', 14 * 365 * DAY_MS],
  ['+0d', 0],
] as const;

/** In `npm test` years ahead and right again: the clock of a running server goes back below. */
const CLOCKS = isFull ? ALL_CLOCKS : ALL_CLOCKS.slice(2);

/** Above the minute after which the days of the access log are pruned again. */
const PRUNED_MS = count(65_000, 0);

const REPOSITORY = 'clock/app';
const FOLDER = folderOf(REPOSITORY);

promise(
  {
    id: 'P29',
    what: 'a wrong clock loses and overwrites nothing, no record of reads either, and a signer may be a little ahead',
    wanted:
      'server −3 days, +14 years and back: 0 lost, 0 overwritten, each day of reads kept; 2 minutes ahead taken, 2 days refused',
    ...needs('faketime'),
  },
  async (see) => {
    await using temp = await openTempFolder();
    const signer = makeSigner('alice');
    const token = await enrol(temp.path, signer);
    const library = await fakeClock();
    const served: Buffer[] = [];
    let latestAuditSeq = 0;
    let recorded = new Map<string, number>();

    for (const [clock, aheadMs] of CLOCKS) {
      const settings = { LD_PRELOAD: library, FAKETIME: clock, FAKETIME_DONT_FAKE_MONOTONIC: '1' };
      await using server = await startServer({ data: temp.path, settings });
      const uploads = uploadsTo(server.port, token);
      const date = (await uploads.get('livez')).headers.get('date') ?? '';
      const offMs = Math.abs(Date.parse(date) - Date.now() - aheadMs);
      assert.ok(offMs < 5 * DAY_MS && (aheadMs === 0 || offMs < Math.abs(aheadMs)), `its clock says ${date}`);

      const sign = (tag: string, signedAt: Date) => signer.sign({ repository: REPOSITORY, tag, signedAt });
      const now = Date.parse(date);
      const early = sign(`early-${served.length}`, new Date(now + 2 * DAY_MS));
      const refused = await uploads.post(FOLDER, early);
      assert.equal(refused.receipt, null);
      assert.ok(refused.status >= 400 && refused.status < 500, `${refused.status} ${refused.code}`);

      const bytes = sign(`v${served.length}`, new Date(now + 2 * MINUTE_MS));
      const { number, auditSeq } = takenAs(await uploads.post(FOLDER, bytes), 201);
      served.push(bytes);
      assert.equal(number, served.length, 'numbers go on');
      assert.ok(auditSeq !== null && auditSeq > latestAuditSeq, 'so do the events');
      latestAuditSeq = auditSeq;

      for (const [position, expected] of served.entries()) {
        const { status, body } = await uploads.get(`${FOLDER}/signature-${position + 1}`);
        assert.equal(status, 200);
        assert.ok(body.equals(expected), `signature-${position + 1} at ${clock}`);
      }
      assert.equal((await uploads.get(`${FOLDER}/signature-${served.length + 1}`)).status, 404);
      const wrong = uploadsTo(server.port, `${token.slice(0, -1)}${token.endsWith('x') ? 'y' : 'x'}`);
      assert.equal((await wrong.post(FOLDER, bytes)).status, 401);
      // it takes its ten seconds at each of them
      if (isFull || aheadMs > 0) await assertTimeLimit(server.port);
      await server.stop();
      const days = await readsByDay(temp.path);
      for (const [day, reads] of recorded) {
        assert.ok(
          (days.get(day) ?? 0) >= reads,
          `at ${clock} ${days.get(day)} of ${reads} reads of ${day} are left`,
        );
      }
      assert.ok(sumOf(days) > sumOf(recorded), 'new ones are recorded');
      recorded = days;
    }
    const fsck = await runLookaside(['fsck', '--data', temp.path]);
    assert.equal(fsck.status, 0, describeOutcome(fsck));
    see(
      `${served.length} uploaded at ${CLOCKS.length} times, 0 lost, 0 overwritten, ${recorded.size} days of reads kept; 2 minutes ahead taken, 2 days refused`,
    );
  },
);

promise(
  {
    id: 'P29',
    what: 'the clock of a running server jumps: uploads go on, reads are answered throughout',
    wanted: '+14 years, −3 days and right again: 0 reads refused, 0 uploads lost, each day of reads kept',
    ...needs('faketime'),
  },
  async (see) => {
    await using outside = await openTempFolder();
    const clock = path.join(outside.path, 'clock');
    await writeFile(clock, '+0d');
    const settings = {
      LD_PRELOAD: await fakeClock(),
      FAKETIME_TIMESTAMP_FILE: clock,
      FAKETIME_NO_CACHE: '1',
      FAKETIME_DONT_FAKE_MONOTONIC: '1',
    };
    await using scene = await openUploadsScene(settings);
    const { data, server, signer, uploads } = scene;
    const served: Buffer[] = [];
    const upload = async (signedAt: Date) => {
      const bytes = signer.sign({ repository: REPOSITORY, tag: `v${served.length}`, signedAt });
      const { number } = takenAs(await uploads.post(FOLDER, bytes), 201);
      served.push(bytes);
      assert.equal(number, served.length);
    };
    await upload(new Date());
    const target = `/${FOLDER}/signature-1`;
    await using asking = startAsking({ port: server.port, target, pauseMs: 5 });
    for (const [jump, aheadMs] of [...ALL_CLOCKS].reverse().slice(1)) {
      await eventually(async () => assert.equal((await readsByDay(data)).size, served.length));
      await writeFile(clock, jump);
      await upload(new Date(Date.now() + aheadMs + MINUTE_MS));
      for (const [position, expected] of served.entries()) {
        const { status, body } = await uploads.get(`${FOLDER}/signature-${position + 1}`);
        assert.equal(status, 200);
        assert.ok(body.equals(expected), `signature-${position + 1} at ${jump}`);
      }
      await pause(PRUNED_MS);
    }
    const reads = await asking.end();
    const [first = assert.fail()] = served;
    for (const { status, sha256 } of reads) assert.deepEqual([status, sha256], [200, sha256Hex(first)]);
    await server.stop();
    const days = await readsByDay(data);
    assert.ok(days.size >= 3, [...days.keys()].join(' '));
    const fsck = await runLookaside(['fsck', '--data', data]);
    assert.equal(fsck.status, 0, describeOutcome(fsck));
    see(
      `0 of ${reads.length} reads refused, ${served.length} uploads, 0 lost; ${days.size} days of reads kept`,
    );
  },
);

/** The library that gives a program another clock. */
async function fakeClock(): Promise<string> {
  const env = { PATH: process.env.PATH ?? '' };
  return (await succeed(['faketime', '-m', '-f', '+0d', 'printenv', 'LD_PRELOAD'], { env })).trim();
}

/** How many reads the record has of each day. */
async function readsByDay(data: string): Promise<Map<string, number>> {
  const folder = path.join(data, 'access');
  const names = (await readdir(folder)).filter((name) => /^[0-9-]+\.db$/.test(name));
  return new Map(
    names.map((name) => {
      const db = connectDatabase(path.join(folder, name), { readonly: true });
      try {
        return [name, Number(db.prepare('SELECT coalesce(sum(count), 0) FROM read').pluck().get())];
      } finally {
        db.close();
      }
    }),
  );
}

function sumOf(days: ReadonlyMap<string, number>): number {
  return [...days.values()].reduce((sum, reads) => sum + reads, 0);
}

/** The head of a request that does not come to its end has the connection closed, whatever the clock says. */
async function assertTimeLimit(port: number): Promise<void> {
  const socket = connect({ host: '127.0.0.1', port });
  await once(socket, 'connect');
  socket.write('GET /livez HTTP/1.1\r\nHost: a\r\n');
  await once(socket.resume(), 'close');
}
