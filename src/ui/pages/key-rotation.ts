// From one key to another: how far the images of the one are signed by the other, and which ones come next.
import type { RotationPart, RotationWork } from '../../domain/rotation.ts';
import { type Html, html, NOTHING } from '../html.ts';
import { actorOf, type Content, type Page, type PageContext } from '../page.ts';
import { clip, count, fingerprint, number } from '../show.ts';
import { imageLink } from './places.ts';

export const keyRotation: readonly Page[] = [
  { path: 'keys/*/rotation', roles: ['admin', 'auditor', 'uploader', 'reader'], answer: showRotation },
];

/** All of them are listed by `lookaside key rotation`. */
const SHOWN_IMAGES = 50;

async function showRotation(context: PageContext): Promise<Content> {
  const { services, request, rest, link } = context;
  const old = await services.keys.find(rest);
  const others = (await services.keys.list()).filter((one) => one.fingerprint !== old.fingerprint);
  const to = request.query.get('to');
  const name = clip(old.userIds[0] ?? 'no user ID');
  return {
    title: 'Rotation',
    body: html`<div class="narrow"><div class="head"><p class="crumbs"><a href="${link('keys')}">Keys</a> / <a href="${link(`keys/${old.fingerprint}`)}">${name}</a></p><h1>Rotation</h1><p class="lead">How far the images that this key has signed are signed by another one.</p></div>
${
  others.length === 0
    ? html`<div class="note open"><p>There is no other key. Add the one that takes its place: <code>lookaside key add FILE</code></p></div>`
    : html`<form class="card" method="get" action="${link(`keys/${old.fingerprint}/rotation`)}"><label>The key that takes its place<select name="to">${others.map((one) => html`<option value="${one.fingerprint}"${one.fingerprint === to && html` selected`}>${clip(one.userIds[0] ?? 'no user ID', 80)} ${one.fingerprint.slice(-16)}</option>`)}</select></label><div class="actions"><button class="first">Compare</button></div></form>`
}
${to !== null && to !== '' && (await progress(context, old.fingerprint, to))}</div>`,
  };
}

async function progress(context: PageContext, old: string, to: string): Promise<Html> {
  const { services, request } = context;
  let counted: Extract<RotationPart, { images: unknown }> | null = null;
  const work: RotationWork[] = [];
  for await (const part of services.administration(actorOf(request)).keys.rotation(old, to)) {
    if ('images' in part) counted = part;
    else if ('work' in part) work.push(...part.work.slice(0, SHOWN_IMAGES - work.length));
    if (work.length >= SHOWN_IMAGES) break;
  }
  if (counted === null) throw new Error('a rotation has no first part');
  const { images, gaps } = counted;
  const whole = images.old + images.both;
  const percent = whole === 0 ? 100 : Math.floor((images.both / whole) * 100);
  return html`<section class="card"><h2>Progress</h2><svg class="life" viewBox="0 0 1000 20" preserveAspectRatio="none" role="img" aria-label="${percent} percent are signed by both keys"><rect class="whole" width="1000" height="20" rx="6"/><rect class="gone" width="${percent * 10}" height="20" rx="6"/></svg>
<p>${whole === 0 ? html`The key has signed nothing that is stored here.` : html`${number(images.both)} of ${count(whole, 'image')} of the old key ${images.both === 1 ? 'is' : 'are'} signed by the new one too: ${percent} %.`}</p>
<dl class="facts"><dt>New key</dt><dd>${fingerprint(counted.new)}</dd><dt>Old key alone</dt><dd>${number(images.old)}</dd><dt>Both</dt><dd>${number(images.both)}</dd><dt>New key alone</dt><dd>${number(images.new)}</dd></dl>
${gaps.map((gap) => html`<p class="note open">More may be missing: ${clip(gap, 300)}.</p>`)}
<p class="quiet">${images.old === 0 ? html`Nothing is left: the old key can be retired.` : html`All that is left, as a list for the machine that signs: <code>lookaside key rotation ${old} ${counted.new}</code>`}</p></section>
${left(context, work, images.old)}`;
}

function left(context: PageContext, work: readonly RotationWork[], all: number): Html {
  if (work.length === 0) return NOTHING;
  return html`<section class="card"><h2>What the new key has yet to sign</h2><div class="tablewrap"><table class="stacks"><thead><tr><th>Image</th><th>Signed for</th></tr></thead><tbody>${work.map(
    ({ site, image, reference }) =>
      html`<tr><th scope="row"><a href="${imageLink(context, { site, name: image })}">${clip(image.replace(/(:[0-9a-f]{12})[0-9a-f]+$/, '$1…'))}</a></th><td data-of="For">${clip(reference, 255)}</td></tr>`,
  )}</tbody></table></div>${all > work.length && html`<p class="quiet">These are the first ones.</p>`}</section>`;
}
