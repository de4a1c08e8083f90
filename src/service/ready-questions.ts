// Answers the questions that are asked most, from both records and from what is stored.
import { LookasideError } from '../domain/errors.ts';
import { parseNetwork } from '../domain/network.ts';
import type { Clock, KeyStore } from '../domain/ports.ts';
import {
  type AnswerTable,
  type Cell,
  parseMonth,
  type ReadyAnswer,
  type ReadyKind,
  type ReadyQuestion,
  STALE_DAYS,
  SUBJECTS,
} from '../domain/ready-question.ts';
import { parseFilter } from '../domain/record-question.ts';
import {
  ANY_RECORD,
  type AuditRow,
  type Completeness,
  type Grouping,
  type RecordFilter,
  type RecordSession,
  type RecordSums,
  type SumGroup,
} from '../domain/records.ts';
import { isTag, parseReference } from '../domain/reference.ts';
import type { StoredSignature } from '../domain/stored-signature.ts';
import { quoted } from '../domain/text.ts';
import { type Asker, fingerprintOf, type Records } from './records.ts';
import type { SignatureQueries, SignatureQuery } from './signatures.ts';

export interface ReadyQuestions {
  /** @throws LookasideError REQUEST_INVALID for a subject that is not valid, NOT_FOUND for a tag that no signature has; as Records */
  ask(question: ReadyQuestion, asker: Asker): Promise<ReadyAnswer>;
}

export interface ReadyQuestionsOptions {
  readonly records: Pick<Records, 'session'>;
  readonly signatures: Pick<SignatureQueries, 'search'>;
  /** For questions that name a key by its ID. */
  readonly keys: Pick<KeyStore, 'find' | 'list'>;
  /** The newest checkpoint of the log over the audit events, as a signed note with all events so far; null: there is none. */
  readonly checkpoint: () => Promise<string | null>;
  readonly clock: Pick<Clock, 'now'>;
}

const DAY_MS = 86_400_000;
/** Clients of an exposure: all of them, for each may hold what leaked. */
const EVERYBODY = 100_000;
const REPORT_ROWS = 20;
/** Stored signatures of a key that are counted. */
const MAX_STORED = 10_000;
/** Images that one signature is looked for at. */
const MAX_PLACES = 100;

/** What an answer is made from. */
interface Scene {
  readonly question: ReadyQuestion;
  readonly subject: string;
  readonly session: RecordSession;
  readonly signatures: ReadyQuestionsOptions['signatures'];
  readonly keys: ReadyQuestionsOptions['keys'];
  readonly checkpoint: ReadyQuestionsOptions['checkpoint'];
  readonly now: Date;
  /** Takes what the look-ups could not say. */
  readonly lacks: { dropped: number; readonly gaps: Set<string> };
}

type Content = Pick<ReadyAnswer, 'facts' | 'tables'>;

export function createReadyQuestions(options: ReadyQuestionsOptions): ReadyQuestions {
  const { records, signatures, keys, checkpoint, clock } = options;
  return {
    async ask(question, asker) {
      const { kind, subject, since, until } = question;
      const now = clock.now();
      requireSubject(kind, subject);
      const about = ABOUT_PEOPLE[kind];
      const text = [kind, subject, ...(since === null ? [] : [`since=${since.toISOString()}`])].join(' ');
      const event = about === undefined ? null : { action: about, text, filter: ANY_RECORD };
      return records.session(event, asker, async (session) => {
        const lacks = { dropped: 0, gaps: new Set<string>() };
        const scene = { question, subject: subject ?? '', session, signatures, keys, checkpoint, now, lacks };
        const { facts, tables } = await ANSWERS[kind](scene);
        const { dropped, gaps } = lacks;
        return {
          question: kind,
          subject,
          since,
          until,
          answeredAt: now,
          facts,
          tables,
          dropped,
          gaps: [...gaps],
        };
      });
    },
  };
}

/** Answers that list what one person did, or who did something. */
const ABOUT_PEOPLE: Readonly<Partial<Record<ReadyKind, 'query' | 'export'>>> = {
  who: 'query',
  exposure: 'query',
  report: 'export',
};

const ANSWERS: Readonly<Record<ReadyKind, (scene: Scene) => Promise<Content>>> = {
  key: aboutSigned,
  image: aboutSigned,
  signature: aboutSigned,
  unsigned,
  stale,
  who,
  exposure,
  report,
};

/** A key, an image or a signature: what happened to it, where it is stored, who fetched it. */
async function aboutSigned(scene: Scene): Promise<Content> {
  const filter = { ...(await filterOf(scene)), ...timeOf(scene.question) };
  const events = await eventTable(scene, 'events', 'What happened', filter);
  const stored = await storedTable(scene, filter);
  // of one image the end of its signatures is a read too
  const by: Grouping = scene.question.kind === 'image' ? ['address', 'status'] : ['address', 'image'];
  const fetched = await sums(scene, 'access', filter, by);
  const days = await sums(scene, 'access', filter, ['day']);
  return {
    facts: [
      { name: 'stored signatures', value: stored.found },
      { name: 'events', value: events.found },
      { name: 'requests', value: fetched.total.count },
      { name: 'last request', value: timeText(fetched.total.lastAt) },
    ],
    tables: [
      events,
      stored,
      sumTable('fetched', 'Who asked for it', by, fetched),
      sumTable('days', 'Requests by day', ['day'], days),
    ],
  };
}

async function unsigned({ question, session, lacks }: Scene): Promise<Content> {
  const { repository, limit } = question;
  const filter = { ...ANY_RECORD, repository, ...timeOf(question) };
  const listed = await session.unsigned(filter, limit);
  note(lacks, listed);
  return {
    facts: [{ name: 'images without a signature', value: listed.found }],
    tables: [
      {
        name: 'repositories',
        title: 'Repositories',
        columns: ['repository', 'requests', 'images', 'last', 'last client'],
        rows: listed.repositories.map(({ repository: name, count, images, lastAt, lastAddress }) => {
          return [name, count, images, timeText(lastAt), clientText(lastAddress)];
        }),
        found: listed.repositoriesFound,
      },
      {
        name: 'images',
        title: 'Images',
        columns: ['image', 'requests', 'first', 'last', 'last client', 'site'],
        rows: listed.rows.map(({ site, image, count, firstAt, lastAt, lastAddress }) => {
          return [image, count, timeText(firstAt), timeText(lastAt), clientText(lastAddress), site];
        }),
        found: listed.found,
      },
    ],
  };
}

async function stale({ question, session, now, lacks }: Scene): Promise<Content> {
  const since = question.since ?? new Date(now.getTime() - STALE_DAYS * DAY_MS);
  const listed = await session.stale(
    since,
    { ...ANY_RECORD, repository: question.repository },
    question.limit,
  );
  note(lacks, listed);
  return {
    facts: [
      { name: 'not fetched since', value: timeText(since) },
      { name: 'images', value: listed.found },
    ],
    tables: [
      {
        name: 'images',
        title: 'Stored and not fetched',
        columns: ['image', 'signatures', 'stored'],
        rows: listed.rows.map(({ image, signatures, storedAt }) => [image, signatures, timeText(storedAt)]),
        found: listed.found,
      },
    ],
  };
}

async function who(scene: Scene): Promise<Content> {
  const { subject, question } = scene;
  const isAddress = parseNetwork(subject) !== null || subject === 'local';
  const person = isAddress ? { address: subject } : { actor: subject };
  const filter = { ...ANY_RECORD, ...person, ...timeOf(question) };
  const deeds = await sums(scene, 'audit', filter, ['action', 'result']);
  const events = await eventTable(scene, 'events', 'What was changed', filter);
  const fetched = await sums(scene, 'access', filter, ['image', 'status']);
  return {
    facts: [
      { name: isAddress ? 'address' : 'token', value: subject },
      { name: 'events', value: deeds.total.count },
      { name: 'requests', value: fetched.total.count },
      { name: 'last request', value: timeText(fetched.total.lastAt) },
    ],
    tables: [
      sumTable('deeds', 'What was changed, in numbers', ['action', 'result'], deeds, 'events'),
      events,
      sumTable('fetched', 'What was asked for', ['image', 'status'], fetched),
    ],
  };
}

async function exposure(scene: Scene): Promise<Content> {
  const filter = { ...(await filterOf(scene)), ...timeOf(scene.question) };
  const by: Grouping = ['address', 'actor', 'agent', 'status'];
  const all = await sums(scene, 'access', filter, by, EVERYBODY);
  // a 404 is the end of the image's signatures: the client got nothing
  const got = all.groups.filter(({ of }) => of[3] === '200' || of[3] === '304');
  const clients = new Set(got.map(({ of }) => of[0]));
  return {
    facts: [
      { name: 'addresses', value: clients.size },
      { name: 'requests', value: got.reduce((sum, { count }) => sum + count, 0) },
    ],
    tables: [
      {
        name: 'clients',
        title: 'Who got it',
        columns: ['address', 'token', 'agent', 'status', 'requests', 'first', 'last'],
        rows: got.map(({ of, count, firstAt, lastAt }) => [
          ...of,
          count,
          timeText(firstAt),
          timeText(lastAt),
        ]),
        found: got.length + Math.max(0, all.found - all.groups.length),
      },
    ],
  };
}

async function report(scene: Scene): Promise<Content> {
  const month = parseMonth(scene.subject);
  if (month === null) return wrongSubject('report', scene.subject);
  const filter = { ...ANY_RECORD, ...month };
  const uploads = { ...filter, action: 'upload' } as const;
  const results = await sums(scene, 'audit', uploads, ['result'], EVERYBODY);
  const refusals = results.groups.filter(({ of }) => /^[A-Z_]+$/.test(of[0] ?? ''));
  const accepted = results.total.count - refusals.reduce((sum, { count }) => sum + count, 0);
  const reads = await sums(scene, 'access', filter, ['day'], 31);
  const missing = await scene.session.unsigned(filter, REPORT_ROWS);
  note(scene.lacks, missing);
  const top = async (record: 'audit' | 'access', of: RecordFilter, by: Grouping) =>
    sums(scene, record, of, by, REPORT_ROWS);
  const totals = await scene.session.repositoryTotals(filter, REPORT_ROWS);
  note(scene.lacks, totals);
  const events = await sums(scene, 'audit', filter, ['action'], EVERYBODY);
  const newest = await scene.session.page({ record: 'audit', filter }, null, 1);
  const last = newest.rows[0];
  return {
    facts: [
      { name: 'uploads taken', value: accepted },
      { name: 'uploads refused', value: results.total.count - accepted },
      { name: 'reads', value: reads.total.count },
      { name: 'reads that could not be recorded', value: scene.lacks.dropped },
      { name: 'images asked for without a signature', value: missing.found },
      { name: 'last audit event', value: last !== undefined && 'seq' in last ? last.seq : null },
    ],
    tables: [
      sumTable(
        'uploads-by-day',
        'Uploads by day',
        ['day'],
        await sums(scene, 'audit', uploads, ['day'], 31),
        'events',
      ),
      {
        ...sumTable('refusals', 'Refusals by reason', ['reason'], { ...results, groups: refusals }, 'events'),
        found: refusals.length,
      },
      sumTable(
        'uploaders',
        'Uploads by token',
        ['token', 'result'],
        await top('audit', uploads, ['actor', 'result']),
        'events',
      ),
      sumTable('keys', 'Uploads by key', ['key'], await top('audit', uploads, ['key']), 'events'),
      sumTable('events', 'Audit events', ['action'], events, 'events'),
      await eventTable(scene, 'key-changes', 'Keys added', { ...filter, action: 'key-add' }),
      await eventTable(scene, 'key-removals', 'Keys removed', { ...filter, action: 'key-remove' }),
      sumTable('reads-by-day', 'Reads by day', ['day'], reads),
      {
        name: 'repositories',
        title: 'Most read repositories',
        columns: ['repository', 'fetched', 'ended', 'bytes'],
        rows: totals.rows.map(({ repository, fetched, ended, bytes }) => [repository, fetched, ended, bytes]),
        found: totals.found,
      },
      sumTable('clients', 'Busiest clients', ['address'], await top('access', filter, ['address'])),
      {
        name: 'unsigned',
        title: 'Asked for and never signed',
        columns: ['image', 'requests', 'last', 'last client'],
        rows: missing.rows.map(({ image, count, lastAt, lastAddress }) => [
          image,
          count,
          timeText(lastAt),
          clientText(lastAddress),
        ]),
        found: missing.found,
      },
      noteTable(await scene.checkpoint()),
    ],
  };
}

/** Line by line: joined, they are the signed note again. */
function noteTable(note: string | null): AnswerTable {
  const lines = note === null ? [] : note.replace(/\n$/, '').split('\n');
  const title = 'Checkpoint of the audit log when this was made';
  return {
    name: 'checkpoint',
    title,
    columns: ['line'],
    rows: lines.map((line) => [line]),
    found: lines.length,
  };
}

function timeOf({ since, until }: ReadyQuestion): Pick<RecordFilter, 'since' | 'until'> {
  return { since, until };
}

async function sums(
  { session, lacks, question }: Scene,
  record: 'audit' | 'access',
  filter: RecordFilter,
  by: Grouping,
  limit = question.limit,
): Promise<Omit<RecordSums, 'by' | 'record'>> {
  const sums = await session.sums({ record, filter }, by, limit);
  note(lacks, sums);
  return sums;
}

function note(lacks: Scene['lacks'], { dropped, gaps }: Completeness): void {
  lacks.dropped = Math.max(lacks.dropped, dropped);
  for (const gap of gaps) lacks.gaps.add(gap);
}

function sumTable(
  name: string,
  title: string,
  columns: readonly string[],
  { groups, found }: { readonly groups: readonly SumGroup[]; readonly found: number },
  counted: 'requests' | 'events' = 'requests',
): AnswerTable {
  return {
    name,
    title,
    columns: [...columns, counted, 'first', 'last'],
    rows: groups.map(({ of, count, firstAt, lastAt }) => [...of, count, timeText(firstAt), timeText(lastAt)]),
    found,
  };
}

async function eventTable(
  scene: Scene,
  name: string,
  title: string,
  filter: RecordFilter,
): Promise<AnswerTable> {
  const { session, question } = scene;
  const { rows } = await session.page({ record: 'audit', filter }, null, question.limit);
  const { total } = await sums(scene, 'audit', filter, [], 1);
  return {
    name,
    title,
    columns: ['seq', 'at', 'action', 'result', 'image', 'key', 'signature', 'by', 'from'],
    // this record has rows of this kind alone
    rows: (rows as readonly AuditRow[]).map((row) => [
      row.seq,
      timeText(row.at),
      row.action,
      row.result,
      row.image,
      row.fingerprint,
      row.signatureSha256,
      row.actor,
      row.address,
    ]),
    found: Math.max(total.rows, rows.length),
  };
}

async function storedTable(scene: Scene, filter: RecordFilter): Promise<AnswerTable> {
  const { question, lacks } = scene;
  const stored: StoredSignature[] = [];
  for (const wanted of await placesOf(scene, filter)) {
    if (stored.length >= MAX_STORED) break;
    for await (const one of storedAt(scene, wanted)) {
      if (filter.signature === null || one.signatureSha256 === filter.signature) stored.push(one);
      if (stored.length >= MAX_STORED) break;
    }
  }
  if (stored.length >= MAX_STORED)
    lacks.gaps.add(`stored signatures were counted as far as ${MAX_STORED}: there may be more`);
  const rows = stored
    .slice(0, question.limit)
    .map((one): readonly Cell[] => [
      one.image,
      one.number,
      one.state,
      one.fingerprint,
      timeText(one.storedAt),
      one.uploader,
      one.signatureSha256,
    ]);
  const columns = ['image', 'number', 'state', 'key', 'stored', 'uploaded by', 'signature'];
  return { name: 'stored', title: 'What is stored', columns, rows, found: stored.length };
}

type Place = Pick<SignatureQuery['filter'], 'path' | 'digest' | 'fingerprint'>;

/** Where the answer looks. Nothing is indexed by a signature's own digest, so its events and reads say where it is. */
async function placesOf(scene: Scene, filter: RecordFilter): Promise<readonly Place[]> {
  const { image, fingerprint, signature } = filter;
  if (signature === null)
    return [{ path: image?.place?.path ?? null, digest: image?.digest ?? null, fingerprint }];
  const everywhen = { ...ANY_RECORD, signature };
  const named = new Set<string>();
  for (const record of ['audit', 'access'] as const) {
    const { groups } = await sums(scene, record, everywhen, ['image'], MAX_PLACES);
    for (const { of } of groups) if (of[0] != null) named.add(of[0]);
  }
  return [...named].flatMap((name) => {
    const parsed = parseFilter({ image: name }, new Date(0));
    const place = 'filter' in parsed ? parsed.filter.image : null;
    return place === null ? [] : [{ path: place.place?.path ?? null, digest: place.digest, fingerprint }];
  });
}

async function* storedAt({ signatures }: Scene, place: Place): AsyncGenerator<StoredSignature> {
  const filter = { ...place, tag: null, since: null, until: null };
  const query = { site: null, filter, uploader: null, state: null, order: 'newest', limit: 1000 } as const;
  for (let cursor: string | null = null; ; ) {
    const page = await signatures.search({ ...query, cursor });
    yield* page.signatures;
    if (page.next === null) return;
    cursor = page.next;
  }
}

/** The filter that a key, an image or a signature means. */
async function filterOf({ question, subject, signatures, keys }: Scene): Promise<RecordFilter> {
  const { kind } = question;
  const tried: readonly ('fingerprint' | 'signature' | 'image')[] =
    kind === 'exposure'
      ? ['fingerprint', 'signature', 'image']
      : [kind === 'key' ? 'fingerprint' : kind === 'image' ? 'image' : 'signature'];
  for (const name of tried) {
    const parsed = parseFilter({ [name]: subject }, new Date(0));
    if (!('filter' in parsed)) continue;
    const { filter } = parsed;
    if (filter.fingerprint === null) return filter;
    return { ...filter, fingerprint: await fingerprintOf(filter.fingerprint, keys) };
  }
  if (kind === 'image' || kind === 'exposure') {
    const tagged = await imageOfTag(signatures, subject);
    if (tagged !== null) return tagged;
  }
  return wrongSubject(kind, subject);
}

/** The image that a good signature names like `team/app:v1`, or `registry.example.com/team/app:v1`. Null: the text has no tag. */
async function imageOfTag(signatures: Scene['signatures'], text: string): Promise<RecordFilter | null> {
  const [, path, tag] = /^(.+):([^/:@]+)$/.exec(text) ?? [];
  if (path === undefined || tag === undefined || !isTag(tag)) return null;
  const tagged = async (place: string) => {
    const filter = { path: place, digest: null, fingerprint: null, tag, since: null, until: null };
    const query = { site: null, filter, uploader: null, state: null, order: 'newest' } as const;
    return (await signatures.search({ ...query, limit: 100, cursor: null })).signatures;
  };
  const placed = await tagged(path);
  const reference = parseReference(text);
  // a name with its registry, as a pull has it and as the list of signatures shows it
  const isWhole = reference !== null && text.startsWith(`${reference.domain}/`);
  const matching =
    placed.length > 0 || !isWhole
      ? placed
      : (await tagged(reference.path)).filter(({ dockerReference }) => dockerReference === text);
  const images = [...new Set(matching.map(({ image }) => image))];
  const [only, ...others] = images;
  if (only === undefined) {
    throw new LookasideError(
      'NOT_FOUND',
      `no signature is for ${quoted(text)}; name the image by its digest: ${isWhole ? reference.path : path}@sha256:…`,
    );
  }
  if (others.length > 0) {
    const named = images.slice(0, 5).join(', ');
    throw new LookasideError(
      'REQUEST_INVALID',
      `${quoted(text)} was signed for ${images.length} images: name one of ${named}`,
    );
  }
  const parsed = parseFilter({ image: only }, new Date(0));
  return 'filter' in parsed ? parsed.filter : null;
}

function requireSubject(kind: ReadyKind, subject: string | null): void {
  if ((SUBJECTS[kind] === null) === (subject === null)) return;
  wrongSubject(kind, subject ?? '');
}

function wrongSubject(kind: ReadyKind, subject: string): never {
  throw new LookasideError(
    'REQUEST_INVALID',
    `audit ${kind} cannot answer about ${quoted(subject)}; wanted ${SUBJECTS[kind] ?? 'nothing'}`,
  );
}

function timeText(at: Date | null): string | null {
  return at?.toISOString() ?? null;
}

/** Null: it is not kept, because it was forgotten or was one of too many of its network. */
function clientText(address: string): string | null {
  return address === 'other' ? null : address;
}
