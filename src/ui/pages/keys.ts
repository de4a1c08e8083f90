// The keys that are registered, and each with its parts, its life, what it signed, and its file.
import type { ShownKey, ShownPart } from '../../domain/key.ts';
import { exportedKey, shownKeys } from '../../service/administration.ts';
import { type Html, html } from '../html.ts';
import { ADMINS, type Content, isOneOf, mayAudit, mayList, type Page, type PageContext } from '../page.ts';
import { ago, block, clip, copyButton, empty, fingerprint, more, state, time, word } from '../show.ts';
import { askedNote } from './asked.ts';
import { done } from './forms.ts';
import { KEY_DONE } from './key-changes.ts';
import { imageLink } from './places.ts';

export const keys: readonly Page[] = [
  { path: 'keys', roles: 'reader', answer: listKeys },
  { path: 'keys/*', roles: 'reader', answer: showKeyPage },
];

const SIGNED_ROWS = 50;

async function listKeys(context: PageContext): Promise<Content> {
  const { services, request, now, link } = context;
  const isAdmin = isOneOf(request.viewer, ADMINS);
  const all = await shownKeys(services.keys, now);
  const head = html`<div class="head"><h1>Keys</h1><p class="lead">A signature is verified when one of these keys made it. Signatures by other keys are of an unknown key.</p>${isAdmin && html`<div class="actions"><a class="button first" href="${link('keys/add')}">Add a key</a></div>`}</div>${done(context, KEY_DONE)}`;
  const none = empty(
    'No key is registered yet',
    html`Without a key, no signature can be verified, and no upload is accepted. ${isAdmin ? html`<a href="${link('keys/add')}">Add the first one</a>.` : html`On the server: <code>lookaside key add FILE</code>`}`,
  );
  if (all.length === 0) return { title: 'Keys', body: html`${head}${none}` };
  return {
    title: 'Keys',
    body: html`${head}
<div class="tablewrap"><table class="stacks"><thead><tr><th>User ID</th><th>State</th><th>Fingerprint</th><th>Algorithm</th><th>Expires</th></tr></thead><tbody>
${all.map(
  (key) =>
    html`<tr><th scope="row"><a href="${link(`keys/${key.fingerprint}`)}">${clip(key.userIds[0] ?? 'no user ID')}</a></th><td>${keyWord(key)}</td><td>${fingerprint(key.fingerprint)}</td><td data-of="Algorithm">${key.algorithm}</td><td data-of="Expires">${expiry(key, now)}</td></tr>`,
)}
</tbody></table></div>`,
  };
}

function keyWord({ state: name }: ShownPart): Html {
  if (name !== 'valid') return word('wrong', name);
  return word('good', name);
}

function expiry({ expiresAt }: ShownPart, now: Date): Html {
  return expiresAt === null ? html`never` : html`${time(expiresAt)} <small>${ago(expiresAt, now)}</small>`;
}

async function showKeyPage(context: PageContext): Promise<Content> {
  const { services, request, rest, now, link } = context;
  const key = await exportedKey(services.keys, rest, now);
  const filter = {
    path: null,
    digest: null,
    fingerprint: key.fingerprint,
    tag: null,
    since: null,
    until: null,
  };
  const cursor = request.query.get('cursor');
  const signed = mayList(request)
    ? await services.signatures.search({
        site: null,
        filter,
        uploader: null,
        state: null,
        order: 'newest',
        limit: SIGNED_ROWS,
        cursor,
      })
    : null;
  const name = clip(key.userIds[0] ?? 'A key without a user ID');
  const body = html`${askedNote(request)}${done(context, KEY_DONE)}
<div class="head"><p class="crumbs"><a href="${link('keys')}">Keys</a></p><h1>${name}</h1><p>${fingerprint(key.fingerprint)} ${copyButton(key.fingerprint, 'Copy the fingerprint')} ${keyWord(key)}</p></div>
<div class="note ${key.state === 'valid' ? 'good' : 'wrong'}"><p>${consequence(key)}</p></div>
<div class="cards">
<section class="card"><h2>Life</h2>${life(key, now)}
<dl class="facts"><dt>Made</dt><dd>${time(key.createdAt)}</dd><dt>Expires</dt><dd>${expiry(key, now)}</dd>${key.revokedAt !== null && html`<dt>Revoked</dt><dd>${time(key.revokedAt)}${key.revocation !== null && mayAudit(request.viewer) && html`, here by <bdi>${clip(key.revocation.by)}</bdi>: <bdi>${clip(key.revocation.reason, 500)}</bdi>`}</dd>`}${key.retiredAt !== null && html`<dt>Retired here</dt><dd>${time(key.retiredAt)}; new uploads by it are refused</dd>`}<dt>Registered here</dt><dd>${time(key.addedAt)}</dd></dl>
${key.warnings.map(({ message }) => html`<p class="note open">${message}</p>`)}</section>
<section class="card"><h2>User IDs</h2><ul class="plain">${key.userIds.map((id) => html`<li>${clip(id, 400)}</li>`)}</ul></section>
</div>
<section class="card"><h2>Subkeys</h2>${key.subkeys.length === 0 ? html`<p class="quiet">None: the primary key signs by itself.</p>` : html`<div class="tablewrap"><table class="stacks"><thead><tr><th>Fingerprint</th><th>State</th><th>Algorithm</th><th>For</th><th>Expires</th></tr></thead><tbody>${key.subkeys.map((part) => html`<tr><td>${fingerprint(part.fingerprint)}</td><td>${keyWord(part)}</td><td data-of="Algorithm">${part.algorithm}</td><td data-of="For">${part.canSign ? 'signing' : 'not for signing'}</td><td data-of="Expires">${expiry(part, now)}</td></tr>`)}</tbody></table></div>`}</section>
${
  signed !== null &&
  html`<section class="card"><h2>What it signed</h2>${signed.signatures.length === 0 ? html`<p class="quiet">Nothing that is stored here.</p>` : signedTable({ link }, signed.signatures)}</section>
${more(signed.next === null ? null : link(`keys/${key.fingerprint}`, { cursor: signed.next }), 'Older signatures')}`
}
${key.revocation?.isInCertificate !== false && html`<section class="card"><h2>Export</h2><div class="actions"><a class="button" href="${request.base}../keys/${key.fingerprint}.asc" download>Download, armoured</a><a class="button" href="${request.base}../keys/${key.fingerprint}.gpg" download>Download, binary</a></div>${block(`curl -fsSo signer.asc '${request.url}/keys/${key.fingerprint}.asc'`)}</section>`}`;
  const rotation =
    request.viewer.kind === 'session' &&
    html`<section class="card"><h2>Rotation</h2><p>How far another key has taken its place, and what it has yet to sign.</p><div class="actions"><a class="button" href="${link(`keys/${key.fingerprint}/rotation`)}">Compare with another key</a></div></section>`;
  return {
    title: name,
    body: html`${body}${rotation}${isOneOf(request.viewer, ADMINS) && changes(context, key)}`,
  };
}

function changes({ link }: PageContext, { fingerprint: name, retiredAt, revocation }: ShownKey): Html {
  const verb = retiredAt === null ? 'retire' : 'unretire';
  return html`<section class="card"><h2>Change</h2><div class="actions"><a class="button" href="${link(`keys/${name}/${verb}`)}">${retiredAt === null ? 'Retire…' : 'Take uploads by it again…'}</a><a class="button" href="${link(`keys/${name}/refresh`)}">Refresh…</a>${revocation?.withdraws !== true && html`<a class="button" href="${link(`keys/${name}/revoke`)}">Revoke…</a>`}<a class="button" href="${link(`keys/${name}/remove`)}">Remove…</a></div></section>`;
}

function consequence({ state: name, retiredAt }: ShownKey): string {
  switch (name) {
    case 'valid':
      if (retiredAt !== null)
        return 'Retired: new signatures by it are refused, and what it signed before counts as verified. Sign with the key that takes its place.';
      return 'In force: uploads signed by it are accepted, and what it signed counts as verified.';
    case 'expired':
      return 'Expired: clients refuse what it signed. Extend it where its secret part is, and refresh it here; or sign with another key.';
    case 'revoked':
      return 'Revoked: clients that have the revocation refuse all that it signed. Sign with another key.';
  }
}

/** How much of its life is over, as a bar; the dates stand below it in words. */
function life({ createdAt, expiresAt, state: name }: ShownKey, now: Date): Html {
  if (expiresAt === null) return html`<p class="quiet">It never expires.</p>`;
  const whole = Math.max(1, expiresAt.getTime() - createdAt.getTime());
  const part = Math.min(1, Math.max(0, (now.getTime() - createdAt.getTime()) / whole));
  const width = Math.round(part * 1000);
  const percent = Math.round(part * 100);
  return html`<svg class="life" viewBox="0 0 1000 20" preserveAspectRatio="none" role="img" aria-label="${percent} percent of its life are over"><rect class="whole" width="1000" height="20" rx="6"/><rect class="${name === 'valid' && part < 0.9 ? 'gone' : 'over'}" width="${width}" height="20" rx="6"/></svg><p class="quiet">${percent} % of its life are over.</p>`;
}

function signedTable(
  context: Pick<PageContext, 'link'>,
  signatures: Awaited<ReturnType<PageContext['services']['signatures']['search']>>['signatures'],
): Html {
  return html`<div class="tablewrap"><table class="stacks"><thead><tr><th>Image</th><th>State</th><th>Signed for</th><th>Signed</th></tr></thead><tbody>${signatures.map(
    (one) =>
      html`<tr><th scope="row"><a href="${imageLink(context, { site: one.site, name: one.image })}">${clip(one.image.replace(/(:[0-9a-f]{12})[0-9a-f]+$/, '$1…'))}</a></th><td>${state(one.state)}</td><td data-of="For">${clip(one.dockerReference ?? '')}</td><td data-of="Signed">${time(one.signedAt)}</td></tr>`,
  )}</tbody></table></div>`;
}
