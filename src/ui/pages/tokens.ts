// Tokens and the sessions that they began: who may do what, made, revoked and ended here.
import { LookasideError } from '../../domain/errors.ts';
import { ROLES, type Role } from '../../domain/ports.ts';
import type { ShownSession } from '../../domain/session.ts';
import { type ShownToken, TOKEN_NAME_FORM, unknownToken } from '../../domain/token.ts';
import { type Html, html, NOTHING } from '../html.ts';
import {
  ADMINS,
  ANYBODY,
  actorOf,
  type Content,
  formToken,
  isOneOf,
  type Page,
  type PageContext,
  redirect,
} from '../page.ts';
import { ago, clip, copyButton, count, empty, time, word } from '../show.ts';
import { done, question, refusedNote } from './forms.ts';

export const tokens: readonly Page[] = [
  {
    path: 'tokens',
    roles: ANYBODY,
    answer: (context) => listTokens(context),
    submit: { roles: ADMINS, answer: create },
  },
  {
    path: 'tokens/*/revoke',
    roles: ADMINS,
    answer: askRevoke,
    submit: { roles: ADMINS, answer: revoke },
  },
  { path: 'sessions/*/end', roles: ADMINS, answer: toTokens, submit: { roles: ADMINS, answer: endSession } },
];

const DONE = {
  revoked: 'The token opens nothing any more, and its sessions are over.',
  ended: 'The session is over: that browser has to log in again.',
};

const LIVES = [
  { days: 1, text: 'a day' },
  { days: 30, text: '30 days' },
  { days: 90, text: '90 days' },
  { days: 365, text: 'a year' },
] as const;
const DAY_MS = 86_400_000;

interface Listed {
  readonly note?: Html;
  readonly status?: number;
}

async function listTokens(
  context: PageContext,
  { note = done(context, DONE), status = 200 }: Listed = {},
): Promise<Content> {
  const { services, request, now, link } = context;
  const [all, sessions] = [await services.tokens.list(), await services.sessions.list()];
  const isAdmin = isOneOf(request.viewer, ADMINS);
  const rows = all.map(
    (token) =>
      html`<tr><th scope="row">${token.name}</th><td>${stateWord(token)}</td><td data-of="Role">${token.role}</td><td data-of="Signer">${token.signer !== null && (isAdmin ? html`<a href="${link(`signers/${token.signer}`)}">${token.signer}</a>` : token.signer)}</td><td data-of="Made">${time(token.createdAt)}</td><td data-of="Expires">${expiry(token, now)}</td><td data-of="Last used">${time(token.lastUsedAt, 'never')}</td><td>${isAdmin && token.revokedAt === null && html`<a href="${link(`tokens/${token.name}/revoke`)}" aria-label="Revoke ${token.name}">Revoke…</a>`}</td></tr>`,
  );
  const table = html`<div class="tablewrap"><table class="stacks"><thead><tr><th>Name</th><th>State</th><th>Role</th><th>Signer</th><th>Made</th><th>Expires</th><th>Last used</th><th><span class="unseen">Change</span></th></tr></thead><tbody>${rows}</tbody></table></div>`;
  return {
    title: 'Tokens',
    status,
    body: html`<div class="head"><h1>Tokens</h1><p class="lead">A token opens this server for commands, the API and these pages, as far as its role allows.</p></div>
${note}
${all.length === 0 ? empty('No token yet', html`Make the first one below.`) : table}
${sessionsCard(context, sessions)}
${isAdmin && (await createForm(context))}`,
  };
}

function stateWord({ state }: ShownToken): Html {
  return state === 'valid' ? word('good', 'in force') : word(state === 'disabled' ? 'open' : 'wrong', state);
}

function expiry({ expiresAt }: ShownToken, now: Date): Html {
  return expiresAt === null ? html`never` : html`${time(expiresAt)} <small>${ago(expiresAt, now)}</small>`;
}

function sessionsCard({ request, link }: PageContext, sessions: readonly ShownSession[]): Html {
  const { viewer } = request;
  const isAdmin = isOneOf(viewer, ADMINS);
  const seen = isAdmin
    ? sessions
    : sessions.filter(({ token }) => viewer.kind === 'session' && token === viewer.name);
  const rows = seen.map((one) => {
    const isOwn = viewer.kind === 'session' && viewer.session === one.id;
    const end = html`<form method="post" action="${link(`sessions/${one.id}/end`)}">${formToken(request)}<button class="link" aria-label="End session ${one.id} of ${one.shownName ?? one.token}">End</button></form>`;
    return html`<tr><th scope="row">${one.shownName === null ? one.token : html`${clip(one.shownName, 80)} <small>${clip(one.token, 200)}</small>`}${isOwn && html` <small>this browser</small>`}</th><td data-of="Role">${one.role}</td><td data-of="Since">${time(one.createdAt)}</td><td data-of="Until">${time(one.expiresAt)}</td><td>${isAdmin && !isOwn && end}</td></tr>`;
  });
  return html`<section class="card"><h2>Open sessions of these pages</h2><div class="tablewrap"><table class="stacks"><thead><tr><th>Who</th><th>Role</th><th>Since</th><th>Until</th><th><span class="unseen">End</span></th></tr></thead><tbody>${rows}</tbody></table></div></section>`;
}

async function createForm({ services, request, link }: PageContext): Promise<Html> {
  const { form } = request;
  const signers = (await services.signers.list()).map(({ name }) => name);
  const option = (value: string, text: string, chosen: string | null) =>
    html`<option value="${value}"${value === chosen && html` selected`}>${text}</option>`;
  const role = form.get('role') ?? 'uploader';
  return html`<section class="card"><h2 id="new">Make a token</h2><form class="filters" method="post" action="${link('tokens')}">${formToken(request)}
<label>Name<input name="name" value="${clip(form.get('name') ?? '', 64)}" required maxlength="64" autocomplete="off" spellcheck="false" title="${TOKEN_NAME_FORM}"></label>
<label>Role<select name="role">${ROLES.map((one) => option(one, ROLE_TEXTS[one], role))}</select></label>
<label>Ends after<select name="days">${LIVES.map(({ days, text }) => option(String(days), text, form.get('days') ?? '90'))}${option('', 'never: until it is revoked', form.get('days'))}</select></label>
<label>Signer (for uploaders)<select name="signer">${option('', 'none', form.get('signer') ?? '')}${signers.map((name) => option(name, name, form.get('signer')))}</select></label>
<div class="actions"><button class="first">Make the token</button></div></form></section>`;
}

const ROLE_TEXTS: Readonly<Record<Role, string>> = {
  admin: 'admin: may do everything',
  auditor: 'auditor: sees who did what',
  reader: 'reader: reads a closed server',
  uploader: 'uploader: uploads signatures',
};

async function create(context: PageContext): Promise<Content> {
  const { services, request, link } = context;
  const { form } = request;
  const role = ROLES.find((one) => one === form.get('role')) ?? 'reader';
  const life = LIVES.find(({ days }) => String(days) === form.get('days'));
  if (life === undefined && form.get('days') !== '')
    throw new LookasideError(
      'REQUEST_INVALID',
      'the form does not say how long the token is to live; open it again',
    );
  const wanted = {
    name: (form.get('name') ?? '').trim(),
    role,
    lifeMs: life === undefined ? null : life.days * DAY_MS,
    signer: form.get('signer') || null,
  };
  try {
    const { text, expiresAt } = await services.tokens.create(wanted, actorOf(request));
    return {
      title: 'The new token',
      body: html`<div class="narrow"><div class="head"><p class="crumbs"><a href="${link('tokens')}">Tokens</a></p><h1>The token ${wanted.name}</h1></div>
<div class="note good" role="status"><p>${word('good', 'It is made')}</p><p>Copy it now: it is shown once, and stored nowhere. Whoever has it can act by it${expiresAt !== null && html`, until ${time(expiresAt)}`}.</p></div>
<section class="card stack"><div class="copied"><pre tabindex="0" id="token">${text}</pre>${copyButton(text, 'Copy the token')}</div><p class="quiet">Role ${wanted.role}${wanted.signer !== null && html`, bound by the grants of <a href="${link(`signers/${wanted.signer}`)}">${wanted.signer}</a>`}.</p></section></div>`,
    };
  } catch (error) {
    const note = refusedNote(error);
    if (note === null) throw error;
    return listTokens(context, { note, status: 422 });
  }
}

async function askRevoke(context: PageContext): Promise<Content> {
  const { services, rest, link, now } = context;
  const token = (await services.tokens.list()).find(({ name }) => name === rest);
  if (token === undefined) throw unknownToken(rest);
  const sessions = (await services.sessions.list()).filter((one) => one.token === rest);
  const use =
    token.lastUsedAt === null
      ? html`It has never been used.`
      : html`It was last used ${ago(token.lastUsedAt, now)}: whatever uses it will get an error.`;
  const uploads =
    token.role === 'uploader' || token.role === 'admin'
      ? html`Nothing can be uploaded with it any more. What was uploaded stays, and stays verified.`
      : NOTHING;
  return question(context, {
    title: `Revoke the token ${rest}?`,
    consequences: [
      html`It opens nothing any more, at once and for ever: its name cannot be used again.`,
      use,
      ...(uploads === NOTHING ? [] : [uploads]),
      html`${count(sessions.length, 'open session')} of these pages ${sessions.length === 1 ? 'ends' : 'end'} with it.`,
    ],
    act: 'Revoke it',
    back: link('tokens'),
  });
}

async function revoke({ services, request, rest, link }: PageContext) {
  await services.tokens.revoke(rest, actorOf(request));
  return redirect(link('tokens', { done: 'revoked' }));
}

async function endSession({ services, request, rest, link }: PageContext) {
  const id = /^[0-9]{1,15}$/.test(rest) ? Number(rest) : Number.NaN;
  await services.sessions.end(id, actorOf(request));
  return redirect(link('tokens', { done: 'ended' }));
}

async function toTokens({ link }: PageContext) {
  return redirect(link('tokens'));
}
