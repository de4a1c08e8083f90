// A node whose database is so far away that every answer takes 200 ms.
import assert from 'node:assert/strict';
import { needs } from '../clients/available.ts';
import { startPostgres } from '../clients/postgres.ts';
import { administer, openNode } from '../clients/postgres-node.ts';
import { serveFromFar } from '../clients/postgres-troubled.ts';
import { makeSigner } from '../clients/signer.ts';
import { promise } from './promise.ts';

promise(
  {
    id: 'P9',
    what: 'a node whose database is 200 ms away answers reads with 200 or 404, 200 at once too, and takes uploads',
    wanted: 'each answer within 5.5 s, and the fastest of three uploads within 2.5 s',
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
    const tookMs = await serveFromFar({ postgres, url, token: text, signer, openNode }, 100, 3);
    assert.ok(tookMs < 2500, `an upload took ${tookMs} ms`);
    see(`each answer within 5.5 s, and the fastest of three uploads in ${(tookMs / 1000).toFixed(1)} s`);
  },
);
