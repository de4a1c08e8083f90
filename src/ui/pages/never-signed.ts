// Images that clients asked for in vain: what somebody has yet to sign.

import { DEFAULT_SITE } from '../../domain/image.ts';
import type { AnswerTable, Cell } from '../../domain/ready-question.ts';
import { askedFilter } from '../../domain/record-question.ts';
import { repositoryOf } from '../../domain/records.ts';
import { type Html, html, NOTHING } from '../html.ts';
import { AUDITORS, actorOf, type Content, type Page, type PageContext } from '../page.ts';
import { clip, count, empty, number, shortDigest, time } from '../show.ts';
import { imageLink } from './places.ts';

export const neverSigned: readonly Page[] = [
  { path: 'never-signed', roles: AUDITORS, answer: showNeverSigned },
];

const ROWS = 50;

async function showNeverSigned(context: PageContext): Promise<Content> {
  const { services, request, now, link } = context;
  const texts = {
    since: given(request.query, 'since') ?? '30d',
    repository: given(request.query, 'repository'),
  };
  const { since, repository } = askedFilter(texts, now);
  const answer = await services.readyQuestions.ask(
    { kind: 'unsigned', subject: null, since, until: null, repository, limit: ROWS },
    { actor: actorOf(request), signal: request.signal },
  );
  const tableOf = (name: string) => answer.tables.find((table) => table.name === name);
  const [byRepository, byImage] = [tableOf('repositories'), tableOf('images')];
  const isEmpty = (byImage?.rows.length ?? 0) === 0;
  return {
    title: 'Never signed',
    body: html`<div class="head"><h1>Never signed</h1><p class="lead">Images that clients wanted a signature of, and that never had one. Clients refuse them, or pull them because their policy asks for none.</p></div>
<form class="card" method="get" action="${link('never-signed')}"><div class="filters"><label>Since<input name="since" value="${clip(texts.since, 40)}" placeholder="30d, 2026-11-22" maxlength="40"></label><label>Repository or folder<input name="repository" value="${clip(texts.repository ?? '', 255)}" placeholder="team" maxlength="255" spellcheck="false"></label></div><div class="actions"><button class="first">Find</button></div></form>
${[...answer.gaps, ...(answer.dropped > 0 ? [`${count(answer.dropped, 'read')} could not be recorded`] : [])].map((gap) => html`<p class="note open">${clip(gap, 400)}.</p>`)}
${
  isEmpty
    ? empty(
        'Nothing was asked for in vain',
        html`Every image that a client wanted a signature of in that time has had one.`,
      )
    : html`<h2>Repositories</h2>${repositoryTable(context, byRepository, texts.since)}<h2>Images</h2>${imageTable(context, byImage)}`
}`,
  };
}

function given(query: URLSearchParams, name: string): string | undefined {
  const text = (query.get(name) ?? '').trim();
  return text === '' ? undefined : text;
}

function repositoryTable(context: PageContext, table: AnswerTable | undefined, since: string): Html {
  if (table === undefined) return NOTHING;
  return html`<div class="tablewrap"><table class="stacks"><thead><tr><th>Repository</th><th class="n">Requests</th><th class="n">Images</th><th>Last</th><th>Last client</th></tr></thead><tbody>${table.rows.map(
    ([name, requests, images, last, address]) =>
      html`<tr><th scope="row"><a href="${context.link('never-signed', { since, repository: String(name ?? '') })}">${name === '' ? 'top' : clip(String(name), 255)}</a></th><td class="n" data-of="Requests">${number(Number(requests))}</td><td class="n" data-of="Images">${number(Number(images))}</td><td data-of="Last">${at(last)}</td><td data-of="Client">${client(context, address)}</td></tr>`,
  )}</tbody></table></div>${cut(table, 'repository', 'repositories')}`;
}

function imageTable(context: PageContext, table: AnswerTable | undefined): Html {
  if (table === undefined) return NOTHING;
  return html`<div class="tablewrap"><table class="stacks"><thead><tr><th>Image</th><th class="n">Requests</th><th>First</th><th>Last</th><th>Last client</th></tr></thead><tbody>${table.rows.map(
    ([name, requests, first, last, address, site]) => {
      const image = String(name ?? '');
      const path = repositoryOf(image);
      return html`<tr><th scope="row"><a href="${imageLink(context, { site: String(site ?? DEFAULT_SITE), name: image })}">${clip(path, 200)} ${shortDigest(image.slice(path === '' ? 0 : path.length + 1))}</a></th><td class="n" data-of="Requests">${number(Number(requests))}</td><td data-of="First">${at(first)}</td><td data-of="Last">${at(last)}</td><td data-of="Client">${client(context, address)}</td></tr>`;
    },
  )}</tbody></table></div>${cut(table, 'image', 'images')}`;
}

function at(text: Cell | undefined): Html {
  return time(typeof text === 'string' ? new Date(text) : null);
}

function client({ link }: PageContext, address: Cell | undefined): Html {
  if (typeof address !== 'string') return html`<span class="quiet">not kept</span>`;
  return html`<a href="${link('access', { address })}">${address}</a>`;
}

function cut({ rows, found }: AnswerTable, one: string, many: string): Html {
  if (found <= rows.length) return NOTHING;
  return html`<p class="quiet">The first ${number(rows.length)} of ${count(found, one, many)}; name a repository to see others, or ask for all: <code>lookaside audit unsigned --json</code></p>`;
}
