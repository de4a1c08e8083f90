// Signatures in a real PostgreSQL: the contract of every store, and several nodes at once.
import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import { isLookasideError, LookasideError } from '../../src/domain/errors.ts';
import { type ImageId, imageFolder, imageKey } from '../../src/domain/image.ts';
import type { VerifiedUpload } from '../../src/domain/ports.ts';
import { whyUnreadable } from '../../src/domain/readable.ts';
import { ANY_RECORD } from '../../src/domain/records.ts';
import type { Tombstone } from '../../src/domain/tombstone.ts';
import { CHANGED_AT_ONCE, changedSets } from '../../src/postgres/changes.ts';
import { type Connections, connect, listenOn } from '../../src/postgres/connect.ts';
import { inTime } from '../../src/postgres/in-time.ts';
import { PostgresKeys } from '../../src/postgres/keys.ts';
import { Leader } from '../../src/postgres/leader.ts';
import { PostgresLog } from '../../src/postgres/log-store.ts';
import { migrate, ownSchema } from '../../src/postgres/migrate.ts';
import { PostgresMirrors } from '../../src/postgres/mirrors.ts';
import { openPostgres } from '../../src/postgres/open.ts';
import { PostgresQuestions } from '../../src/postgres/questions.ts';
import { PostgresSignatures } from '../../src/postgres/signatures.ts';
import { endedTombstones } from '../../src/postgres/tombstone-rows.ts';
import { inTurnOfKeys, KEYS } from '../../src/postgres/turns.ts';
import { PostgresVerdicts } from '../../src/postgres/verdicts.ts';
import { CHANNEL, PostgresWriter } from '../../src/postgres/writer.ts';
import type { Reader } from '../../src/service/read.ts';
import { auditEvent } from '../contract/audit-event.ts';
import { keyNamed } from '../contract/key-store.ts';
import { signatureStoreContract } from '../contract/signature-store.ts';
import { folderOf, LONG_AGO, sha256Hex, signatureBytes } from '../store/lay.ts';
import { eventOf, GOOD, imageIn, uploadOf } from '../store/open-store.ts';
import { needs } from './available.ts';
import { makeClientCertificate, makeServerCertificate } from './certificate.ts';
import { eventually } from './eventually.ts';
import { type Postgres, startPostgres } from './postgres.ts';
import { postgresAccessLogContract } from './postgres-access-log.ts';
import { postgresNetworks } from './postgres-networks.ts';
import { postgresOlderReads } from './postgres-older-reads.ts';
import { postgresStoresContracts } from './postgres-stores.ts';
import { postgresTlsTests, type TlsScene } from './postgres-tls.ts';
import { openTempFolder, type TempFolder } from './temp-folder.ts';

interface Node {
  readonly connections: Connections;
  readonly signatures: PostgresSignatures;
  readonly readers: Set<Reader>;
  close(): Promise<void>;
}

let monotonicMs = () => performance.now();

async function openNode(url: string, staleMs = 0): Promise<Node> {
  const connections = connect({ url, poolSize: 4 });
  await migrate(connections);
  const writer = new PostgresWriter(connections);
  const readers = new Set<Reader>();
  const signatures = new PostgresSignatures({
    connections,
    writer,
    monotonicMs: () => monotonicMs(),
    staleMs,
    onChanged(image) {
      for (const reader of readers) reader.forget(image);
    },
    makeLiftEvent: ({ image, sha256 }) => eventOf(image, sha256, 'withdraw-end'),
  });
  return {
    connections,
    signatures,
    readers,
    async close() {
      await writer.drain();
      await connections.close();
    },
  };
}

describe('PostgreSQL', needs('postgres', 'openssl'), () => {
  let postgres: Postgres;
  let temp: TempFolder;
  let tls: Omit<TlsScene, 'postgres'>;
  before(async () => {
    temp = await openTempFolder();
    const server = await makeServerCertificate(temp.path, 'database');
    tls = { server, client: await makeClientCertificate(temp.path, 'certified') };
    postgres = await startPostgres({ server, clientAuthorityFile: tls.client.authorityFile });
  });
  after(async () => {
    await postgres?.[Symbol.asyncDispose]();
    await temp?.[Symbol.asyncDispose]();
  });

  signatureStoreContract('signatures in PostgreSQL', async () => {
    const node = await openNode(await postgres.migratedDatabase());
    return {
      store: node.signatures,
      appender: node.signatures,
      tell: (reader) => void node.readers.add(reader),
      place: (folder, files) => node.signatures.adopt(imageIn(folder), servedOf(files)),
      close: node.close,
    };
  });

  it('let a set of a mirror go in one step, unless a sync has asked for it or something of it is withdrawn', async () => {
    const node = await openNode(await postgres.migratedDatabase());
    try {
      const { connections, signatures } = node;
      const mirrors = new PostgresMirrors(connections, new PostgresWriter(connections));
      const blobs = ['v1', 'v2'].map((tag) => ({ bytes: signatureBytes(tag, 300), judgement: GOOD }));
      const [keyring] = await connections.query<{ number: number }>(
        "SELECT number FROM change WHERE topic = 'keys'",
      );
      const brought = async (name: string, syncedAt: Date | null = null) => {
        const image = imageIn(folderOf(`team/${name}`));
        await signatures.publish(image, blobs, keyring?.number);
        const walked = { checkedAt: LONG_AGO, upstream: 'https://one.example/', gone: [], leftOut: [] };
        await mirrors.checked([
          { site: image.site, image: imageFolder(image), ...walked, syncedAt, sizeBytes: 9 },
        ]);
        return image;
      };
      const countOf = async (image: ImageId) => (await signatures.readSet(image)).entries.length;
      const judged = async () =>
        (
          await connections.query<{ verdict: string }>(
            'SELECT DISTINCT verdict FROM signature ORDER BY verdict',
          )
        ).map(({ verdict }) => verdict);
      const gone = await brought('gone');
      assert.deepEqual(await judged(), ['good']);
      assert.equal(await signatures.letGo(gone), true);
      assert.deepEqual([await countOf(gone), await mirrors.setOf(gone)], [0, null]);
      assert.deepEqual((await signatures.listFolder(gone.site, '', null, 10)).names, []);
      assert.equal(await signatures.letGo(gone), false);
      assert.equal(await countOf(await brought('gone')), 2);
      const synced = await brought('synced', LONG_AGO);
      assert.deepEqual([await signatures.letGo(synced), await countOf(synced)], [false, 2]);
      const withdrawn = await brought('withdrawn');
      const event = (sha256: string) => eventOf(withdrawn, sha256, 'withdraw');
      await signatures.withdraw({ image: withdrawn, number: 2, by: 'a', reason: 'b', until: null, event });
      assert.deepEqual([await signatures.letGo(withdrawn), await countOf(withdrawn)], [false, 1]);
      // what the other node has noted of a set that is gone goes too
      const ghost = await brought('ghost');
      await connections.query('UPDATE change SET number = number + 1 WHERE topic = $1', ['keys']);
      assert.equal(await signatures.letGo(ghost), true);
      await mirrors.checked([
        {
          ...{
            site: ghost.site,
            image: imageFolder(ghost),
            checkedAt: LONG_AGO,
            upstream: 'https://one.example/',
          },
          ...{ gone: [], leftOut: [], syncedAt: null, sizeBytes: 9 },
        },
      ]);
      assert.equal(await signatures.letGo(ghost), true);
      assert.equal(await mirrors.setOf(ghost), null);
      // verdicts by an older keyring are made again
      await brought('later');
      assert.deepEqual(await judged(), ['good', 'unverified']);
    } finally {
      await node.close();
    }
  });

  describe('stores', () => postgresStoresContracts(() => postgres));
  describe('by TLS', () => postgresTlsTests(() => ({ postgres, ...tls })));
  describe('the record of reads', () => postgresAccessLogContract(() => postgres));

  describe('networks in questions', () => postgresNetworks(() => postgres));

  describe('older records', () => postgresOlderReads(() => postgres));

  it('mark what a changed key has signed part after part, also when the node that changed it is gone, and tell the judge', async () => {
    const url = await postgres.migratedDatabase();
    const connections = connect({ url, poolSize: 3 });
    const heard: string[] = [];
    const listening = listenOn(connections, CHANNEL, (payload) => heard.push(payload));
    try {
      const { query } = connections;
      const key = keyNamed('A');
      await query(`
        INSERT INTO image (site, folder, generation) VALUES ('default', 'app@sha256=' || repeat('0', 64), 1);
        INSERT INTO blob (image_id, sha256, bytes) SELECT id, decode(repeat('00', 32), 'hex'), '' FROM image;
        INSERT INTO signature (image_id, number, sha256, size_bytes, stored_at_ms, issuer, fingerprint, judge_at_ms)
        SELECT i.id, n, b.sha256, 0, 0, repeat('A', 16), CASE WHEN n % 2 = 0 THEN repeat('A', 40) END, NULL
        FROM image AS i, blob AS b, generate_series(1, 4500) AS n;
        INSERT INTO signature (image_id, number, sha256, size_bytes, stored_at_ms, issuer, judge_at_ms)
        SELECT image_id, 4501, sha256, 0, 0, repeat('B', 16), NULL FROM blob;
        CREATE FUNCTION refuse_many() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN
          IF (SELECT count(*) FROM changed) > 2000 THEN RAISE EXCEPTION 'too many at once'; END IF;
          RETURN NULL;
        END $$;
        CREATE TRIGGER not_many AFTER UPDATE ON signature REFERENCING NEW TABLE AS changed
        FOR EACH STATEMENT EXECUTE FUNCTION refuse_many()`);
      const marked = async () =>
        (await query<{ n: number }>('SELECT count(*) AS n FROM signature WHERE judge_at_ms = 0'))[0]?.n;
      const writer = new PostgresWriter(connections);
      let isLeader = false;
      const verdicts = new PostgresVerdicts({
        connections,
        writer,
        keyringNumber: () => 0,
        isLeader: () => isLeader,
      });
      await eventually(async () =>
        assert.ok(
          (await query("SELECT 1 FROM pg_stat_activity WHERE query = 'LISTEN lookaside'")).length > 0,
        ),
      );
      const keys = new PostgresKeys(connections, writer);
      await keys.put(key, auditEvent({ action: 'key-add' }));
      // the node ends here, and has marked none
      assert.deepEqual(await verdicts.unjudged('default', LONG_AGO, 0, 10), []);
      isLeader = true;
      const unjudged = await verdicts.unjudged('default', LONG_AGO, 0, 10);
      assert.deepEqual([unjudged.length, await marked()], [10, 4500]);
      await eventually(() => assert.ok(heard.includes('judge')));
      await query('UPDATE signature SET judge_at_ms = NULL WHERE id % 3 = 0');
      await keys.remove(key.fingerprint, auditEvent({ action: 'key-remove' }));
      await verdicts.unjudged('default', LONG_AGO, 0, 10);
      assert.equal(await marked(), 4500);
      await verdicts.judgeAgain('default', ['B'.repeat(16)]);
      assert.equal(await marked(), 4501);
      assert.deepEqual(await query('SELECT * FROM judge_again'), []);
    } finally {
      await listening.close();
      await connections.close();
    }
  });

  it('refuse sessions that keep locks for ever', async () => {
    const url = `${await postgres.migratedDatabase()}&options=${encodeURIComponent('-c work_mem=8MB')}`;
    const opening = openPostgres({
      ...{ url, poolSize: 2, staleMs: 0, monotonicMs, keyringNumber: () => 0, warn: () => undefined },
      ...{ onChanged: () => undefined, onElected: () => undefined },
      makeLiftEvent: ({ image, sha256 }) => eventOf(image, sha256, 'withdraw-end'),
    });
    await assert.rejects(opening, {
      code: 'STATE_UNUSABLE',
      message: /idle_in_transaction.* asked for 3000; /,
    });
  });

  it('refuse changes of a node that was paused while others were upgraded past what it can bear', async () => {
    const connections = connect({ url: await postgres.migratedDatabase(), poolSize: 2 });
    const { query } = connections;
    const own = ownSchema();
    const [older, newer] = [own, own + 1].map((schema) => new PostgresWriter(connections, undefined, schema));
    const change = (writer: PostgresWriter | undefined = assert.fail()) =>
      writer.run(({ addEvent }) => addEvent(auditEvent({ action: 'key-add' })));
    assert.equal(await change(older), 1);
    await query('UPDATE log_head SET oldest_writer = $1', [own + 1]);
    await assert.rejects(change(older), {
      code: 'STORE_UNAVAILABLE',
      message: /start the version that the other/,
    });
    assert.equal(await change(newer), 2);
    assert.equal((await query('SELECT 1 FROM audit_event')).length, 2);
    await connections.close();
  });

  it('refuse a change that could not begin in time, and make those that could', async () => {
    let begin: () => void = () => undefined;
    const begun = new Promise<void>((resolve) => {
      begin = resolve;
    });
    const connections = connect({ url: await postgres.migratedDatabase(), poolSize: 1 });
    const slow = { take: () => begun.then(() => connections.take()) };
    const writer = new PostgresWriter(slow, 20);
    const first = writer.run(async () => 'first');
    await Promise.resolve();
    await assert.rejects(
      writer.run(async () => assert.fail('it has begun')),
      { code: 'BUSY', message: /nothing of it was done/ },
    );
    begin();
    assert.equal(await first, 'first');
    assert.equal(await writer.run(async () => 'third'), 'third');
    await connections.close();
  });

  it('take no upload that has got its turn after its asker was answered', async () => {
    const node = await openNode(await postgres.migratedDatabase());
    let begin: () => void = () => undefined;
    const begun = new Promise<void>((resolve) => {
      begin = resolve;
    });
    let nowMs = 0;
    const signatures = new PostgresSignatures({
      writer: new PostgresWriter({ take: () => begun.then(() => node.connections.take()) }),
      ...{ connections: node.connections, monotonicMs: () => nowMs, staleMs: 0 },
      onChanged: () => undefined,
      makeLiftEvent: () => assert.fail('nothing is lifted'),
    });
    const image = imageIn(folderOf('team/late'));
    const late = signatures.append(uploadOf(image, signatureBytes('late')));
    nowMs = 4000;
    const soon = signatures.append(uploadOf(image, signatureBytes('soon')));
    nowMs = 5000;
    begin();
    await assert.rejects(late, { code: 'STORE_UNAVAILABLE', message: /has not said in time/ });
    assert.equal((await soon).number, 1);
    assert.equal((await node.signatures.readSet(image)).entries.length, 1);
    await node.close();
  });

  it('write an upload by five questions, as the database may be far away', async () => {
    const node = await openNode(await postgres.migratedDatabase());
    const asked: string[] = [];
    const counting = {
      async take() {
        const taken = await node.connections.take();
        const query: typeof taken.query = (sql, values) => {
          asked.push(sql);
          return taken.query(sql, values);
        };
        return { ...taken, query };
      },
    };
    const signatures = new PostgresSignatures({
      ...{ connections: node.connections, writer: new PostgresWriter(counting), monotonicMs, staleMs: 0 },
      onChanged: () => undefined,
      makeLiftEvent: () => assert.fail('nothing is lifted'),
    });
    const image = imageIn(folderOf('team/below/many/folders'));
    await signatures.append(uploadOf(image, signatureBytes('first'))); // and looks for a move that is under way
    for (const [bytes, outcome, count] of [
      ['second', 'created', 5],
      ['second', 'exists', 3],
    ] as const) {
      asked.length = 0;
      assert.equal((await signatures.append(uploadOf(image, signatureBytes(bytes)))).outcome, outcome);
      assert.equal(asked.length, count, asked.join('\n'));
    }
    asked.length = 0;
    await Promise.all(
      ['a', 'b', 'c'].map((name) =>
        signatures.append(uploadOf(imageIn(folderOf(`team/${name}`)), signatureBytes(name))),
      ),
    );
    assert.equal(asked.filter((sql) => /COMMIT/.test(sql)).length, 1);
    await node.close();
  });

  it('join no further change to a transaction that has lasted for a second', async () => {
    const connections = connect({ url: await postgres.migratedDatabase(), poolSize: 1 });
    const writer = new PostgresWriter(connections);
    const act = (seconds: number) =>
      writer.run(async ({ query }) => {
        const [row] = await query<{ id: string }>(
          `SELECT pg_current_xact_id()::text AS id FROM pg_sleep(${seconds})`,
        );
        return row?.id;
      });
    const ids = await Promise.all([act(0), act(1.1), act(0), act(0)]);
    assert.deepEqual(
      ids.map((id) => ids.indexOf(id)),
      [0, 0, 2, 2],
    );
    await connections.close();
  });

  it('wait for no answer for longer than they are to', async () => {
    const late = () => new Error('late');
    await assert.rejects(inTime(new Promise(() => undefined), late, 5), /late/);
    assert.equal(await inTime(Promise.resolve('in time'), late), 'in time');
  });

  it('serve what is in memory without a question while it is known that the database is lost', async () => {
    const node = await openNode(await postgres.migratedDatabase(), 60_000);
    const image = imageIn(folderOf('team/lost'));
    await node.signatures.append(uploadOf(image, signatureBytes('one')));
    let isLost = false;
    let asked = 0;
    const signatures = new PostgresSignatures({
      connections: {
        ...node.connections,
        query(...given) {
          asked += 1;
          return node.connections.query(...given);
        },
      },
      ...{ writer: new PostgresWriter(node.connections), monotonicMs, staleMs: 60_000 },
      ...{ isLost: () => isLost, onChanged: () => undefined },
      makeLiftEvent: ({ image, sha256 }) => eventOf(image, sha256, 'withdraw-end'),
    });
    const known = await signatures.readSet(image);
    isLost = true;
    assert.equal(await signatures.readSet(image, known), known);
    assert.equal(asked, 1);
    isLost = false;
    await signatures.readSet(image, known);
    assert.equal(asked, 2);
    await node.close();
  });

  it('look at an image once at a time, however slow the database is, and show an upload of before to who asks during a look', async () => {
    const node = await openNode(await postgres.migratedDatabase());
    const image = imageIn(folderOf('team/late'));
    let nowMs = 1000;
    const answers: (() => void)[] = [];
    const signatures = new PostgresSignatures({
      connections: {
        ...node.connections,
        async query<Row extends object>(sql: string, values?: readonly unknown[]) {
          const rows = await node.connections.query<Row>(sql, values);
          await new Promise<void>((resolve) => void answers.push(resolve));
          return rows;
        },
      },
      ...{ writer: new PostgresWriter(node.connections), monotonicMs: () => nowMs, staleMs: 0 },
      onChanged: () => undefined,
      makeLiftEvent: ({ image, sha256 }) => eventOf(image, sha256, 'withdraw-end'),
    });
    const first = signatures.readSet(image);
    await eventually(() => assert.equal(answers.length, 1));
    await node.signatures.append(uploadOf(image, signatureBytes('one')));
    const later = [0, 100, 250, 500, 1000].map((ms) => {
      nowMs = 1000 + ms;
      return signatures.readSet(image);
    });
    await node.connections.query('SELECT 1'); // others have asked meanwhile, if they would
    assert.equal(answers.length, 1);
    answers[0]?.();
    assert.deepEqual((await first).entries, []);
    await eventually(() => assert.equal(answers.length, 2));
    answers[1]?.();
    for (const { entries } of await Promise.all(later)) assert.equal(entries.length, 1);
    assert.equal(answers.length, 2);
    await node.close();
  });

  it('answer no question any longer whose asker has left', async () => {
    const url = await postgres.migratedDatabase();
    const connections = connect({ url, poolSize: 2, isPatient: true });
    const questions = new PostgresQuestions(url);
    const { query, release } = await connections.take();
    try {
      await query('BEGIN; LOCK TABLE audit_event IN ACCESS EXCLUSIVE MODE');
      const waiting = async () =>
        (
          await connections.query(
            "SELECT 1 FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'",
          )
        ).length;
      const leaving = new AbortController();
      const session = await questions.open(leaving.signal);
      const page = session.page({ record: 'audit', filter: ANY_RECORD }, null, 10);
      page.catch(() => undefined);
      await eventually(async () => assert.equal(await waiting(), 1));
      leaving.abort(new Error('has left'));
      await assert.rejects(page, { message: 'has left' });
      await eventually(async () => assert.equal(await waiting(), 0));
    } finally {
      release(true);
      await questions.close();
      await connections.close();
    }
  });

  it('wait for no second look where the one before it has failed after long', async () => {
    const node = await openNode(await postgres.migratedDatabase());
    let nowMs = 1000;
    let fail: () => void = () => undefined;
    let asked = 0;
    const signatures = new PostgresSignatures({
      connections: {
        ...node.connections,
        query: () => {
          asked += 1;
          return new Promise((_, reject) => {
            fail = () => reject(new LookasideError('STORE_UNAVAILABLE', 'no answer'));
          });
        },
      },
      ...{ writer: new PostgresWriter(node.connections), monotonicMs: () => nowMs, staleMs: 0 },
      onChanged: () => undefined,
      makeLiftEvent: ({ image, sha256 }) => eventOf(image, sha256, 'withdraw-end'),
    });
    const image = imageIn(folderOf('team/silent'));
    const reads = [signatures.readSet(image), signatures.readSet(image)];
    nowMs += 4800;
    fail();
    for (const read of reads) await assert.rejects(read, { code: 'STORE_UNAVAILABLE' });
    assert.equal(asked, 1);
    await node.close();
  });

  describe('several nodes', () => {
    let nodes: Node[];
    let url: string;
    before(async () => {
      url = await postgres.newDatabase();
      nodes = await Promise.all([1, 2, 3].map(() => openNode(url, 60_000)));
    });
    after(() => Promise.all(nodes.map((node) => node.close())));

    const at = (n: number): PostgresSignatures => (nodes[n % nodes.length] as Node).signatures;
    /** As a client goes on after 503, which a machine without time for PostgreSQL answers to the last of many. */
    const taken = (node: PostgresSignatures, upload: VerifiedUpload): ReturnType<typeof node.append> =>
      node.append(upload).catch((error: unknown) => {
        if (!isLookasideError(error, 'STORE_UNAVAILABLE')) throw error;
        return taken(node, upload);
      });
    const hashes = async (node: PostgresSignatures, image: ImageId) =>
      (await node.readSet(image)).entries.map(({ sha256 }) => sha256);

    it('give fifty concurrent uploads of one image fifty dense numbers, and events without a hole', async () => {
      const image = imageIn(folderOf('team/dense'));
      const blobs = Array.from({ length: 50 }, (_, n) => signatureBytes(`upload ${n} `));
      const answers = await Promise.all(blobs.map((bytes, n) => taken(at(n), uploadOf(image, bytes))));
      const numbers = answers.map(({ number }) => number).toSorted((a, b) => a - b);
      assert.deepEqual(
        numbers,
        blobs.map((_, n) => n + 1),
      );
      const inOrder = answers.toSorted((a, b) => a.number - b.number);
      for (let n = 0; n < 3; n += 1) {
        assert.deepEqual(
          await hashes(at(n), image),
          inOrder.map(({ sha256 }) => sha256),
        );
      }
      const seqs = inOrder.map(({ auditSeq }) => auditSeq);
      assert.deepEqual(
        seqs,
        seqs.map((_, n) => (seqs[0] ?? 0) + n),
      );
    });

    it('keep the same bytes once, whichever node they come to', async () => {
      const image = imageIn(folderOf('team/once'));
      const upload = uploadOf(image, signatureBytes('once'));
      const answers = await Promise.all(Array.from({ length: 30 }, (_, n) => at(n).append(upload)));
      assert.equal(answers.filter(({ outcome }) => outcome === 'created').length, 1);
      assert.equal(new Set(answers.map(({ auditSeq }) => auditSeq)).size, 1);
      assert.deepEqual(await hashes(at(1), image), [sha256Hex(upload.bytes)]);
    });

    it('show a change of another node to who asks for the set again', async () => {
      const image = imageIn(folderOf('team/seen'));
      const [one, two] = [signatureBytes('one'), signatureBytes('two')];
      await at(0).append(uploadOf(image, one));
      const known = await at(1).readSet(image);
      assert.equal(await at(1).readSet(image, known), known);
      await at(0).append(uploadOf(image, two));
      const now = await at(1).readSet(image, known);
      assert.ok(now.generation > known.generation);
      assert.equal(now.entries.length, 2);
    });

    it('are asked for many sets by few questions, of which a damaged one spoils no other', async () => {
      const { connections } = nodes[0] as Node;
      const images = Array.from({ length: 50 }, (_, n) => imageIn(folderOf(`team/many-${n}`)));
      const [known, damaged] = images as [ImageId, ImageId];
      await at(0).append(uploadOf(known, signatureBytes('known')));
      await at(0).append(uploadOf(known, signatureBytes('large', 9000)));
      await at(0).append(uploadOf(damaged, signatureBytes('damaged')));
      const folder = imageFolder(damaged);
      await connections.query(
        "UPDATE blob SET bytes = 'other' WHERE image_id = (SELECT id FROM image WHERE folder = $1)",
        [folder],
      );
      const before = await at(0).readSet(known);
      let questions = 0;
      const signatures = new PostgresSignatures({
        connections: {
          ...connections,
          query(sql: string, values?: readonly unknown[]) {
            questions += 1;
            return connections.query<never>(sql, values);
          },
        },
        ...{ writer: new PostgresWriter(connections), monotonicMs: () => performance.now(), staleMs: 0 },
        onChanged: () => undefined,
        makeLiftEvent: ({ image, sha256 }) => eventOf(image, sha256, 'withdraw-end'),
      });
      const sets = await Promise.allSettled(
        images.map((image) => signatures.readSet(image, image === known ? before : undefined)),
      );
      assert.equal(questions, 4);
      const [same, other, ...absent] = sets.map((set) =>
        set.status === 'fulfilled' ? set.value : set.reason.code,
      );
      assert.equal(same, before);
      assert.equal(other, 'STORE_UNAVAILABLE');
      for (const set of absent) assert.deepEqual(set.entries, []);
      const [small, large] = (await signatures.readSet(known)).entries;
      assert.deepEqual(small?.bytes && Buffer.from(small.bytes), Buffer.from(signatureBytes('known')));
      assert.deepEqual([large?.bytes, large?.sizeBytes], [null, 9000]);
    });

    it('say which sets have changed, in the order of the changes, and when that cannot be said', async () => {
      const [one, two] = nodes as [Node, Node];
      const { query } = two.connections;
      const { newest, images } = await changedSets(query, null);
      assert.equal(images, null);
      assert.deepEqual((await changedSets(query, newest)).images, []);
      const [first, second] = ['team/first', 'team/second'].map((path) => imageIn(folderOf(path)));
      assert.ok(first && second);
      for (const image of [first, second, first])
        await one.signatures.append(uploadOf(image, signatureBytes(`${Math.random()}`)));
      const changed = await changedSets(query, newest);
      assert.deepEqual(
        changed.images?.map(({ key }) => key),
        [imageKey(second), imageKey(first)],
      );
      assert.deepEqual(changed.images?.at(-1)?.generation, changed.newest);
      assert.equal((await two.signatures.readSet(first)).generation, changed.newest);
      // as after the loss of the newest transactions
      assert.equal((await changedSets(query, changed.newest + 1)).images, null);
      await query(`
        INSERT INTO image (site, folder, generation)
        SELECT 'default', 'many-' || n, nextval('set_generation') FROM generate_series(1, ${CHANGED_AT_ONCE}) AS n`);
      assert.equal((await changedSets(query, changed.newest)).images?.length, CHANGED_AT_ONCE);
      assert.equal((await changedSets(query, newest)).images, null);
      await query("DELETE FROM image WHERE folder LIKE 'many-%'");
    });

    it('judge an upload again that was verified with older keys than are registered now', async () => {
      const image = imageIn(folderOf('team/older'));
      const { query } = (nodes[0] as Node).connections;
      const [keys] = await query<{ number: number }>(
        "UPDATE change SET number = number + 1 WHERE topic = 'keys' RETURNING number",
      );
      const now = keys?.number ?? 0;
      for (const keyring of [now - 1, now]) {
        await at(0).append({ ...uploadOf(image, signatureBytes(`by ${keyring}`)), keyring });
      }
      const rows = await query(
        "SELECT s.verdict, s.judge_at_ms FROM signature AS s JOIN image AS i ON i.id = s.image_id WHERE i.path = 'team/older' ORDER BY s.number",
      );
      assert.deepEqual(rows, [
        { verdict: 'unverified', judge_at_ms: 0 },
        { verdict: 'good', judge_at_ms: null },
      ]);
    });

    it('withdraw with a filler at the number, refuse the bytes on every node, and put them back behind', async () => {
      const image = imageIn(folderOf('team/withdrawn'));
      const blobs = ['one', 'two', 'three'].map((text) => signatureBytes(text));
      for (const bytes of blobs) await at(0).append(uploadOf(image, bytes));
      const [one, two, three] = blobs.map(sha256Hex);
      const tombstone = await at(1).withdraw({
        image,
        number: 1,
        by: 'administrator',
        reason: 'a mistake',
        until: LONG_AGO,
        event: (sha256) => eventOf(image, sha256, 'withdraw'),
      });
      assert.equal(tombstone.sha256, one);
      const { entries } = await at(2).readSet(image);
      assert.deepEqual(
        entries.map(({ sha256, isFiller = false }) => [sha256, isFiller]),
        [
          [two, true],
          [two, false],
          [three, false],
        ],
      );
      assert.equal(await at(2).readBlob(image, one ?? ''), null);
      const again = uploadOf(image, blobs[0] ?? Buffer.alloc(0));
      await assert.rejects(at(2).append(again), { code: 'WITHDRAWN' });
      assert.equal(await at(0).lift(tombstone), 4);
      assert.equal(await at(1).lift(tombstone), null);
      assert.deepEqual(await hashes(at(1), image), [two, two, three, one]);
    });

    it('end the withdrawal that is meant, not a later one of the same bytes, and write no event for that', async () => {
      const image = imageIn(folderOf('team/withdrawn-again'));
      await at(0).append(uploadOf(image, signatureBytes('one')));
      const event = (sha256: string) => eventOf(image, sha256, 'withdraw');
      const why = { image, number: 1, by: 'administrator', reason: 'a mistake', event };
      const first = await at(1).withdraw({ ...why, until: LONG_AGO });
      assert.equal(await at(0).lift(first), 1);
      const second = await at(1).withdraw({ ...why, until: LONG_AGO });
      assert.equal(await at(0).lift(first), null);
      assert.equal(await at(0).lift(second), 1);
      await at(1).withdraw({ ...why, until: null });
      const { query } = (nodes[0] as Node).connections;
      const events = () => query('SELECT count(*)::int AS count FROM audit_event');
      const before = await events();
      assert.equal(await at(0).lift(second), null);
      assert.deepEqual(await events(), before);
      await assert.rejects(at(2).append(uploadOf(image, signatureBytes('one'))), { code: 'WITHDRAWN' });
    });

    it('look up withdrawals that have ended in pages, the earliest first and each once', async () => {
      const { query } = (nodes[0] as Node).connections;
      for (const [name, text, until] of [
        ['team/ends-later', 'one', new Date(LONG_AGO.getTime() + 1)],
        ['team/ends', 'one', LONG_AGO],
        ['team/ends', 'two', LONG_AGO],
      ] as const) {
        const image = imageIn(folderOf(name));
        const { number } = await at(0).append(uploadOf(image, signatureBytes(text)));
        const event = (sha256: string) => eventOf(image, sha256, 'withdraw');
        await at(1).withdraw({ image, number, by: 'administrator', reason: 'a mistake', until, event });
      }
      const whole = await endedTombstones(query, new Date(), 10);
      assert.deepEqual(
        whole.map(({ image }) => image.path),
        ['team/ends', 'team/ends', 'team/ends-later'],
      );
      const one: Tombstone[] = [];
      for (let next = await endedTombstones(query, new Date(), 1); next.length > 0; ) {
        one.push(...next);
        next = await endedTombstones(query, new Date(), 1, next[0]);
      }
      assert.deepEqual(one, whole);
    });

    it('withdraw several under one event at once, and find none the second time', async () => {
      const image = imageIn(folderOf('team/ordered'));
      const blobs = ['one', 'two', 'three'].map((text) => signatureBytes(text));
      for (const bytes of blobs) await at(0).append(uploadOf(image, bytes));
      const [one = '', two = '', three = ''] = blobs.map(sha256Hex);
      const order = { image, by: 'carol', reason: 'leaked', at: new Date(0), auditSeq: 1 };
      assert.equal(await at(1).withdrawOrdered({ ...order, sha256s: new Set([one, two]) }), 2);
      assert.deepEqual(await hashes(at(2), image), [three, three, three]);
      assert.equal(await at(2).withdrawOrdered({ ...order, sha256s: new Set([one, two]) }), 0);
      await assert.rejects(at(0).append(uploadOf(image, blobs[0] ?? Buffer.alloc(0))), { code: 'WITHDRAWN' });
    });

    it('leave nothing of an image whose last signature is withdrawn, and begin anew at 1', async () => {
      const image = imageIn(folderOf('alone/app'));
      await at(0).append(uploadOf(image, signatureBytes('one')));
      await at(1).withdraw({
        image,
        number: 1,
        by: 'administrator',
        reason: 'a mistake',
        until: null,
        event: (sha256) => eventOf(image, sha256, 'withdraw'),
      });
      assert.deepEqual(await hashes(at(2), image), []);
      assert.deepEqual((await at(2).listFolder('default', 'alone', null, 10)).names, []);
      assert.equal((await at(2).append(uploadOf(image, signatureBytes('two')))).number, 1);
    });

    it('are not held up by one that was paused in the middle of a change', async () => {
      const image = imageIn(folderOf('team/paused'));
      const { query, release } = await (nodes[0] as Node).connections.take();
      await query('BEGIN');
      await query('SELECT size FROM log_head WHERE id = 1 FOR UPDATE');
      // its session is ended meanwhile: until then the lock is its own
      const { outcome } = await at(1).append(uploadOf(image, signatureBytes('one')));
      assert.equal(outcome, 'created');
      await assert.rejects(query('COMMIT'), { code: 'STORE_UNAVAILABLE' });
      release(true);
    });

    it('do not say that the database cannot be reached when their own connections are all in use', async () => {
      const connections = connect({ url, poolSize: 1 });
      const { release } = await connections.take();
      try {
        await assert.rejects(connections.query('SELECT 1'), {
          code: 'STORE_UNAVAILABLE',
          message: /no connection of this node .* LOOKASIDE_DATABASE_POOL/,
        });
      } finally {
        release();
        await connections.close();
      }
    });

    it('are told that others have kept them waiting, and that nothing was done', async () => {
      const [one, two] = nodes as [Node, Node];
      const { query, release } = await one.connections.take();
      let isDone = false;
      const act = async () => {
        isDone = true;
      };
      await query('BEGIN; SET LOCAL idle_in_transaction_session_timeout = 0');
      await query('SELECT size FROM log_head WHERE id = 1 FOR UPDATE');
      await query(`SELECT pg_advisory_xact_lock(${KEYS})`);
      const saying = { code: 'STORE_UNAVAILABLE', message: /another node.*nothing of it was done/ };
      try {
        await Promise.all([
          assert.rejects(new PostgresWriter(two.connections).run(act), saying),
          assert.rejects(inTurnOfKeys(two.connections, act), saying),
        ]);
      } finally {
        release(true);
      }
      assert.equal(isDone, false);
      await inTurnOfKeys(two.connections, act);
      assert.equal(isDone, true);
    });

    it('write nothing as a leader once another one was elected', async () => {
      const { connections } = nodes[0] as Node;
      const writer = new PostgresWriter(connections);
      const leader = new Leader(connections, () => undefined);
      await leader.start();
      try {
        assert.ok(leader.isLeading);
        const other = new Leader((nodes[1] as Node).connections, () => undefined);
        await other.start();
        assert.ok(!other.isLeading);
        await other.stop();
        const log = new PostgresLog(connections, writer, leader.fence);
        const checkpoint = { size: 1, root: Buffer.alloc(32), at: LONG_AGO, note: 'of the test' };
        await log.addCheckpoint(checkpoint);
        // as an election does it that this node, which was paused, has not heard of
        await connections.query('UPDATE leader SET number = number + 1');
        await assert.rejects(log.addCheckpoint({ ...checkpoint, size: 2 }), { code: 'BUSY' });
        assert.equal((await log.lastCheckpoint())?.size, 1);
      } finally {
        await leader.stop();
      }
    });

    it('refuse a database of a newer version, and say what to do', async () => {
      const other = await postgres.newDatabase();
      const node = await openNode(other);
      await node.connections.query('INSERT INTO lookaside_schema (version, at) VALUES (99, now())');
      await assert.rejects(openNode(other), { code: 'STATE_UNUSABLE', message: /newer lookaside.*install/ });
      await node.close();
    });

    it('serve a set that was confirmed while the database is gone, for as long as is allowed, and nothing else', async () => {
      const own = await startPostgres();
      const node = await openNode(await own.newDatabase(), 1000);
      let nowMs = 0;
      monotonicMs = () => nowMs;
      try {
        const image = imageIn(folderOf('team/app'));
        await node.signatures.append(uploadOf(image, signatureBytes('one')));
        const known = await node.signatures.readSet(image);
        const unsigned = imageIn(folderOf('team/unsigned'));
        const empty = await node.signatures.readSet(unsigned);
        await own[Symbol.asyncDispose]();
        nowMs = 1000;
        assert.equal(await node.signatures.readSet(image, known), known);
        await assert.rejects(node.signatures.readSet(unsigned, empty), { code: 'STORE_UNAVAILABLE' });
        const unknown = imageIn(folderOf('team/other'));
        await assert.rejects(node.signatures.readSet(unknown), { code: 'STORE_UNAVAILABLE' });
        const upload = uploadOf(image, signatureBytes('two'));
        await assert.rejects(node.signatures.append(upload), { code: 'STORE_UNAVAILABLE' });
        nowMs = 1001;
        await assert.rejects(node.signatures.readSet(image, known), { code: 'STORE_UNAVAILABLE' });
      } finally {
        monotonicMs = () => performance.now();
        await node.close();
      }
    });
  });
});

/** What a tree with these files serves: from 1 to the first that is missing, without what no client reads. */
function servedOf(files: Readonly<Record<string, Uint8Array>>) {
  const served: { bytes: Uint8Array; storedAt: Date; judgement: null }[] = [];
  for (let number = 1; ; number += 1) {
    const bytes = files[`signature-${number}`];
    if (bytes === undefined) return served;
    if (whyUnreadable(bytes) === null) served.push({ bytes, storedAt: LONG_AGO, judgement: null });
  }
}
