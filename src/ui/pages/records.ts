// The records of changes and of reads: filtered by what stands in the address, page by page, as a file, and live.
import { AUDIT_ACTIONS } from '../../domain/audit.ts';
import { LookasideError } from '../../domain/errors.ts';
import { askedFilter, FILTERS, type FilterName, filterTexts } from '../../domain/record-question.ts';
import {
  type AccessRow,
  ANY_RECORD,
  type AuditRow,
  EXPORT_FORMATS,
  type RecordFilter,
  type RecordName,
  type RecordPage,
  type RecordQuestion,
  repositoryOf,
} from '../../domain/records.ts';
import { quoted } from '../../domain/text.ts';
import type { PageReply } from '../../domain/web-page.ts';
import { exportedText } from '../../service/records.ts';
import { type Html, html, NOTHING, render } from '../html.ts';
import { AUDITORS, actorOf, type Content, type Page, type PageContext } from '../page.ts';
import { bytes, clip, count, empty, kindOfResult, more, number, shortDigest, time, word } from '../show.ts';
import { askedNote } from './asked.ts';
import { imageLink } from './places.ts';

export const records: readonly Page[] = (['audit', 'access'] as const).flatMap((record): Page[] => [
  { path: record, roles: AUDITORS, answer: (context) => showRecord(context, record) },
  { path: `${record}/export`, roles: AUDITORS, answer: (context) => exportRecord(context, record) },
]);
export const live: readonly Page[] = [
  { path: 'audit/live', roles: AUDITORS, answer: followEvents },
  { path: 'access/live', roles: AUDITORS, answer: followReads },
];

const ROWS_A_PAGE = 50;
const LEADS: Readonly<Record<RecordName, readonly [title: string, lead: string]>> = {
  audit: [
    'Audit',
    'What was changed, by whom, from where. The events are a log that cannot be rewritten unnoticed; each number leads to its proof.',
  ],
  access: [
    'Access',
    'Who asked for which signature and what they got, by the minute. Images that have no signature are summed up on the page Never signed.',
  ],
};
const LABELS: Readonly<Record<FilterName, readonly [label: string, hint: string]>> = {
  since: ['Since', '7d, 12h, 2026-11-22'],
  until: ['Until', '1h, 2026-11-23T10:00Z'],
  site: ['Site', 'default'],
  repository: ['Repository or folder', 'team/app'],
  image: ['Image or digest', 'sha256:…'],
  signature: ['SHA-256 of a signature', '64 hex digits'],
  fingerprint: ['Key', '40 hex digits'],
  actor: ['Token', 'ci'],
  address: ['Address or network', '192.0.2.0/24'],
  action: ['Action', ''],
  result: ['Result', 'created, KEY_UNKNOWN'],
  agent: ['Part of the User-Agent', 'skopeo'],
  status: ['Status', '200, 404'],
};

interface Asked {
  readonly question: RecordQuestion;
  readonly texts: Readonly<Partial<Record<FilterName, string>>>;
}

/** @throws LookasideError REQUEST_INVALID */
function askedBy({ request, now }: PageContext, record: RecordName): Asked {
  const texts = textsIn(request.query, record);
  return { question: { record, filter: askedFilter(texts, now) }, texts };
}

/** What was given; an empty field of a form asks for nothing. */
function textsIn(query: URLSearchParams, record: RecordName): Asked['texts'] {
  const texts: Partial<Record<FilterName, string>> = {};
  for (const name of FILTERS[record]) {
    const text = (query.get(name) ?? '').trim();
    if (text !== '') texts[name] = text;
  }
  return texts;
}

async function showRecord(context: PageContext, record: RecordName): Promise<Content> {
  const { services, request } = context;
  const [title, lead] = LEADS[record];
  const head = html`${askedNote(request)}<div class="head"><h1>${title}</h1><p class="lead">${lead}</p></div>`;
  let asked: Asked;
  try {
    asked = askedBy(context, record);
  } catch (error) {
    if (!(error instanceof LookasideError)) throw error;
    const texts = textsIn(request.query, record);
    const wrong = html`<div class="note wrong" role="status"><p>${word('wrong', `${error.message}.`)}</p></div>`;
    return { title, status: 400, body: html`${head}${form(context, record, texts)}${wrong}` };
  }
  const { question, texts } = asked;
  const asker = { actor: actorOf(request), signal: request.signal };
  const cursor = request.query.get('cursor');
  const page = await services.records.page(question, { cursor, limit: ROWS_A_PAGE }, asker);
  const follow = cursor === null && canFollow(question);
  const liveAt = follow ? await liveAddress(context, asked, page) : null;
  return {
    title,
    body: html`${head}${form(context, record, texts)}
<div class="actions">${EXPORT_FORMATS.map((format) => html`<a class="button" href="${context.link(`${record}/export`, { ...texts, format })}" download="${record}.${format}">${format === 'csv' ? 'Export as CSV' : 'Export as JSON Lines'}</a>`)}${liveAt !== null && followButton(record, liveAt)}</div>
${part(context, asked, page, record === 'audit' && follow)}
${cursor !== null && html`<p><a href="${context.link(record, texts)}">Newest rows</a></p>`}`,
  };
}

function liveAddress(context: PageContext, { question, texts }: Asked, page: RecordPage): Promise<string> {
  if (question.record === 'access') return Promise.resolve(context.link('access/live', texts));
  return newestSeq(context, page).then((last) =>
    context.link('audit/live', { ...texts, since: null, after: last }),
  );
}

/** Events come in by themselves, above the others. Reads do when it is asked for: their rows are replaced, which may move what is read. */
function followButton(record: RecordName, liveAt: string): Html {
  return html`<span class="only-js"><button type="button" data-live="${liveAt}"${record === 'audit' && html` data-live-at-once`}>Follow</button></span><span class="quiet only-js" data-live-status role="status"></span>`;
}

/** What is replaced while reads are followed: the link to older rows leads on from the last row above it. */
function part(
  context: PageContext,
  { question, texts }: Asked,
  page: RecordPage,
  hasLiveRows: boolean,
): Html {
  const { record } = question;
  const next = page.next === null ? null : context.link(record, { ...texts, cursor: page.next });
  return html`<div class="part" id="rows">${lacks(page)}${page.rows.length === 0 && !hasLiveRows ? nothing(record, texts) : table(context, page)}${page.rows.length === 0 && hasLiveRows && html`<noscript>${nothing(record, texts)}</noscript>`}${more(next, 'Older rows')}</div>`;
}

/** Where the live rows begin: behind the newest event, found or not. */
async function newestSeq({ services, request }: PageContext, { rows }: RecordPage): Promise<number> {
  const [first] = rows;
  if (first !== undefined && 'seq' in first) return first.seq;
  const question = { record: 'audit', filter: ANY_RECORD } as const;
  const asker = { actor: actorOf(request), signal: request.signal };
  const page = await services.records.page(question, { cursor: null, limit: 1 }, asker);
  const newest = page.rows[0];
  return newest !== undefined && 'seq' in newest ? newest.seq : 0;
}

function nothing(record: RecordName, texts: Asked['texts']): Html {
  if (Object.keys(texts).length > 0)
    return empty('No row has all of this', html`Leave out a filter above, or ask for more time.`);
  return record === 'audit'
    ? empty('Nothing was changed yet', html`The first key, token or upload is an event.`)
    : empty(
        'Nobody has asked for a signature yet',
        html`<code>LOOKASIDE_ACCESS_RETENTION</code> says for how long reads are kept.`,
      );
}

function lacks({ dropped, gaps }: Pick<RecordPage, 'dropped' | 'gaps'>): Html {
  const texts = [
    ...(dropped > 0
      ? [`${count(dropped, 'read')} of that time could not be recorded, and are in no row`]
      : []),
    ...gaps,
  ];
  return texts.length === 0
    ? NOTHING
    : html`<div class="note open">${texts.map((text) => html`<p>${clip(text, 400)}.</p>`)}</div>`;
}

function form({ link }: PageContext, record: RecordName, texts: Asked['texts']): Html {
  const first: readonly FilterName[] =
    record === 'audit'
      ? ['since', 'repository', 'actor', 'action']
      : ['since', 'repository', 'address', 'status'];
  const rest = FILTERS[record].filter((name) => !first.includes(name));
  const isOpen = rest.some((name) => texts[name] !== undefined);
  return html`<form class="card" method="get" action="${link(record)}"><div class="filters">${first.map((name) => field(name, texts))}</div>
<details${isOpen && html` open`}><summary>More filters</summary><div class="filters">${rest.map((name) => field(name, texts))}</div></details>
<div class="actions"><button class="first">Find</button>${Object.keys(texts).length > 0 && html`<a class="button" href="${link(record)}">Show all</a>`}</div></form>`;
}

function field(name: FilterName, texts: Asked['texts']): Html {
  const [label, hint] = LABELS[name];
  const value = clip(texts[name] ?? '', 600);
  if (name !== 'action')
    return html`<label>${label}<input name="${name}" value="${value}" placeholder="${hint}" autocomplete="off" spellcheck="false" maxlength="600"></label>`;
  const options = AUDIT_ACTIONS.map(
    (action) => html`<option${action === value && html` selected`}>${action}</option>`,
  );
  return html`<label>${label}<select name="action"><option value="">any</option>${options}</select></label>`;
}

function table(context: PageContext, { record, rows }: RecordPage): Html {
  const heads =
    record === 'audit'
      ? ['Event', 'When', 'What', 'About', 'Who']
      : ['When', 'Status', 'Image', 'Client', 'Requests'];
  return html`<div class="tablewrap"><table class="stacks"><thead><tr>${heads.map((head) => html`<th>${head}</th>`)}</tr></thead><tbody>${rows.map((row) => ('seq' in row ? auditRow(context, row) : accessRow(context, row)))}</tbody></table></div>`;
}

export function auditRow(context: PageContext, row: AuditRow): Html {
  const { link } = context;
  const {
    seq,
    at,
    action,
    result,
    count: times,
    site,
    image,
    fingerprint,
    signatureSha256,
    actor,
    address,
    reason,
  } = row;
  const about = [
    image !== null && html`<a href="${imageLink(context, { site, name: image })}">${shortImage(image)}</a>`,
    fingerprint !== null &&
      html`<span>key <a href="${link(`keys/${fingerprint}`)}"><code>${fingerprint.slice(0, 16)}…</code></a></span>`,
    signatureSha256 !== null &&
      html`<span>signature <code title="${signatureSha256}">${signatureSha256.slice(0, 12)}…</code></span>`,
    reason !== null && html`<span class="quiet">${clip(reason, 300)}</span>`,
  ];
  return html`<tr><th scope="row"><a href="${link(`audit/events/${seq}`)}">#${seq}</a></th><td>${time(at)}</td><td>${action} ${word(kindOfResult(result), result)}${times > 1 && html` <small>${count(times, 'time')}</small>`}</td><td><div class="lines">${about}</div></td><td class="who"><div class="lines"><span>${actor === null ? 'forgotten' : html`<a href="${link('audit', { actor })}">${clip(actor, 80)}</a>`}</span>${address !== null && html`<span class="quiet address">${address}</span>`}</div></td></tr>`;
}

export function accessRow(context: PageContext, row: AccessRow): Html {
  const { link } = context;
  const {
    firstAt,
    lastAt,
    site,
    image,
    number: position,
    status,
    address,
    agent,
    token,
    count: requests,
    bytes: size,
  } = row;
  const isKnown = address !== 'other';
  return html`<tr><th scope="row">${time(firstAt)}${isOfMoreMinutes(firstAt, lastAt) && html` <small>to ${time(lastAt)}</small>`}</th><td>${word(status === 200 || status === 304 ? 'good' : status === 404 ? 'open' : 'wrong', String(status))}</td><td><a href="${imageLink(context, { site, name: image })}">${shortImage(image)}</a>${position !== null && html` <small>signature-${position}</small>`}</td><td><div class="lines"><span>${isKnown ? html`<a href="${link('access', { address })}">${address}</a>` : 'not kept'}${token !== null && html` <small>${clip(token, 80)}</small>`}</span>${agent !== null && html`<span class="quiet">${clip(agent, 120)}</span>`}</div></td><td data-of="Requests">${number(requests)}${size > 0 && html` <small>${bytes(size)}</small>`}</td></tr>`;
}

/** Times are shown by the minute. */
function isOfMoreMinutes(one: Date, other: Date): boolean {
  return Math.floor(one.getTime() / 60_000) !== Math.floor(other.getTime() / 60_000);
}

function shortImage(image: string): Html {
  const repository = repositoryOf(image);
  return html`${clip(repository, 120)} ${shortDigest(image.slice(repository === '' ? 0 : repository.length + 1))}`;
}

async function exportRecord(context: PageContext, record: RecordName): Promise<PageReply> {
  const { services, request } = context;
  const format = EXPORT_FORMATS.find((one) => one === request.query.get('format'));
  if (format === undefined)
    throw new LookasideError(
      'REQUEST_INVALID',
      `format is ${quoted(request.query.get('format') ?? '')}, expected ${EXPORT_FORMATS.join(' or ')}`,
    );
  const { question } = askedBy(context, record);
  const { type, pieces } = await exportedText(services.records, question, format, actorOf(request));
  return {
    status: 200,
    headers: {
      'Content-Type': type,
      'Content-Disposition': `attachment; filename="${record}.${format}"`,
      'X-Accel-Buffering': 'no',
    },
    body: pieces,
  };
}

/** Events follow only filters that an event can be checked against without a database. */
function canFollow({ record, filter }: RecordQuestion): boolean {
  const { until, address, image } = filter;
  return until === null && (record === 'access' || (address === null && image === null));
}

function isMeant(row: AuditRow, filter: RecordFilter): boolean {
  const { site, repository, signature, fingerprint, actor, action, result } = filter;
  const path = row.image === null ? null : repositoryOf(row.image);
  return (
    (site === null || row.site === site) &&
    (repository === null || path === repository || path?.startsWith(`${repository}/`) === true) &&
    (signature === null || row.signatureSha256 === signature) &&
    (fingerprint === null || row.fingerprint === fingerprint) &&
    (actor === null || row.actor === actor) &&
    (action === null || row.action === action) &&
    (result === null || row.result === result)
  );
}

/** Server-sent events `row`, each a row of the table. It ends with the session, at the latest when nothing has happened for a while. */
async function followEvents(context: PageContext): Promise<PageReply> {
  const { services, request } = context;
  const { question } = askedBy(context, 'audit');
  const after = request.query.get('after') ?? '';
  if (!/^[0-9]{1,15}$/.test(after) || !canFollow(question))
    throw new LookasideError(
      'REQUEST_INVALID',
      'this is not an address of the live rows; load the page Audit again',
    );
  const pages = services.feed.events({
    after: Number(after),
    isFollowed: true,
    actor: actorOf(request),
    isWanted: () => !services.isDraining(),
  });
  async function* body(): AsyncGenerator<string> {
    yield ': the rows begin\n\n';
    for await (const page of pages) {
      if (!(await hasSession(context))) return yield OVER;
      const rows = (page ?? []).filter((row) => isMeant(row, question.filter));
      yield rows.length === 0 ? ': nothing new\n\n' : rows.map((row) => sent(context, row)).join('');
    }
  }
  return eventStream(request, body());
}

/**
 * Server-sent events `rows`, each the whole part of the page as it is by then: a read adds to the row of its minute, so that rows change
 * after they were sent. It ends with the session.
 */
async function followReads(context: PageContext): Promise<PageReply> {
  const { services, request } = context;
  const asked = askedBy(context, 'access');
  if (!canFollow(asked.question))
    throw new LookasideError('REQUEST_INVALID', 'rows up to a time are not followed; leave out Until');
  const above = oneLevelUp(context);
  const asker = { actor: actorOf(request), signal: request.signal };
  const isWanted = async () => !services.isDraining() && (await hasSession(context));
  const looks = await services.records.follow(asked.question, ROWS_A_PAGE, asker, isWanted);
  async function* body(): AsyncGenerator<string> {
    for await (const look of looks) {
      if (look === null) yield ': nothing new\n\n';
      else if (look instanceof LookasideError) yield event('trouble', `${clip(look.message, 300)}.`);
      else yield event('rows', render(part(above, asked, look, false)));
    }
    if (!(await hasSession(context))) yield OVER;
  }
  return eventStream(request, body());
}

/** It may end while a page stays open for days. */
async function hasSession({ services, request }: PageContext): Promise<boolean> {
  return (await services.sessions.find(request.cookie ?? '')) !== null;
}

/** HEAD gets the headers at once: the body would keep them back for as long as it lasts. */
function eventStream({ method }: PageContext['request'], body: AsyncGenerator<string>): PageReply {
  return {
    status: 200,
    headers: { 'Content-Type': 'text/event-stream', 'X-Accel-Buffering': 'no' },
    body: method === 'HEAD' ? null : body,
  };
}

/** Else the browser would come back, and be sent to the log-in. */
const OVER = event('over', 'The session is over.');

function event(name: string, data: string): string {
  return `event: ${name}\ndata: ${data.replaceAll(/[\r\n]+/g, ' ')}\n\n`;
}

/** Its links are as on the page of the record, which lies one level higher. */
function oneLevelUp(context: PageContext): PageContext {
  return { ...context, link: (path, query) => context.link(path, query).replace(/^\.\.\//, './') };
}

function sent(context: PageContext, row: AuditRow): string {
  return `id: ${row.seq}\n${event('row', render(auditRow(oneLevelUp(context), row)))}`;
}

/** For links to the rows behind a number. */
export function recordLink(
  { link }: Pick<PageContext, 'link'>,
  record: RecordName,
  filter: Partial<RecordFilter>,
): string {
  return link(record, filterTexts({ ...ANY_RECORD, ...filter }));
}
