// Clocks that are wrong: the server's jumps days back and years ahead, and signers' are ahead of it.
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { connect } from 'node:net';
import { needs } from '../clients/available.ts';
import { describeOutcome, succeed } from '../clients/command.ts';
import { runLookaside, startServer } from '../clients/server.ts';
import { enrol, makeSigner } from '../clients/signer.ts';
import { openTempFolder } from '../clients/temp-folder.ts';
import { takenAs, uploadsTo } from '../clients/uploads.ts';
import { folderOf } from '../store/lay.ts';
import { isFull, promise } from './promise.ts';

const DAY_MS = 24 * 3600 * 1000;
const MINUTE_MS = 60 * 1000;

/** As libfaketime reads them, and the same in milliseconds; the same clock again comes last. */
const ALL_CLOCKS = [
  ['+0d', 0],
  ['-3d', -3 * DAY_MS],
  ['+14y', 14 * 365 * DAY_MS],
  ['+0d', 0],
] as const;

const CLOCKS = isFull ? ALL_CLOCKS : ALL_CLOCKS.slice(1, 3);

const REPOSITORY = 'clock/app';
const FOLDER = folderOf(REPOSITORY);

promise(
  {
    id: 'P29',
    what: 'a wrong clock loses and overwrites nothing, and a signer may be a little ahead',
    wanted:
      'server −3 days, +14 years and back: 0 lost, 0 overwritten; 2 minutes ahead taken, 2 days refused',
    ...needs('faketime'),
  },
  async (see) => {
    await using temp = await openTempFolder();
    const signer = makeSigner('alice');
    const token = await enrol(temp.path, signer);
    const env = { PATH: process.env.PATH ?? '' };
    const library = (
      await succeed(['faketime', '-m', '-f', '+0d', 'printenv', 'LD_PRELOAD'], { env })
    ).trim();
    const served: Buffer[] = [];
    let latestAuditSeq = 0;

    for (const [clock, aheadMs] of CLOCKS) {
      const settings = { LD_PRELOAD: library, FAKETIME: clock, FAKETIME_DONT_FAKE_MONOTONIC: '1' };
      await using server = await startServer({ data: temp.path, settings });
      const uploads = uploadsTo(server.port, token);
      const shown = (await uploads.get('livez')).headers.get('date') ?? '';
      const offMs = Math.abs(Date.parse(shown) - Date.now() - aheadMs);
      assert.ok(
        offMs < 5 * DAY_MS && (aheadMs === 0 || offMs < Math.abs(aheadMs)),
        `its clock says ${shown}`,
      );

      const sign = (tag: string, signedAt: Date) => signer.sign({ repository: REPOSITORY, tag, signedAt });
      const now = Date.parse(shown);
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
      await assertTimeLimit(server.port);
      await server.stop();
    }
    const fsck = await runLookaside(['fsck', '--data', temp.path]);
    assert.equal(fsck.status, 0, describeOutcome(fsck));
    see(
      `${served.length} uploaded at ${CLOCKS.length} times, 0 lost, 0 overwritten; 2 minutes ahead taken, 2 days refused`,
    );
  },
);

/** The head of a request that does not come to its end has the connection closed, whatever the clock says. */
async function assertTimeLimit(port: number): Promise<void> {
  const socket = connect({ host: '127.0.0.1', port });
  await once(socket, 'connect');
  socket.write('GET /livez HTTP/1.1\r\nHost: a\r\n');
  await once(socket.resume(), 'close');
}
