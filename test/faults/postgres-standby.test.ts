// A node over a standby that follows the primary of the others, as a region far from it has one: reads are its own, and what changes
// something is refused.
import assert from 'node:assert/strict';
import { needs } from '../clients/available.ts';
import { eventually } from '../clients/eventually.ts';
import { startPostgres } from '../clients/postgres.ts';
import { administer, openNode } from '../clients/postgres-node.ts';
import { makeSigner } from '../clients/signer.ts';
import { takenAs } from '../clients/uploads.ts';
import { folderOf } from '../store/lay.ts';
import { promise } from './promise.ts';

const WITHIN_MS = 5000;

promise(
  {
    id: 'P9',
    what: 'a node over a streaming standby serves what the primary has taken, and refuses uploads with 503',
    wanted: `each upload is served there within ${WITHIN_MS / 1000} s, and no read is anything but 200 or 404`,
    skip: needs('postgres').skip,
    isLong: true,
  },
  async (see) => {
    await using postgres = await startPostgres();
    const url = await postgres.newDatabase();
    const signer = makeSigner('alice');
    await using administration = await administer(url);
    await administration.keys.add(signer.certificate);
    const { text } = await administration.tokens.create({ name: 'ci', role: 'uploader', lifeMs: null });
    const near = await openNode(url);
    const standby = await postgres.openStandby();
    try {
      const far = await openNode(standby.urlOf(url));
      try {
        const folder = folderOf('team/standby');
        const [there, here] = [far.uploads(text), near.uploads(text)];
        let slowestMs = 0;
        for (let number = 1; number <= 5; number += 1) {
          // its absence is no answer that it keeps
          assert.equal((await there.get(`${folder}/signature-${number}`)).status, 404);
          const bytes = signer.sign({ repository: 'team/standby', tag: `v${number}` });
          const startMs = performance.now();
          assert.equal(takenAs(await here.post(folder, bytes), 201).number, number);
          await eventually(async () => {
            const { status, body } = await there.get(`${folder}/signature-${number}`);
            assert.ok(status === 200 || status === 404, `${status}`);
            assert.ok(body.equals(bytes));
          }, WITHIN_MS);
          slowestMs = Math.max(slowestMs, performance.now() - startMs);
        }
        const refused = await there.post(folder, signer.sign({ repository: 'team/standby', tag: 'v6' }));
        assert.deepEqual([refused.status, refused.code], [503, 'STORE_UNAVAILABLE']);
        const writes = await fetch(`http://127.0.0.1:${far.port}/readyz?for=writes`);
        assert.equal(writes.status, 503);
        const reads = await fetch(`http://127.0.0.1:${far.port}/readyz`);
        assert.equal(reads.status, 200);
        assert.match(await reads.text(), /takes no changes/);
        // a token that is revoked at the primary is one of nobody there
        await administration.tokens.revoke('ci');
        await eventually(async () => {
          const { status } = await there.post(folder, signer.sign({ repository: 'team/standby', tag: 'v7' }));
          assert.equal(status, 401);
        }, WITHIN_MS);
        see(`served there within ${(slowestMs / 1000).toFixed(1)} s, and each upload 503`);
      } finally {
        await far.close();
      }
    } finally {
      await near.close();
      await standby.stop();
    }
  },
);
