// What a page is made of: who may see it, what it is asked, what it answers.
import { LookasideError } from '../domain/errors.ts';
import { ROLES, type Role } from '../domain/ports.ts';
import type { PageReply, PageRequest, Viewer } from '../domain/web-page.ts';
import type { Actor } from '../service/audit.ts';
import { type Html, html, render } from './html.ts';
import type { PageServices } from './services.ts';

export interface PageContext {
  readonly services: PageServices;
  readonly request: PageRequest;
  /** What stands for the `*` of the page's path. */
  readonly rest: string;
  readonly now: Date;
  /** The address of a page below `/ui/`, as a link on this one; parameters without a value are left out. */
  link(path: string, query?: Readonly<Record<string, string | number | null | undefined>>): string;
}

/** What the frame is put around. */
export interface Content {
  /** The window's title, without the product's name. */
  readonly title: string;
  readonly body: Html;
  readonly status?: number;
  /** With 503. */
  readonly retryAfterSeconds?: number;
}

export interface Page {
  /** Below `/ui/`; a `*` at the end stands for one or more further segments, and one with more behind it for exactly one. */
  readonly path: string;
  /** `open`: anybody, also on a closed server. `reader`: anybody; on a closed server whoever is logged in. A list: a session of one of these roles. */
  readonly roles: 'open' | 'reader' | readonly Role[];
  /** To GET. Content gets the frame; a reply is sent as it is. */
  readonly answer: (context: PageContext) => Promise<Content | PageReply>;
  /** To POST; left out: the page takes no form. */
  readonly submit?: Submit;
}

export interface Submit {
  /** A list: only with a form that a page of such a session has sent; see formToken(). */
  readonly roles: 'open' | readonly Role[];
  readonly answer: (context: PageContext) => Promise<Content | PageReply>;
}

export const ADMINS: readonly Role[] = ['admin'];
/** Whoever is logged in. */
export const ANYBODY: readonly Role[] = ROLES;

/** Who may ask what people did. */
export const AUDITORS: readonly Role[] = ['admin', 'auditor'];

export function mayAudit(viewer: Viewer): boolean {
  return isOneOf(viewer, AUDITORS);
}

/** Whether this request may see which images there are; everybody sees an image that they name. */
export function mayList({ viewer, isListed }: PageRequest): boolean {
  return isListed || viewer.kind === 'session';
}

export function isOneOf(viewer: Viewer, roles: readonly Role[]): boolean {
  return viewer.kind === 'session' && roles.includes(viewer.role);
}

export function maySee({ viewer, isClosed }: PageRequest, roles: Page['roles']): boolean {
  if (roles === 'open') return true;
  if (roles === 'reader') return !isClosed || viewer.kind === 'session';
  return isOneOf(viewer, roles);
}

/** Who asks, for audit events. Only for pages and forms with a list of roles: an anonymous viewer cannot be an actor. */
export function actorOf({ viewer, address, requestId }: PageRequest): Actor {
  if (viewer.kind === 'anonymous') throw new Error('a page without roles asked who the actor is');
  const { name, role, signer } = viewer;
  return { name, address, requestId, signer, isAdministrator: role === 'admin' };
}

const FORM_TOKEN = 'form-token';

/** To stand in every form that is posted to a page with a list of roles. */
export function formToken({ viewer }: PageRequest): Html {
  return html`<input type="hidden" name="${FORM_TOKEN}" value="${viewer.kind === 'session' ? viewer.formToken : ''}">`;
}

/** The same for the address of a form with files, whose body holds nothing else. It opens nothing without the cookie. */
export function formTokenQuery({ viewer }: PageRequest): Readonly<Record<string, string>> {
  return viewer.kind === 'session' ? { [FORM_TOKEN]: viewer.formToken } : {};
}

/** @throws LookasideError CROSS_SITE unless a page of this session has sent the form */
export function requireOwnForm({ viewer, form, query, files }: PageRequest): void {
  const sent = (files.length > 0 ? query : form).get(FORM_TOKEN);
  if (viewer.kind === 'session' && sent !== null && viewer.isFormToken(sent)) return;
  throw new LookasideError(
    'CROSS_SITE',
    'this form was not sent from a page of this session, and nothing was changed; go back, load the page again, and send the form once more',
  );
}

export function linkFrom(base: string): PageContext['link'] {
  return (path, query = {}) => {
    const parameters = new URLSearchParams();
    for (const [name, value] of Object.entries(query)) {
      if (value !== null && value !== undefined && value !== '') parameters.set(name, String(value));
    }
    const search = parameters.size === 0 ? '' : `?${parameters}`;
    return `${base}${path.split('/').map(encodeSegment).join('/')}${search}`;
  };
}

/** `@` and `:` stay readable: the base in front of them keeps them from being a scheme. */
function encodeSegment(segment: string): string {
  return encodeURIComponent(segment).replaceAll('%40', '@').replaceAll('%3A', ':');
}

export function isLogIn(path: string): boolean {
  return path === 'log-in' || path.startsWith('log-in/');
}

/** The log-in, which leads back to this page. */
export function logInAddress({ base, path, query, method }: PageRequest): string {
  const search = query.size === 0 ? '' : `?${query}`;
  const next = method === 'POST' || path === '' || isLogIn(path) ? null : `${path}${search}`;
  return linkFrom(base)('log-in', { next });
}

/** See Other: the browser asks for that page by GET. */
export function redirect(to: string, headers: PageReply['headers'] = {}): PageReply {
  return { status: 303, headers: { Location: to, 'Cache-Control': 'no-store', ...headers }, body: null };
}

/** For the header of the same name. Nothing inline, nothing of others; forms go to this server alone. */
const SECURITY_POLICY = [
  "default-src 'none'",
  "style-src 'self'",
  "script-src 'self'",
  "img-src 'self'",
  "connect-src 'self'",
  "form-action 'self'",
  "base-uri 'none'",
  "frame-ancestors 'none'",
].join('; ');

/** Every answer below /ui/ has them, except the assets. */
export const PAGE_HEADERS = {
  'Content-Security-Policy': SECURITY_POLICY,
  'X-Content-Type-Options': 'nosniff',
  // not no-referrer: browsers would then send forms with `Origin: null`
  'Referrer-Policy': 'same-origin',
  'Cross-Origin-Opener-Policy': 'same-origin',
  // what is shown depends on who asks
  'Cache-Control': 'no-store',
} as const;

/**
 * A page that leads on by itself, where a redirect would not do. Browsers keep the session's cookie back when a link of another site
 * led here (SameSite=Strict), also behind a redirect; they send it to a page that this page leads to. And a redirect behind a form
 * may not leave this server (form-action of SECURITY_POLICY), while this page may.
 */
export function goOn(to: string, headers: PageReply['headers'] = {}): PageReply {
  const body = render(html`<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta http-equiv="refresh" content="0; url=${to}"><title>lookaside</title></head><body><p><a href="${to}">Go on</a></p></body></html>
`);
  return {
    status: 200,
    headers: {
      ...PAGE_HEADERS,
      'Content-Type': 'text/html; charset=utf-8',
      'Content-Length': Buffer.byteLength(body),
      Vary: 'Cookie, Sec-Fetch-Site',
      ...headers,
    },
    body,
  };
}
