// Whether all is well, and what happened lately: each number leads to the rows behind it.
import { isLookasideError } from '../../domain/errors.ts';
import type { ShownKey } from '../../domain/key.ts';
import { nextEnd } from '../../domain/key-expiry.ts';
import type { MirrorStatus } from '../../domain/mirror.ts';
import { shownKeys } from '../../service/administration.ts';
import type { Health } from '../../service/health.ts';
import type { Activity, Overview } from '../../service/overview.ts';
import { type Html, html, NOTHING } from '../html.ts';
import { AUDITORS, type Content, type Page, type PageContext } from '../page.ts';
import { plot } from '../plot.ts';
import { ago, clip, count, number, time, word } from '../show.ts';
import { recordLink } from './records.ts';

export const overview: readonly Page[] = [{ path: 'overview', roles: AUDITORS, answer: showOverview }];

const DAY_MS = 86_400_000;
const WARNED_MS = 30 * DAY_MS;
const BEHIND_MS = DAY_MS;

async function showOverview(context: PageContext): Promise<Content> {
  const { services, now } = context;
  const [health, mirrors, keys, overview] = await Promise.all([
    services.health(),
    services.mirrors.list(),
    shownKeys(services.keys, now),
    inTime(context),
  ]);
  return {
    title: 'Overview',
    body: html`<div class="head"><h1>Overview</h1></div>
<div class="part" id="overview"${overview === 'counting' && html` data-refresh="2"`}>${state(context, health)}
${typeof overview === 'string' ? uncounted(overview) : numbers(context, overview)}
<div class="cards">${expiring(context, keys)}${behind(context, mirrors)}${typeof overview !== 'string' && refusals(context, overview)}</div></div>`,
  };
}

async function inTime({ services }: PageContext): Promise<Overview | 'counting' | 'failed'> {
  try {
    return (await services.overview.get()) ?? 'counting';
  } catch (error) {
    if (isLookasideError(error, 'BUSY') || isLookasideError(error, 'QUESTION_TOO_LONG')) return 'failed';
    throw error;
  }
}

function uncounted(why: 'counting' | 'failed'): Html {
  return why === 'counting'
    ? html`<p class="note" role="status">The reads and uploads are being counted, which takes some seconds after a start.<span class="no-js"> Load this page again to see them.</span></p>`
    : html`<p class="note open">The reads and uploads could not be counted: too many ask at once, or there are too many. Load this page again in a minute; <code>lookaside audit report --month</code> takes its time.</p>`;
}

function state({ services, link, now }: PageContext, { checks, reads, writes }: Health): Html {
  const { version, startedAt } = services.about;
  const wrong = Object.values(checks).filter(({ state }) => state !== 'ok');
  const isWell = wrong.length === 0;
  const what = isWell
    ? 'All is well: the trees can be read and written, the disk has room, and no file is damaged.'
    : `Clients ${reads === 'ok' ? 'get right answers' : 'get no right answers'}, and uploads ${writes === 'ok' ? 'are taken' : 'are refused'}.`;
  return html`<div class="note ${isWell ? 'good' : reads === 'ok' ? 'open' : 'wrong'}"><p>${word(isWell ? 'good' : reads === 'ok' ? 'open' : 'wrong', what)}</p>${wrong.map(({ message }) => html`<p>${clip(message ?? '', 500)}</p>`)}<p><a href="${link('system')}">lookaside ${version}</a>, started ${time(startedAt)} (${ago(startedAt, now)}).</p></div>`;
}

type Count = keyof Omit<Activity, 'at'>;

function numbers(context: PageContext, { hours, days, missed, madeAt, dropped, gaps }: Overview): Html {
  const [dayAgo, monthAgo] = [hours[0]?.at ?? madeAt, days[0]?.at ?? madeAt];
  const sum = (rows: readonly Activity[], name: Count) => rows.reduce((all, row) => all + row[name], 0);
  const line = (title: string, meaning: string, name: Count, filter: (since: Date) => string) =>
    html`<tr><th scope="row">${title} <small>${meaning}</small></th><td class="n" data-of="Last day"><a href="${filter(dayAgo)}">${number(sum(hours, name))}</a></td><td class="n" data-of="Last 30 days"><a href="${filter(monthAgo)}">${number(sum(days, name))}</a></td></tr>`;
  const reads = (status: number | null) => (since: Date) => recordLink(context, 'access', { since, status });
  const uploads = (since: Date) => recordLink(context, 'audit', { since, action: 'upload' });
  const never = (since: Date) => context.link('never-signed', { since: since.toISOString() });
  const lacks = [
    ...(dropped > 0 ? [`${count(dropped, 'read')} could not be recorded, and are in no number.`] : []),
    ...gaps.map((gap) => `${clip(gap, 300)}.`),
  ];
  return html`<div class="tablewrap"><table class="stacks"><thead><tr><th>Counted ${time(madeAt)}</th><th class="n">Last day</th><th class="n">Last 30 days</th></tr></thead><tbody>
${line('Reads', 'that got a signature', 'fetched', reads(200))}
${line('Ends of lists', 'how clients find the last signature', 'ended', reads(404))}
<tr><th scope="row">Misses <small>images without any signature</small></th><td class="n" data-of="Last day"><a href="${never(dayAgo)}">${number(missed.day)}</a></td><td class="n" data-of="Last 30 days"><a href="${never(monthAgo)}">${number(missed.month)}</a></td></tr>
${line('Failures', 'answered with 503', 'failed', reads(503))}
${line('Uploads', 'taken', 'accepted', uploads)}
${line('Uploads refused', 'reasons below', 'refused', uploads)}
</tbody></table></div>
${lacks.length > 0 && html`<div class="note open">${lacks.map((text) => html`<p>${text}</p>`)}</div>`}
<div class="cards"><section class="card"><h2>Last day</h2>${readPlot(hours, 'hour')}${uploadPlot(hours, 'hour')}</section><section class="card"><h2>Last 30 days</h2>${readPlot(days, 'day')}${uploadPlot(days, 'day')}</section></div>`;
}

function valuesOf(rows: readonly Activity[], name: Count): readonly number[] {
  return rows.map((row) => row[name]);
}

function readPlot(rows: readonly Activity[], step: 'hour' | 'day'): Html {
  return plot({
    title: 'Requests of clients',
    at: rows.map(({ at }) => at),
    step,
    series: [
      { title: 'reads', colour: 'a', values: valuesOf(rows, 'fetched') },
      { title: 'ends of lists', colour: 'c', values: valuesOf(rows, 'ended') },
      { title: 'failures', colour: 'b', values: valuesOf(rows, 'failed') },
    ],
  });
}

function uploadPlot(rows: readonly Activity[], step: 'hour' | 'day'): Html {
  return plot({
    title: 'Uploads',
    at: rows.map(({ at }) => at),
    step,
    series: [
      { title: 'taken', colour: 'a', values: valuesOf(rows, 'accepted') },
      { title: 'refused', colour: 'b', values: valuesOf(rows, 'refused') },
    ],
  });
}

function refusals(context: PageContext, { refusals, days }: Overview): Html {
  const since = days[0]?.at ?? null;
  const rows = refusals.map(
    ({ code, count: times }) =>
      html`<tr><th scope="row"><code>${code}</code></th><td class="n"><a href="${recordLink(context, 'audit', { since, action: 'upload', result: code })}">${number(times)}</a></td></tr>`,
  );
  return html`<section class="card"><h2>Refused uploads of 30 days</h2>${refusals.length === 0 ? html`<p class="quiet">None was refused.</p>` : html`<div class="tablewrap"><table><thead><tr><th>Reason</th><th class="n">Uploads</th></tr></thead><tbody>${rows}</tbody></table></div>`}</section>`;
}

function expiring({ link, now }: PageContext, keys: readonly ShownKey[]): Html {
  const ending = keys
    .flatMap((key) => {
      const end = nextEnd(key, now);
      return end !== null && end.at.getTime() - now.getTime() <= WARNED_MS ? [{ key, at: end.at }] : [];
    })
    .sort((one, other) => one.at.getTime() - other.at.getTime());
  const none =
    keys.length === 0
      ? html`<p class="quiet">No key is registered yet: <code>lookaside key add FILE</code></p>`
      : html`<p class="quiet">No key ends within 30 days.</p>`;
  return html`<section class="card"><h2>Keys that end soon</h2>${
    ending.length === 0
      ? none
      : html`<ul class="plain">${ending.map(({ key, at }) => html`<li>${word('open', ago(at, now))} <a href="${link(`keys/${key.fingerprint}`)}">${clip(key.userIds[0] ?? key.fingerprint, 80)}</a></li>`)}</ul><p class="quiet">Extend them where their secret parts are, and add them here again.</p>`
  }</section>`;
}

function behind({ link, now }: PageContext, mirrors: readonly MirrorStatus[]): Html {
  if (mirrors.length === 0) return NOTHING;
  const late = mirrors.filter((mirror) => isBehind(mirror, now));
  return html`<section class="card"><h2>Mirrors</h2>${
    late.length === 0
      ? html`<p>${word('good', `${count(mirrors.length, 'mirror')}, none behind`)}</p>`
      : html`<ul class="plain">${late.map((mirror) => html`<li>${word('open', lagOf(mirror, now))} <a href="${link('mirrors')}">${mirror.name}</a></li>`)}</ul>`
  }</section>`;
}

/** A mirror that was never synced ahead of demand follows its readers, and is behind only when its upstream fails. */
export function isBehind({ completeAt, lastSync, restingMs }: MirrorStatus, now: Date): boolean {
  if (restingMs > 0) return true;
  return lastSync !== null && (completeAt === null || now.getTime() - completeAt.getTime() > BEHIND_MS);
}

export function lagOf({ completeAt, lastSync, restingMs }: MirrorStatus, now: Date): string {
  if (completeAt !== null) return `complete ${ago(completeAt, now)}`;
  if (lastSync !== null) return 'never complete';
  return restingMs > 0 ? 'its upstream fails' : 'filled by readers alone';
}
