// Uploads that are refused in masses: each is told and counted, the audit log stays small, and their sender is slowed.
import assert from 'node:assert/strict';
import { statSync } from 'node:fs';
import path from 'node:path';
import { connect } from '../../src/sqlite/connect.ts';
import { connectSignatureServer } from '../../src/upstream/signature-server.ts';
import { createToken, startServer } from '../clients/server.ts';
import { enrol, makeSigner, type Signer } from '../clients/signer.ts';
import { openTempFolder } from '../clients/temp-folder.ts';
import { type Part, takenAs, uploadsTo } from '../clients/uploads.ts';
import { folderOf } from '../store/lay.ts';
import { count, promise } from './promise.ts';

const MAX_PER_MINUTE = 1000;
/** How many of the uploads of the administrator are refused: they have no limit. */
const LOCAL = count(3000, 200);
const GROWN_BYTES = 512 * 1024;

promise(
  {
    id: 'P26',
    what: 'refused uploads of one uploader fill no audit log, none of them is missing in its count, and he is slowed',
    wanted: `${MAX_PER_MINUTE} refused by one token and ${LOCAL} by the administrator: all told and counted, state.db ≤ +${GROWN_BYTES / 1024} KiB, then 429 for that token alone`,
  },
  async (see) => {
    await using temp = await openTempFolder();
    const data = temp.path;
    const alice = makeSigner('alice');
    const stranger = makeSigner('stranger');
    const token = await enrol(data, alice);
    const mallory = await createToken(data, 'mallory', 'uploader');
    const sizeBytes = () => statSync(path.join(data, 'state.db')).size;
    const before = sizeBytes();

    const server = await startServer({ data });
    const uploads = uploadsTo(server.port, mallory);
    for (let form = 0; form < MAX_PER_MINUTE / 100; form += 1) {
      const { status, results } = await uploads.batch(partsOf(stranger, `mallory-${form}`));
      assert.equal(status, 200);
      for (const { result } of results) assert.equal(result, 'refused');
    }
    const slowed = await uploads.batch(partsOf(stranger, 'mallory-more'));
    assert.deepEqual([slowed.status, slowed.code], [429, 'SLOW_DOWN']);
    const bytes = alice.sign({ repository: 'team/app', tag: 'v1' });
    takenAs(await uploadsTo(server.port, token).post(folderOf('team/app'), bytes), 201);

    const local = connectSignatureServer({
      at: { socketPath: path.join(data, 'lookaside.sock') },
      onRetry: () => assert.fail('the administrator was not to be slowed'),
      patienceMs: 0,
      wait: async () => undefined,
      random: Math.random,
    });
    for (let form = 0; form < LOCAL / 100; form += 1) {
      const parts = partsOf(stranger, `local-${form}`).map(({ bytes, fileName = null }) => ({
        bytes,
        fileName,
      }));
      await local.uploadBatch(parts, { force: false });
    }
    await local[Symbol.asyncDispose]();
    await server.stop();

    const refused = refusedBy(data);
    const events = [...refused.values()].reduce((sum, one) => sum + one.events, 0);
    const grown = Math.round((sizeBytes() - before) / 1024);
    see(
      `${refused.get('mallory')?.count} and ${refused.get('administrator')?.count} counted in ${events} events, state.db +${grown} KiB; then 429, and another's upload 201`,
    );
    assert.equal(refused.get('mallory')?.count, MAX_PER_MINUTE);
    assert.equal(refused.get('administrator')?.count, LOCAL);
    assert.ok(grown * 1024 <= GROWN_BYTES);
  },
);

/** By a key that nobody knows, each of an image of its own. */
function partsOf(signer: Signer, name: string): readonly Part[] {
  return Array.from({ length: 100 }, (_, k) => {
    const repository = `${name}/app-${k}`;
    const bytes = signer.sign({ repository, tag: 'v1' });
    return { bytes, fileName: `${folderOf(repository)}/signature-1` };
  });
}

interface Refused {
  readonly events: number;
  readonly count: number;
}

/** What the audit log tells of refused uploads, by uploader. */
function refusedBy(data: string): ReadonlyMap<string, Refused> {
  const db = connect(path.join(data, 'state.db'), { readonly: true });
  try {
    const rows = db
      .prepare<[], Refused & { readonly actor: string }>(`
        SELECT
          private ->> '$.actor' AS actor,
          count(*) AS events,
          sum(coalesce(leaf ->> '$.count', 1)) AS count
        FROM audit_event
        WHERE leaf ->> '$.action' = 'upload' AND leaf ->> '$.result' <> 'created'
        GROUP BY actor`)
      .all();
    return new Map(rows.map(({ actor, ...refused }) => [actor, refused]));
  } finally {
    db.close();
  }
}
