// Filters of audit events: what few events have is found by an index, and is what a plain look at each event finds.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { AuditAction } from '../../src/domain/audit.ts';
import type { ImageId } from '../../src/domain/image.ts';
import { overlaps, parseNetwork } from '../../src/domain/network.ts';
import { ANY_RECORD, type RecordFilter } from '../../src/domain/records.ts';
import { createEventMaker } from '../../src/service/audit.ts';
import { AuditQuestions } from '../../src/sqlite/audit-questions.ts';
import { openForReading, stateFileOf } from '../../src/sqlite/open.ts';
import { imageAt } from '../contract/signature-index.ts';
import { createClock } from '../service/hand-driven.ts';
import { type Cleanup, open, temporaryFolder } from './scratch.ts';

const make = createEventMaker({ clock: createClock(), randomBytes: (length) => new Uint8Array(length) });

interface Deed {
  readonly action: AuditAction;
  readonly result: string;
  readonly address: string | null;
  readonly image: ImageId | null;
  readonly actor: string;
  readonly site: string;
}

const UPLOAD = { action: 'upload', result: 'created' } as const;

/** A few of the 300 are other events than uploads that were taken. */
const DEEDS: readonly Deed[] = Array.from({ length: 300 }, (_, k): Deed => {
  const site = k % 50 === 3 ? 'vendor' : 'default';
  const actor = k % 80 === 12 ? 'anna' : 'ci';
  const image =
    k % 11 === 0
      ? null
      : imageAt(['team/app', 'team/web', 'other'][k % 3] ?? '', 'abcdef'[k % 6] ?? '', site);
  const by = { image, site, actor };
  if (k % 100 === 7) return { action: 'key-add', result: 'added', address: null, ...by };
  if (k % 60 === 8) return { action: 'upload', result: 'KEY_UNKNOWN', address: `192.0.2.${k % 250}`, ...by };
  if (k % 90 === 9) return { action: 'log-in', result: 'logged-in', address: '2001:db8:1:2::7', ...by };
  return { ...UPLOAD, address: k % 70 === 0 ? 'local' : `10.0.${k % 3}.${k % 20}`, ...by };
});

async function asked(t: Cleanup, deeds: readonly Deed[] = DEEDS) {
  const dataDir = temporaryFolder(t);
  const { databases } = await open(dataDir);
  for (const { action, result, address, image, actor, site } of deeds) {
    const by = { name: actor, address, requestId: null };
    await databases.audit.append(make({ action, result, image, site }, by));
  }
  await databases.close();
  const db = openForReading(stateFileOf(dataDir), 'state');
  t.after(() => void db.close());
  const prepare = db.prepare.bind(db);
  const sources: string[] = [];
  const watched = Object.assign(db, {
    prepare: ((source: string) => {
      sources.push(source);
      return prepare(source);
    }) as typeof db.prepare,
  });
  const questions = new AuditQuestions(watched, () => undefined);
  return {
    seqs: (filter: Partial<RecordFilter>) =>
      questions.page({ ...ANY_RECORD, ...filter }, null, 1000).map(({ seq }) => seq),
    /** How SQLite carries out what was prepared last. */
    plan: () => {
      const source = sources.findLast((one) => one.includes('ORDER BY seq DESC')) ?? assert.fail();
      const values = Array.from({ length: source.split('?').length - 1 }, () => '1');
      return prepare(`EXPLAIN QUERY PLAN ${source}`)
        .all(...values)
        .map((row) => (row as { detail: string }).detail)
        .join('\n');
    },
  };
}

function seqsOf(isMeant: (deed: Deed) => boolean): readonly number[] {
  return DEEDS.flatMap((deed, k) => (isMeant(deed) ? [k + 1] : [])).reverse();
}

function isIn(asked: string): (deed: Deed) => boolean {
  const network = parseNetwork(asked);
  return ({ address }) => {
    if (address === null || network === null) return address === asked;
    const one = parseNetwork(address);
    return one !== null && overlaps(one, network);
  };
}

test('an action, a result, a site and an actor are found by their indexes, whichever of them is rare here', async (t) => {
  const { seqs, plan } = await asked(t);
  for (const [filter, index] of [
    [{ action: 'key-add' }, 'audit_event_by_action'],
    [{ action: 'log-in' }, 'audit_event_by_action'],
    [{ action: 'withdraw' }, 'audit_event_by_action'],
    [{ action: 'upload' }, 'audit_event_by_action'],
    [{ result: 'KEY_UNKNOWN' }, 'audit_event_by_result'],
    [{ result: 'created' }, 'audit_event_by_result'],
    [{ site: 'vendor' }, 'audit_event_by_site'],
    [{ site: 'default' }, 'audit_event_by_site'],
    [{ site: 'no-such' }, 'audit_event_by_site'],
    [{ actor: 'anna' }, 'audit_event_by_actor'],
    [{ actor: 'nobody' }, 'audit_event_by_actor'],
    [{ since: new Date(0), site: 'vendor' }, 'audit_event_by_site'],
  ] as const) {
    const isMeant = (deed: Deed) =>
      (['action', 'result', 'site', 'actor'] as const).every(
        (name) => !(name in filter) || deed[name] === (filter as Partial<Deed>)[name],
      );
    assert.deepEqual(seqs(filter), seqsOf(isMeant), JSON.stringify(filter));
    assert.match(plan(), new RegExp(`SEARCH audit_event USING INDEX ${index}`), JSON.stringify(filter));
  }
});

test('of several filters, the one that the fewest events match leads to them', async (t) => {
  const { seqs, plan } = await asked(t);
  const { algorithm, hex } = imageAt('team/app', 'c');
  const few = { digest: { algorithm, hex }, place: null };
  for (const [filter, isMeant, index] of [
    [
      { action: 'upload', result: 'KEY_UNKNOWN' },
      ({ result }: Deed) => result === 'KEY_UNKNOWN',
      'audit_event_by_result',
    ],
    [
      { action: 'log-in', site: 'default', result: 'logged-in' },
      ({ action }: Deed) => action === 'log-in',
      'audit_event_by_result',
    ],
    [
      { action: 'upload', site: 'vendor', actor: 'ci' },
      ({ action, site, actor }: Deed) => action === 'upload' && site === 'vendor' && actor === 'ci',
      'audit_event_by_site',
    ],
    [
      { action: 'upload', image: few },
      ({ action, image }: Deed) => action === 'upload' && image?.hex === hex,
      'audit_event_by_digest',
    ],
    [
      { action: 'key-add', image: few },
      ({ action, image }: Deed) => action === 'key-add' && image?.hex === hex,
      'audit_event_by_action',
    ],
    [{ address: '10.0.0.0/8', action: 'key-add' }, () => false, 'audit_event_by_action'],
    [{ address: '192.0.2.0/24', action: 'upload' }, isIn('192.0.2.0/24'), 'audit_event_by_address'],
    [
      { repository: 'team', site: 'vendor' },
      ({ image, site }: Deed) => image?.path.startsWith('team/') === true && site === 'vendor',
      'audit_event_by_site',
    ],
  ] as const) {
    assert.deepEqual(seqs(filter), seqsOf(isMeant), JSON.stringify(filter));
    assert.match(plan(), new RegExp(`SEARCH audit_event USING INDEX ${index}`), JSON.stringify(filter));
  }
});

test('an address or a network is found by the addresses that there are', async (t) => {
  const { seqs, plan } = await asked(t);
  for (const address of [
    '192.0.2.0/24',
    '192.0.2.8',
    '192.0.2.8/31',
    '10.0.1.0/24',
    '10.0.0.0/9',
    '0.0.0.0/0',
    '2001:db8::/32',
    '2001:db8:1:2::7',
    '2001:DB8:1:2::/64',
    '::/0',
    'local',
    '203.0.113.0/24',
  ]) {
    assert.deepEqual(seqs({ address }), seqsOf(isIn(address)), address);
    assert.match(plan(), /audit_event_by_address/, address);
  }
});

test('many addresses with few events are looked up once, and then the events are named', async (t) => {
  const deeds = DEEDS.map((deed, k) => ({ ...deed, address: k % 6 === 0 ? null : `10.1.${k % 2}.${k}` }));
  const { seqs, plan } = await asked(t, deeds);
  const expected = (isMeant: (deed: Deed) => boolean) =>
    deeds.flatMap((deed, k) => (isMeant(deed) ? [k + 1] : [])).reverse();
  assert.deepEqual(seqs({ address: '10.0.0.0/8' }), expected(isIn('10.0.0.0/8')));
  assert.match(plan(), /SEARCH audit_event USING INTEGER PRIMARY KEY/);
  const filter = { address: '10.1.0.0/16', repository: 'team', result: 'created' };
  assert.deepEqual(
    seqs(filter),
    expected(
      (deed) =>
        isIn('10.1.0.0/16')(deed) &&
        deed.image?.path.startsWith('team/') === true &&
        deed.result === 'created',
    ),
  );
  assert.deepEqual(seqs({ address: '10.1.1.0/24' }), expected(isIn('10.1.1.0/24')));
  assert.match(plan(), /audit_event_by_address/);
});

test('an image is found by its digest alone, and a folder by all below it', async (t) => {
  const { seqs, plan } = await asked(t);
  const { algorithm, hex } = imageAt('team/app', 'c');
  const digest = { algorithm, hex };
  assert.deepEqual(
    seqs({ image: { digest, place: null } }),
    seqsOf(({ image }) => image?.hex === hex),
  );
  assert.match(plan(), /audit_event_by_digest/);
  const place = { layout: 'repository', path: 'team/web' } as const;
  assert.deepEqual(
    seqs({ image: { digest, place } }),
    seqsOf(({ image }) => image?.hex === hex && image.path === 'team/web'),
  );
  assert.deepEqual(
    seqs({ repository: 'team' }),
    seqsOf(({ image }) => image?.path.startsWith('team/') === true),
  );
});

test('a time is walked by the numbers of events, not by all events of the time', async (t) => {
  const { seqs, plan } = await asked(t);
  const now = new Date();
  assert.deepEqual(
    seqs({ until: new Date(now.getTime() + 365 * 86_400_000 * 10) }),
    seqsOf(() => true),
  );
  assert.match(plan(), /USING INTEGER PRIMARY KEY/);
});
