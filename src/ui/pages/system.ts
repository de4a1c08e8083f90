// The server itself: is it well, with which settings it runs and where they come from, what it is made of.
import type { Health } from '../../service/health.ts';
import { type Html, html } from '../html.ts';
import { AUDITORS, type Content, type Page, type PageContext } from '../page.ts';
import { ago, block, clip, time, word } from '../show.ts';

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

async function showSystem({ services, now }: PageContext): Promise<Content> {
  const { version, startedAt } = services.about;
  const health = await services.health();
  const { identity } = services.auditLog;
  return {
    title: 'System',
    body: html`<div class="head"><h1>System</h1></div>
${checks(health)}
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

function settings(all: ReturnType<PageContext['services']['shownSettings']>): Html {
  const rows = [...all].sort(
    (one, other) => Number(one.source === 'default') - Number(other.source === 'default'),
  );
  return html`<h2>Settings in force</h2><p class="quiet">Those that somebody set come first. Secrets are not shown, only that they are set.</p><div class="tablewrap"><table class="stacks"><thead><tr><th>Setting</th><th>Value</th><th>From</th></tr></thead><tbody>${rows.map(
    ({ name, value, source }) =>
      html`<tr><th scope="row"><code>${name}</code></th><td>${value === '' ? html`<span class="quiet">none</span>` : html`<code>${clip(value, 500)}</code>`}</td><td data-of="From">${source}</td></tr>`,
  )}</tbody></table></div>`;
}
