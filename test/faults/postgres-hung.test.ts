// A node whose database has stopped answering, and says nothing: each of its routes.
import assert from 'node:assert/strict';
import { needs } from '../clients/available.ts';
import { startPostgres } from '../clients/postgres.ts';
import { askWhileHung } from '../clients/postgres-hung.ts';
import { openNode } from '../clients/postgres-node.ts';
import { makeSigner } from '../clients/signer.ts';
import { promise } from './promise.ts';

promise(
  {
    id: 'P9',
    what: 'each route of a node whose database takes what it is sent and never answers, eight requests at once',
    wanted:
      'no answer after 6.5 s (one that had no turn of the processor has a second more), and 503 with Retry-After for all that needs the database',
    skip: needs('postgres').skip,
    isLong: true,
  },
  async (see) => {
    await using postgres = await startPostgres();
    const signer = makeSigner('alice');
    const { count, longestMs } = await askWhileHung({ postgres, signer, openNode }, 8);
    assert.ok(longestMs < 6500, `an answer came after ${longestMs} ms`);
    see(`${count} requests, the longest answered after ${(longestMs / 1000).toFixed(1)} s`);
  },
);
