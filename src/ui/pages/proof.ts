// One audit event as the log holds it, with the path from it to the head that was signed; a browser checks that itself.
import { parseCheckpoint, parseProof } from '../../domain/checkpoint.ts';
import { LookasideError } from '../../domain/errors.ts';
import { quoted } from '../../domain/text.ts';
import type { PageReply } from '../../domain/web-page.ts';
import { html } from '../html.ts';
import { AUDITORS, type Content, type Page, type PageContext } from '../page.ts';
import { block, clip, count } from '../show.ts';

export const proof: readonly Page[] = [{ path: 'audit/events/*', roles: AUDITORS, answer: showProof }];

async function showProof(context: PageContext): Promise<Content | PageReply> {
  const { services, request, rest, link } = context;
  const [, seq, file] = /^([1-9][0-9]{0,14})(\.proof)?$/.exec(rest) ?? [];
  if (seq === undefined)
    throw new LookasideError('NOT_FOUND', `${quoted(rest)} is not the number of an audit event`);
  const text = await services.proveEvent(Number(seq));
  if (file !== undefined) return asFile(text, seq);
  const proven = parseProof(text);
  const checkpoint = proven === null ? null : parseCheckpoint(proven.checkpoint);
  if (proven === null || checkpoint === null) throw new Error('a proof that was just made cannot be read');
  const leaf = Buffer.from(proven.entry).toString('utf8');
  const hex = (bytes: Uint8Array) => Buffer.from(bytes).toString('hex');
  const path = proven.hashes.map(hex);
  const title = `Event #${seq}`;
  const fields = Object.entries(JSON.parse(leaf) as Record<string, unknown>);
  return {
    title,
    body: html`<div class="head"><p class="crumbs"><a href="${link('audit')}">Audit</a></p><h1>${title}</h1>
<p class="lead">The event as the log holds it for ever. It names nobody: “private” is the hash that binds it to who made the change.</p></div>
<div class="note open" role="status" data-proof data-leaf="${leaf}" data-index="${proven.index}" data-size="${checkpoint.size}" data-path="${path.join(' ')}" data-root="${hex(checkpoint.root)}"><p>Not checked yet: a browser with a script checks it here, and the commands below check it anywhere.</p></div>
<section class="card"><h2>What happened</h2><dl class="facts">${fields.map(([name, value]) => html`<dt>${name}</dt><dd>${value === null ? '–' : clip(String(value), 400)}</dd>`)}</dl></section>
<section class="card"><h2>Leaf</h2><p class="quiet">Its hash is SHA-256 over a zero byte and exactly these bytes.</p>${block(leaf)}</section>
<section class="card"><h2>Path to the root</h2><p>Event ${count(proven.index, 'event')} into the tree of ${count(checkpoint.size, 'event')}: ${count(path.length, 'hash', 'hashes')} beside the way.</p>${path.length > 0 && html`<ol class="steps">${path.map((hash) => html`<li><code>${hash}</code></li>`)}</ol>`}<dl class="facts"><dt>Root</dt><dd><code>${hex(checkpoint.root)}</code></dd></dl></section>
<section class="card"><h2>Checkpoint</h2><p class="quiet">Signed by this server's log, and cosigned by its witnesses where it has any.</p>${block(proven.checkpoint.trimEnd())}</section>
<section class="card"><h2>Check it yourself</h2><div class="actions"><a class="button" href="${link(`audit/events/${seq}.proof`)}" download="event-${seq}.proof">Download the proof</a></div>${block(`curl -fsS '${request.url}/log/key'\nlookaside audit check event-${seq}.proof --key 'KEY OF THE LOG'`)}</section>`,
  };
}

function asFile(text: string, seq: string): PageReply {
  return {
    status: 200,
    headers: {
      'Content-Type': 'text/plain; charset=utf-8',
      'Content-Length': Buffer.byteLength(text),
      'Content-Disposition': `attachment; filename="event-${seq}.proof"`,
    },
    body: text,
  };
}
