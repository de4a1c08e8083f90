// A node whose database is so far away that every answer takes 200 ms.
import { needs } from '../clients/available.ts';
import { startPostgres } from '../clients/postgres.ts';
import { administer, openNode } from '../clients/postgres-node.ts';
import { serveFromFar } from '../clients/postgres-troubled.ts';
import { makeSigner } from '../clients/signer.ts';
import { promise } from './promise.ts';

promise(
  {
    id: 'P9',
    what: 'a node whose database is 200 ms away answers reads with 200 or 404, and takes uploads',
    wanted: 'each answer within 7.5 s',
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
    const tookMs = await serveFromFar({ postgres, url, token: text, signer, openNode }, 100);
    see(`each answer within 7.5 s, and an upload in ${(tookMs / 1000).toFixed(1)} s`);
  },
);
