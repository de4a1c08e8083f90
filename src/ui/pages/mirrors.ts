// The mirrors: how far each is behind, what failed, and a sync that runs.
import { LookasideError } from '../../domain/errors.ts';
import type { MirrorStatus, SyncReport } from '../../domain/mirror.ts';
import { SYNC_RESULTS, upstreamState } from '../../domain/mirror.ts';
import type { PageReply } from '../../domain/web-page.ts';
import type { SyncJob } from '../../service/sync-jobs.ts';
import { type Html, html, NOTHING } from '../html.ts';
import {
  ADMINS,
  AUDITORS,
  actorOf,
  type Content,
  formToken,
  isOneOf,
  type Page,
  type PageContext,
  redirect,
} from '../page.ts';
import { ago, block, clip, count, empty, number, time, word } from '../show.ts';
import { isBehind, lagOf } from './overview.ts';

export const mirrors: readonly Page[] = [
  {
    path: 'mirrors',
    roles: AUDITORS,
    answer: listMirrors,
    submit: { roles: ADMINS, answer: startSync },
  },
];

/** A day more than the time after which a mirror counts as behind. */
const MISSED_MS = 7 * 86_400_000;
const MAX_IMAGES = 10_000;

async function listMirrors(context: PageContext): Promise<Content> {
  const { services } = context;
  const all = await services.mirrors.list();
  const jobs = all.map(({ name }) => services.syncJobs.peek(name));
  const isRunning = jobs.some((job) => job?.ended === null);
  return {
    title: 'Mirrors',
    body: html`<div class="head"><h1>Mirrors</h1><p class="lead">Sites that this server fills from others: when a client asks, and ahead of demand by a sync.</p></div>
${isRunning && html`<p class="note no-js">A sync runs. Load this page again to see how far it has come.</p>`}
${all.length === 0 ? none() : all.map((mirror, position) => one(context, mirror, jobs[position] ?? null))}`,
  };
}

function none(): Html {
  return empty(
    'This server mirrors no other site',
    html`Red Hat's signatures, for example, are then served from here:${block('lookaside mirror add red-hat --preset red-hat --prefix /rh\nlookaside mirror sync red-hat --from-misses 7d')}`,
  );
}

function one(context: PageContext, mirror: MirrorStatus, job: SyncJob | null): Html {
  const { now, request, link } = context;
  const {
    name,
    upstreams,
    layout,
    views,
    images,
    signatures,
    walks,
    faults,
    lastFault,
    lastSync,
    goneUpstream,
    unstored,
    leftOut,
  } = mirror;
  const failed = Object.entries(faults).filter(([, times]) => times > 0);
  return html`<section class="card" id="mirror-${name}" aria-label="${name}"${job?.ended === null && html` data-refresh="1"`}><div class="actions"><h2>${name}</h2>${word(isBehind(mirror, now) ? 'open' : 'good', lagOf(mirror, now))}</div>
${job !== null && jobLine(job, now)}
<dl class="facts">
<dt>Upstream</dt><dd>${upstreams.map((url) => html`<div><code>${clip(url, 300)}</code></div>`)}</dd>
<dt>Served below</dt><dd>${views.map(({ prefix }) => html`<code>${prefix}/</code> `)}<span class="quiet">layout ${layout}</span></dd>
<dt>Stored</dt><dd>${images === null ? 'being counted' : html`<a href="${link('repositories', { site: name })}">${count(images, 'image')}</a>, ${count(signatures ?? 0, 'signature')}`}</dd>
<dt>Last sync</dt><dd>${lastSync === null ? 'none yet' : report(lastSync)}</dd>
<dt>Next sync</dt><dd>when a command or a timer starts one: <code>lookaside mirror sync ${name}</code></dd>
<dt>Since the start</dt><dd>${count(walks.set, 'set')} fetched, ${count(walks.empty, 'image')} without a signature${failed.map(([kind, times]) => html`, ${word('open', `${kind} ${number(times)}`)}`)}</dd>
${lastFault !== null && html`<dt>Last failure</dt><dd>${time(lastFault.at)}: <bdi>${clip(lastFault.message, 300)}</bdi>${upstreamState(mirror) !== 'ok' && html` ${word('open', 'nothing has come since')}`}</dd>`}
${(goneUpstream > 0 || leftOut > 0) && html`<dt>Differs</dt><dd>${count(goneUpstream, 'signature')} served here and gone from the upstream, ${number(leftOut)} left out as no client could use them: <code>lookaside mirror show ${name}</code></dd>`}
${unstored > 0 && html`<dt>Not stored</dt><dd>${word('open', count(unstored, 'image'))} served from memory, as the disk does not take them: make room before the server stops</dd>`}
</dl>
${isOneOf(request.viewer, ADMINS) && syncForm(context, name, job)}</section>`;
}

function report({ finishedAt, counts }: SyncReport): Html {
  const parts = SYNC_RESULTS.filter((result) => counts[result] > 0).map(
    (result) => `${result} ${number(counts[result])}`,
  );
  return html`${time(finishedAt)} <span class="quiet">${parts.join(', ') || 'nothing was asked for'}</span>`;
}

function jobLine({ startedAt, by, progress: { done, total }, ended }: SyncJob, now: Date): Html {
  const what = `started ${ago(startedAt, now)} by ${clip(by, 80)}`;
  if (ended === null)
    return html`<div><p>${number(done)} of ${count(total, 'image')}, ${what}</p><progress max="${Math.max(1, total)}" value="${done}" aria-label="Sync"></progress></div>`;
  return 'message' in ended
    ? html`<p role="status">${word('wrong', `The sync ${what} failed`)} <bdi>${clip(ended.message, 400)}</bdi></p>`
    : html`<p role="status">${word(ended.report.counts.failed > 0 || ended.unrecorded !== null ? 'open' : 'good', `The sync ${what} has ended`)}${ended.unrecorded !== null && html` <bdi>${clip(ended.unrecorded, 400)}</bdi>`}</p>`;
}

function syncForm({ request, link }: PageContext, name: string, job: SyncJob | null): Html {
  if (job?.ended === null) return NOTHING;
  return html`<details><summary>Start a sync</summary><form class="stack" method="post" action="${link('mirrors')}">${formToken(request)}<input type="hidden" name="mirror" value="${name}">
<label>Images, one a line; empty: those that clients asked for in vain within 7 days<textarea name="images" rows="4" spellcheck="false" placeholder="ubi9/ubi@sha256:…"></textarea></label>
<div class="actions"><button class="first">Start the sync</button></div>
<p class="quiet">Its upstream is asked for each of them. From a registry, an update graph or a listing: <code>lookaside mirror sync ${name} --help</code></p></form></details>`;
}

async function startSync(context: PageContext): Promise<Content | PageReply> {
  const { services, request, now, link } = context;
  const name = request.form.get('mirror') ?? '';
  const written = (request.form.get('images') ?? '').split(/\s+/).filter((text) => text !== '');
  const actor = actorOf(request);
  const images =
    written.length > 0
      ? [...new Set(written)]
      : await services.mirrors.missed(name, new Date(now.getTime() - MISSED_MS), {
          actor,
          signal: request.signal,
        });
  if (images.length > MAX_IMAGES)
    throw new LookasideError(
      'REQUEST_INVALID',
      `${number(images.length)} images are too many for the page, expected at most ${number(MAX_IMAGES)}; use lookaside mirror sync ${name}`,
    );
  if (images.length === 0)
    throw new LookasideError(
      'REQUEST_INVALID',
      `clients asked the mirror ${name} for nothing in vain within 7 days, so there is nothing to sync; name images in the form`,
    );
  await services.syncJobs.start(name, images, actor);
  return redirect(link('mirrors'));
}
