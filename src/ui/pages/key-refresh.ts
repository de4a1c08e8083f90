// What is new in one key's certificate: asked of key servers and of its owner's domain, or pasted.

import type { RefreshedKeys, RegisteredKey } from '../../domain/key.ts';
import { keySourceText } from '../../domain/key-source.ts';
import type { AskedSource } from '../../service/key-refresh.ts';
import { type Html, html } from '../html.ts';
import { ADMINS, actorOf, type Content, formToken, type Page, type PageContext } from '../page.ts';
import { clip, count, fingerprint } from '../show.ts';
import { refusedNote } from './forms.ts';
import { resultCard } from './key-changes.ts';

export const keyRefresh: readonly Page[] = [
  {
    path: 'keys/*/refresh',
    roles: ADMINS,
    answer: async (context) => refreshPage(context, await context.services.keys.find(context.rest), null),
    submit: {
      roles: ADMINS,
      answer: (context) => (context.request.form.has('key') ? mergePasted(context) : askSources(context)),
    },
  },
];

function refreshPage(context: PageContext, key: RegisteredKey, note: Html | null, status = 200): Content {
  const { link, request, services } = context;
  const at = `keys/${key.fingerprint}`;
  const sources = services.keyRefresher.sources().map(keySourceText);
  return {
    title: 'Refresh a key',
    status,
    body: html`<div class="narrow"><div class="head">${crumbs(context, key)}<h1>Refresh this key</h1><p class="lead">A later expiry, new subkeys and revocations are merged into the key that is registered, and what is stored of it is verified again. Nothing is taken away from it.</p><p>${fingerprint(key.fingerprint)}</p></div>
${note}
<section class="card"><h2>From where this server asks</h2>${
      sources.length === 0
        ? html`<p class="quiet">It asks nobody. Set <code>LOOKASIDE_KEY_REFRESH</code> to key servers, or to <code>wkd</code> for the Web Key Directories of the domains of the user IDs; or paste the newer public part below.</p>`
        : html`<form class="stack" method="post" action="${link(`${at}/refresh`)}">${formToken(request)}<ul class="plain">${sources.map((source) => html`<li><code>${clip(source, 200)}</code></li>`)}</ul><div class="actions"><button class="first">Ask now</button></div></form>`
    }</section>
<form class="card stack" method="post" action="${link(`${at}/refresh`)}">${formToken(request)}<p>Or pasted, as <code>gpg --export --armor KEY</code> writes it:</p><label>The newer public part<textarea name="key" rows="8" required maxlength="50000" spellcheck="false" placeholder="-----BEGIN PGP PUBLIC KEY BLOCK-----"></textarea></label><div class="actions"><button>Merge what is pasted</button></div><p class="quiet">A file of any size: <a href="${link('keys/add')}">Add a key</a> merges what is new, too.</p></form></div>`,
  };
}

function crumbs({ link }: PageContext, { fingerprint: name, userIds }: RegisteredKey): Html {
  return html`<p class="crumbs"><a href="${link('keys')}">Keys</a> / <a href="${link(`keys/${name}`)}">${clip(userIds[0] ?? 'no user ID', 80)}</a></p>`;
}

async function askSources(context: PageContext): Promise<Content> {
  const { services, request, rest } = context;
  const asked = await services.keyRefresher.refreshNow(rest, actorOf(request));
  const key = await services.keys.find(rest);
  return outcome(
    context,
    key,
    asked.map((one) => sourceCard(context, one)),
  );
}

function sourceCard(context: PageContext, { from, results, problem }: AskedSource): Html {
  const head = html`<h2><code>${clip(from, 200)}</code></h2>`;
  if (problem !== null)
    return html`<section class="card">${head}<p class="note wrong">${sentence(problem)}</p></section>`;
  if (results.length === 0)
    return html`<section class="card">${head}<p class="quiet">It does not have this key.</p></section>`;
  return html`${head}${results.map((result) => resultCard(context, result))}`;
}

async function mergePasted(context: PageContext): Promise<Content> {
  const { services, request, rest } = context;
  const pasted = Buffer.from(request.form.get('key') ?? '', 'utf8');
  let merged: RefreshedKeys;
  try {
    merged = await services.keys.refresh(pasted, [rest], actorOf(request));
  } catch (error) {
    const note = refusedNote(error);
    if (note === null) throw error;
    return refreshPage(context, await services.keys.find(rest), note, 422);
  }
  const { results, ignored } = merged;
  const key = await services.keys.find(rest);
  const others =
    ignored === 0
      ? []
      : [
          html`<p class="note open">${count(ignored, 'certificate')} of other keys left out: only this key was refreshed.</p>`,
        ];
  const none =
    results.length > 0
      ? []
      : [html`<p class="note open">This key is not in what was pasted, and nothing was changed.</p>`];
  return outcome(context, key, [...none, ...results.map((result) => resultCard(context, result)), ...others]);
}

function outcome(context: PageContext, key: RegisteredKey, parts: readonly Html[]): Content {
  const at = `keys/${key.fingerprint}`;
  return {
    title: 'Key refreshed',
    body: html`<div class="narrow"><div class="head">${crumbs(context, key)}<h1>What was found</h1></div>
${parts.length === 0 ? html`<p class="note open">No source is set any more, so nobody was asked.</p>` : parts}
<div class="actions"><a class="button" href="${context.link(at)}">The key</a><a class="button" href="${context.link(`${at}/refresh`)}">Refresh again</a></div></div>`,
  };
}

function sentence(text: string): string {
  return `${text.slice(0, 1).toUpperCase()}${text.slice(1)}.`;
}
