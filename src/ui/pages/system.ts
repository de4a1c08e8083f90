// The server itself: is it well, with which settings it runs and where they come from, what it is made of.
import { keySourceText } from '../../domain/key-source.ts';
import type { Health } from '../../service/health.ts';
import { type Html, html } from '../html.ts';
import { AUDITORS, type Content, type Page, type PageContext } from '../page.ts';
import { ago, block, clip, count, number, time, word } from '../show.ts';

export const system: readonly Page[] = [{ path: 'system', roles: AUDITORS, answer: showSystem }];

/** What each check asks, in words. */
const CHECKS: Readonly<Record<string, string>> = {
  tree: 'The signatures can be read',
  index: 'The index is complete',
  writer: 'What is changed reaches the disk',
  writable: 'The tree can be written',
  space: 'The disk has room for uploads',
  damage: 'No signature file is damaged',
  draining: 'The server is not about to stop',
};

async function showSystem(context: PageContext): Promise<Content> {
  const { services, now } = context;
  const { version, startedAt } = services.about;
  const health = await services.health();
  const { identity } = services.auditLog;
  return {
    title: 'System',
    body: html`<div class="head"><h1>System</h1></div>
${checks(health)}
${await work(context, health)}
<section class="card"><h2>Versions</h2><dl class="facts"><dt>lookaside</dt><dd>${version}</dd><dt>Node.js</dt><dd>${process.versions.node}</dd><dt>Started</dt><dd>${time(startedAt)} <small>${ago(startedAt, now)}</small></dd></dl></section>
<section class="card"><h2>Key of the audit log</h2><p>Keep it where nobody can change this server and it at once: with it, proofs are checked.</p>${block(identity.vkey)}</section>
${settings(services.shownSettings())}`,
  };
}

function checks({ checks }: Health): Html {
  return html`<div class="tablewrap"><table class="stacks"><thead><tr><th>Check</th><th>State</th><th>What is wrong</th></tr></thead><tbody>${Object.entries(
    checks,
  ).map(
    ([name, { state, message }]) =>
      html`<tr><th scope="row">${CHECKS[name] ?? name}</th><td>${word(state === 'ok' ? 'good' : state === 'failed' ? 'wrong' : 'open', state)}</td><td>${message === null ? '' : clip(message, 500)}</td></tr>`,
  )}</tbody></table></div>`;
}

/** What the server does by itself, and how far it is. */
async function work({ services, now, link }: PageContext, { checks }: Health): Promise<Html> {
  const checkpoint = await services.auditLog.checkpoint();
  const jobs = (await services.mirrors.list()).map(({ name }) => ({
    name,
    job: services.syncJobs.peek(name),
  }));
  const syncs = jobs.flatMap(({ name, job }) =>
    job === null || job.ended !== null ? [] : [{ name, ...job }],
  );
  const sources = services.keyRefresher.sources();
  const index = checks.index?.message ?? null;
  const rows: readonly (readonly [what: string, isAtWork: boolean, said: Html])[] = [
    ['Index of the trees', index !== null, html`${index ?? 'complete; changes are taken up as they come'}`],
    [
      'Syncs of mirrors',
      syncs.length > 0,
      syncs.length === 0
        ? html`<a href="${link('mirrors')}">${count(jobs.length, 'mirror')}</a>`
        : html`${syncs.map(({ name, startedAt, progress: { done, total } }) => html`<div><a href="${link('mirrors')}">${name}</a>: ${number(done)} of ${count(total, 'image')}, started ${ago(startedAt, now)}</div>`)}`,
    ],
    [
      'Refresh of keys',
      false,
      sources.length === 0
        ? html`off; <code>LOOKASIDE_KEY_REFRESH</code> says where keys come from`
        : html`asks ${clip(sources.map(keySourceText).join(', '), 300)} by the schedule of <code>LOOKASIDE_KEY_REFRESH</code>`,
    ],
    [
      'Audit log',
      false,
      checkpoint === null
        ? html`nothing was signed yet`
        : html`${count(checkpoint.size, 'event')} in the checkpoint of ${time(checkpoint.at)}`,
    ],
  ];
  return html`<h2>Background work</h2><div class="tablewrap"><table class="stacks"><thead><tr><th>Work</th><th>State</th><th>How far</th></tr></thead><tbody>${rows.map(
    ([what, isAtWork, said]) =>
      html`<tr><th scope="row">${what}</th><td>${isAtWork ? word('open', 'at work') : word('good', 'at rest')}</td><td>${said}</td></tr>`,
  )}</tbody></table></div>`;
}

function settings(all: ReturnType<PageContext['services']['shownSettings']>): Html {
  const rows = [...all].sort(
    (one, other) => Number(one.source === 'default') - Number(other.source === 'default'),
  );
  return html`<h2>Settings in force</h2><p class="quiet">Those that somebody set come first. Secrets are not shown, only that they are set.</p><div class="tablewrap"><table class="stacks"><thead><tr><th>Setting</th><th>Value</th><th>From</th></tr></thead><tbody>${rows.map(
    ({ name, value, source }) =>
      html`<tr><th scope="row"><code>${name}</code></th><td>${value === '' ? html`<span class="quiet">none</span>` : html`<code>${clip(value, 500)}</code>`}</td><td data-of="From">${source}</td></tr>`,
  )}</tbody></table></div>`;
}
