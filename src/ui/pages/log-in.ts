// The log-in: a token is typed once, or an OpenID provider says who it is; a cookie stands for that until the session ends.
import { type ErrorCode, isLookasideError } from '../../domain/errors.ts';
import { SESSION_MS } from '../../domain/session.ts';
import { LOG_IN_COOKIE, type PageReply, type PageRequest, SESSION_COOKIE } from '../../domain/web-page.ts';
import { type Html, html, NOTHING } from '../html.ts';
import {
  ANYBODY,
  actorOf,
  type Content,
  formToken,
  goOn,
  type Page,
  type PageContext,
  redirect,
} from '../page.ts';
import { clip, time, word } from '../show.ts';

export const logIn: readonly Page[] = [
  { path: 'log-in', roles: 'open', answer: showLogIn, submit: { roles: 'open', answer: takeToken } },
  {
    path: 'log-in/*',
    roles: 'open',
    answer: comeBack,
    submit: { roles: 'open', answer: leaveForProvider },
  },
  { path: 'log-out', roles: 'open', answer: toLogIn, submit: { roles: ANYBODY, answer: takeLogOut } },
];

async function showLogIn(context: PageContext): Promise<Content | PageReply> {
  const { request } = context;
  const { viewer, cookie } = request;
  const next = nextOf(context, request.query.get('next'));
  if (viewer.kind === 'session') return next === null ? showWhoIsIn(request) : redirect(next);
  return logInPage(context, {
    next: request.query.get('next') ?? '',
    note: cookie === null ? NOTHING : ended(),
  });
}

function ended(): Html {
  return html`<div class="note open" role="status"><p>${word('open', 'Your session is over')}</p><p>Log-ins end after twelve hours, by a log-out, when an administrator ends them, and with their token. Log in again to go on.</p></div>`;
}

interface LogInPage {
  readonly next: string;
  readonly note: Html;
  readonly status?: number;
}

function logInPage(
  { request, services, link }: PageContext,
  { next, note, status = 200 }: LogInPage,
): Content {
  const lead = request.isClosed
    ? 'This server shows nothing to visitors.'
    : 'Visitors see images, states and keys. Who is logged in sees what his role allows.';
  const kept = html`<input type="hidden" name="next" value="${next.slice(0, 2048)}">`;
  const providers = services.logIns.providers.map(
    ({ id, name }) =>
      html`<form method="post" action="${link(`log-in/${id}`)}">${kept}<button class="first">Log in with ${clip(name, 80)}</button></form>`,
  );
  const isTokenFirst = providers.length === 0;
  const wrong = status !== 200 && isTokenFirst && html` aria-invalid="true" aria-describedby="why"`;
  return {
    title: 'Log in',
    status,
    body: html`<div class="narrow"><div class="head"><h1>Log in</h1><p class="lead">${lead}</p></div>
${note}
${!isTokenFirst && html`<section class="card stack">${providers}</section><h2>Or with a token</h2>`}
<form class="card stack" method="post" action="${request.base}log-in">${kept}
<label>Token<input type="password" name="token" required${isTokenFirst && html` autofocus`} autocomplete="current-password" spellcheck="false" maxlength="512" placeholder="lookaside_…"${wrong}></label>
<div class="actions"><button${isTokenFirst && html` class="first"`}>Log in</button></div>
<p class="quiet">The same token as for commands and the API. Who has none asks an administrator: <code>lookaside token create --name NAME --role reader</code></p></form></div>`,
  };
}

function showWhoIsIn(request: PageRequest): Content {
  const { viewer, base } = request;
  if (viewer.kind === 'anonymous') throw new Error('nobody is logged in');
  return {
    title: 'Logged in',
    body: html`<div class="narrow"><div class="head"><h1>You are logged in</h1></div>
<section class="card stack"><dl class="facts"><dt>${viewer.name === viewer.shownName ? 'Token' : 'Account'}</dt><dd>${clip(viewer.shownName, 120)}${viewer.name !== viewer.shownName && html` <small>${clip(viewer.name, 400)}</small>`}</dd><dt>Role</dt><dd>${viewer.role}</dd>${viewer.signer !== null && html`<dt>Signer</dt><dd>${viewer.signer}</dd>`}<dt>Until</dt><dd>${time(viewer.expiresAt)}</dd></dl>
<form method="post" action="${base}log-out">${formToken(request)}<button>Log out</button></form></section></div>`,
  };
}

async function takeToken(context: PageContext): Promise<Content | PageReply> {
  const { services, request } = context;
  const { form, viewer, address, requestId } = request;
  const { sessions } = services;
  try {
    const { text, expiresAt } = await sessions.logIn(form.get('token') ?? '', { address, requestId }, () =>
      request.noteWrongToken(),
    );
    if (viewer.kind === 'session') await endOwn(context); // the browser forgets it
    const lifeMs = Math.min(SESSION_MS, expiresAt.getTime() - context.now.getTime());
    const to = nextOf(context, form.get('next')) ?? request.base;
    return redirect(to, { 'Set-Cookie': cookie(text, lifeMs, request) });
  } catch (error) {
    if (!isLookasideError(error, 'UNAUTHORIZED')) throw error;
    return logInPage(context, { next: form.get('next') ?? '', note: notIn(error), status: 401 });
  }
}

function notIn({ message }: Error): Html {
  return html`<div class="note wrong" role="alert" id="why"><p>${word('wrong', 'Not logged in')}</p><p>${message.slice(0, 1).toUpperCase()}${message.slice(1)}.</p></div>`;
}

async function leaveForProvider(context: PageContext): Promise<Content | PageReply> {
  const { services, request, rest } = context;
  const next = request.form.get('next') ?? '';
  try {
    const { url, kept } = await services.logIns.begin(rest, next);
    return goOn(url, { 'Set-Cookie': keptCookie(context, kept, LOG_IN_MS) });
  } catch (error) {
    return refusedBy(context, error, next);
  }
}

/** The one read that changes something: the provider's answer comes with the address (RFC 6749, section 4.1.2). It counts once. */
async function comeBack(context: PageContext): Promise<Content | PageReply> {
  const { services, request, rest, link } = context;
  const { query, logInCookie, address, requestId, viewer } = request;
  if (request.method !== 'GET' || query.size === 0) return redirect(link('log-in'));
  try {
    const { text, expiresAt, next } = await services.logIns.end(rest, {
      answer: query,
      kept: logInCookie,
      from: { address, requestId },
      ask: () => request.beginLogIn(),
    });
    if (viewer.kind === 'session') await endOwn(context); // browsers send its cookie only where the provider is of the same site
    const lifeMs = expiresAt.getTime() - context.now.getTime();
    const folder = `${publicPath(context)}/ui`;
    const cookies = [
      `${cookie(text, lifeMs, { isSecure: isSecure(context) })}; Path=${folder}`,
      keptCookie(context, '', 0),
    ];
    return goOn(nextOf(context, next) ?? request.base, { 'Set-Cookie': cookies });
  } catch (error) {
    return refusedBy(context, error, '');
  }
}

/** The log-in again, which says why; what is no matter of the log-in is thrown. */
function refusedBy(context: PageContext, error: unknown, next: string): Content {
  const status = isLookasideError(error) ? REFUSED[error.code] : undefined;
  if (!isLookasideError(error) || status === undefined) throw error;
  return logInPage(context, { next, note: notIn(error), status });
}

const REFUSED: Readonly<Partial<Record<ErrorCode, number>>> = {
  UNAUTHORIZED: 401,
  DENIED: 403,
  ISSUER_UNAVAILABLE: 503,
};

/** For so long somebody may take at the provider. */
const LOG_IN_MS = 10 * 60_000;

/** A page of the provider leads back, so it cannot be SameSite=Strict. It is sent to that one address. */
function keptCookie(context: PageContext, kept: string, lifeMs: number): string {
  const path = `${publicPath(context)}/ui/log-in/${context.rest}`;
  return `${LOG_IN_COOKIE}=${kept}; Max-Age=${lifeMs / 1000}; Path=${path}; HttpOnly; SameSite=Lax${isSecure(context) ? '; Secure' : ''}`;
}

/** Providers lead back to the public URL; that browsers came by TLS, a proxy need not say, and no header of a GET does. */
function isSecure({ services, request }: PageContext): boolean {
  return services.settings().publicUrl?.startsWith('https:') ?? request.isSecure;
}

/** As browsers see it: providers lead back to the public URL, which has any prefix of a proxy. */
function publicPath({ services }: PageContext): string {
  const { publicUrl, prefix } = services.settings();
  return publicUrl === null ? prefix : new URL(publicUrl).pathname.replace(/\/+$/, '');
}

async function takeLogOut(context: PageContext): Promise<PageReply> {
  const { request, link } = context;
  await endOwn(context);
  const to = request.isClosed ? link('log-in') : request.base;
  return redirect(to, { 'Set-Cookie': cookie('', 0, request) });
}

async function endOwn({ services, request }: PageContext): Promise<void> {
  if (request.viewer.kind === 'anonymous') return;
  try {
    await services.sessions.end(request.viewer.session, actorOf(request));
  } catch (error) {
    if (!isLookasideError(error, 'NOT_FOUND')) throw error; // somebody else has just ended it
  }
}

async function toLogIn({ link }: PageContext): Promise<PageReply> {
  return redirect(link('log-in'));
}

/**
 * Without a path: browsers then take the folder of this page as they see it, which is right behind a proxy that cuts off a
 * prefix too (RFC 6265, section 5.1.4).
 */
function cookie(text: string, lifeMs: number, { isSecure }: Pick<PageRequest, 'isSecure'>): string {
  const age = Math.max(0, Math.floor(lifeMs / 1000));
  return `${SESSION_COOKIE}=${text}; Max-Age=${age}; HttpOnly; SameSite=Strict${isSecure ? '; Secure' : ''}`;
}

/** The address of the page that was wanted; null for what can be none below `/ui/`. */
function nextOf({ link }: PageContext, wanted: string | null): string | null {
  if (wanted === null || wanted === '' || wanted.length > 2048) return null;
  const [path = '', ...search] = wanted.split('?');
  const segments = path.split('/');
  if (segments.some((segment) => segment === '' || segment === '.' || segment === '..')) return null;
  if (segments[0] === 'log-in' || segments[0] === 'log-out') return null;
  const query = new URLSearchParams(search.join('?'));
  return `${link(path)}${query.size === 0 ? '' : `?${query}`}`;
}
