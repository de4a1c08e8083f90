// A node that is paused while PostgreSQL answers it: what had been asked is answered when it goes on.
import assert from 'node:assert/strict';
import { setTimeout as pause } from 'node:timers/promises';
import { needs } from '../clients/available.ts';
import { startPostgres } from '../clients/postgres.ts';
import { administer, openNode, PEM } from '../clients/postgres-node.ts';
import { openFar } from '../clients/postgres-troubled.ts';
import { startServer } from '../clients/server.ts';
import { makeSigner } from '../clients/signer.ts';
import { openTempFolder } from '../clients/temp-folder.ts';
import { requestRaw } from '../http/raw-request.ts';
import { folderOf } from '../store/lay.ts';
import { promise } from './promise.ts';

const EACH = 8;
/** Just longer than a request waits for the database, and more. */
const PAUSES_MS = [5000, 7000];
const namesOf = (pausedMs: number) => Array.from({ length: EACH }, (_, n) => `team/paused-${pausedMs}-${n}`);
const ONE_WAY_MS = 100;

promise(
  {
    id: 'P9',
    what: 'a node that is paused for longer than a request waits for the database answers what was under way when it goes on',
    wanted: '16 of 16 with 200',
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
    const other = await openNode(url);
    for (const repository of PAUSES_MS.flatMap(namesOf)) {
      const bytes = signer.sign({ repository, tag: 'v1' });
      assert.equal((await other.uploads(text).post(folderOf(repository), bytes)).status, 201);
    }
    await other.close();
    await using temp = await openTempFolder();
    const { far, delay } = await openFar(postgres, url, temp.path);
    await using _far = far;
    await using node = await startServer({
      data: null,
      settings: { LOOKASIDE_DATABASE: far.url, LOOKASIDE_LOG_KEY: PEM },
    });
    const statuses: number[] = [];
    for (const pausedMs of PAUSES_MS) {
      const names = namesOf(pausedMs);
      // so that no question is about to make a connection
      const warm = names.map((name) => requestRaw(node.port, `GET /${folderOf(`${name}-none`)}/signature-1`));
      await Promise.all(warm);
      delay.ms = ONE_WAY_MS;
      const asked = names.map((name) => requestRaw(node.port, `GET /${folderOf(name)}/signature-1`));
      // the questions are on their way, and no answer has come
      await pause(ONE_WAY_MS / 2);
      process.kill(node.pid, 'SIGSTOP');
      await pause(pausedMs);
      process.kill(node.pid, 'SIGCONT');
      statuses.push(...(await Promise.all(asked)).map(({ status }) => status));
      delay.ms = 0;
    }
    const right = statuses.filter((status) => status === 200).length;
    see(`${right} of ${statuses.length} with 200`);
    assert.equal(right, statuses.length, `they were answered with ${statuses.join(', ')}`);
  },
);
