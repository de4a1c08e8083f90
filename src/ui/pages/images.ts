// One image: what its signatures mean for a pull, and each of them with what it says and how to check it.
import { isLookasideError, LookasideError } from '../../domain/errors.ts';
import { type ImageId, imageName, parseImageName } from '../../domain/image.ts';
import type { ShownKey } from '../../domain/key.ts';
import { parseReference } from '../../domain/reference.ts';
import { textOfDifference } from '../../domain/signature-readers.ts';
import type { StoredSignature } from '../../domain/stored-signature.ts';
import { quoted } from '../../domain/text.ts';
import type { Withdrawn } from '../../domain/tombstone.ts';
import { shownKeys } from '../../service/administration.ts';
import { type Html, html, NOTHING } from '../html.ts';
import { type Content, mayAudit, type Page, type PageContext } from '../page.ts';
import { block, bytes, clip, copyButton, count, fingerprint, state, time, word } from '../show.ts';
import { askedNote } from './asked.ts';
import { otherKind } from './check.ts';
import { history } from './history.ts';
import { verdictOn, whyOf } from './meanings.ts';
import { bytesLink, folderUrl, repositoryLink, siteOf } from './places.ts';
import { shellWord } from './shell.ts';

export const images: readonly Page[] = [{ path: 'images/*', roles: 'reader', answer: showImage }];

async function showImage(context: PageContext): Promise<Content> {
  const { services, rest, now } = context;
  const image = parseImageName(siteOf(context), rest);
  if (image === null) {
    throw new LookasideError(
      'NOT_FOUND',
      `${quoted(rest)} names no image; expected repository@sha256:<64 hex digits>, or folder/sha256:<64 hex digits>`,
    );
  }
  const served = await services.signatures.ofImage(image).catch(asSilence);
  if (served instanceof LookasideError) return silent(context, image, served);
  const signatures = served.map(bounded);
  const withdrawn = await services.withdrawals.ofImage(image);
  // whoever asks again a moment later gets its verdict
  if (signatures.length > 0) void services.judge.prefer(image);
  const keys = new Map((await shownKeys(services.keys, now)).map((key) => [key.fingerprint, key]));
  const name = imageName(image);
  const happened = mayAudit(context.request.viewer) ? await history(context, image) : NOTHING;
  return {
    title: name,
    status: signatures.length + withdrawn.length === 0 ? 404 : 200,
    body: html`${body({ context, image, signatures, withdrawn, keys })}${happened}`,
  };
}

/** The error itself where the upstream of a mirror does not answer. */
function asSilence(error: unknown): LookasideError {
  if (isLookasideError(error, 'UPSTREAM_UNAVAILABLE')) return error;
  throw error;
}

/** It asks again by itself, and is gone once the upstream has answered: then the script finds no such part, and loads the page. */
async function silent(context: PageContext, image: ImageId, error: LookasideError): Promise<Content> {
  const { request, link } = context;
  const mirror = shellWord(image.site);
  const happened = mayAudit(request.viewer) ? await history(context, image) : NOTHING;
  const title = 'This server cannot tell now whether the image is signed';
  return {
    title: imageName(image),
    status: 503,
    retryAfterSeconds: Number(error.detail?.retryAfterSeconds ?? 5),
    body: html`${askedNote(request)}${head(context, image)}
<div class="part" id="silent" data-refresh="15"><div class="note open" role="status"><p>${word('open', title)}</p>
<p>Its signatures come from another server, the upstream of the mirror ${image.site}, which does not answer. ${clip(asSentence(error.message), 600)}</p>
<p>A client that pulls the image now gets 503 and reports an error, whether it is signed or not. It is not told that there is no signature.</p></div></div>
<section class="card"><h2>What to do now</h2>
<ul class="steps"><li>If you pull: try again in some minutes. Signatures that were fetched once are served without the upstream.<span class="only-js">This page asks again by itself, every 15 seconds.</span></li>
<li>If you run this server: have the upstream reached again. This says what failed last${mayAudit(request.viewer) && html`, as does the page <a href="${link('mirrors')}">Mirrors</a>`}:${block(`lookaside mirror show ${mirror}`)}</li>
<li>So that the next outage stops no pull, fetch ahead of demand what clients have asked for, from a timer:${block(`lookaside mirror sync ${mirror} --from-misses 7d`)}</li></ul>
<p>Whether another path or an older digest is signed here: <a href="${link('check', { image: imageName(image) })}">check the pull</a>.</p></section>${happened}`,
  };
}

/** A real reference has 255 characters at most; nothing bounds what a signature may hold. */
function bounded(signature: StoredSignature): StoredSignature {
  const { dockerReference, creator, reason } = signature;
  const cut = (text: string | null, characters: number) => (text === null ? null : clip(text, characters));
  return {
    ...signature,
    dockerReference: cut(dockerReference, 400),
    creator: cut(creator, 400),
    reason: cut(reason, 200),
  };
}

interface Scene {
  readonly context: PageContext;
  readonly image: ImageId;
  readonly signatures: readonly StoredSignature[];
  readonly withdrawn: readonly Withdrawn[];
  readonly keys: ReadonlyMap<string, ShownKey>;
}

function body(scene: Scene): Html {
  const { context, image, signatures, withdrawn } = scene;
  const verdict = verdictOn(signatures);
  const tags = [...new Set(signatures.flatMap(({ dockerReference }) => dockerReference ?? []))];
  return html`${askedNote(context.request)}
${head(context, image, tags)}
<div class="note ${verdict.kind}"><p>${word(verdict.kind, '')}<strong> ${verdict.title}</strong></p><p>${verdict.advice}</p></div>
${signatures.map((signature) => one(scene, signature))}
${withdrawn.map((gone) => tombstone(context, gone))}
${signatures.length === 0 && unsignedHelp(context, image)}`;
}

function head(context: PageContext, image: ImageId, tags: readonly string[] = []): Html {
  const digest = `${image.algorithm}:${image.hex}`;
  return html`<div class="head">
<p class="crumbs"><a href="${context.link('repositories')}">Repositories</a> / <a href="${repositoryLink(context, image.site, image.path)}">${image.path === '' ? 'top' : image.path}</a></p>
<h1>${image.path === '' ? 'Image' : image.path}</h1>
<p><code>${digest}</code> ${copyButton(digest, 'Copy the digest')}</p>
${tags.length > 0 && html`<p>${tags.map((tag) => html`<span class="tag">${clip(tag)}</span> `)}</p>`}
</div>`;
}

function one(scene: Scene, signature: StoredSignature): Html {
  const { context, image, keys } = scene;
  const { number, sizeBytes, storedAt, signatureSha256, uploader, warnings, readers } = signature;
  const key = signature.fingerprint === null ? null : (keys.get(signature.fingerprint) ?? null);
  return html`<section class="card" aria-label="signature-${number}">
<div class="actions"><h2>signature-${number}</h2>${state(signature.state)}<span class="quiet">stored ${time(storedAt)}, ${bytes(sizeBytes)}</span></div>
<p>${whyOf(signature)}</p>
${warnings.map(({ message }) => html`<p class="note open">${message}</p>`)}
${readers.map((one) => html`<p class="note">${clip(asSentence(textOfDifference(one)), 600)}</p>`)}
<div class="two">${signature.fingerprint === null ? claimed(signature) : proven(context, signature, key)}${payload(signature)}</div>
<dl class="facts">
<dt>SHA-256 of the file</dt><dd><code>${signatureSha256}</code></dd>
${mayAudit(context.request.viewer) && html`<dt>Uploaded by</dt><dd>${uploader ?? 'not uploaded here: adopted, imported or mirrored'}</dd>`}
</dl>
<div class="actions"><a class="button" href="${bytesLink(context, image, number)}" download="signature-${number}">Download</a></div>
<details><summary>Check it yourself</summary>${block(checkLines(context, image, signature))}</details>
</section>`;
}

function proven(
  { link }: PageContext,
  { fingerprint: signer, signingFingerprint, signedAt, expiresAt }: StoredSignature,
  key: ShownKey | null,
): Html {
  if (signer === null) return NOTHING;
  return html`<div class="proven"><h3>Proven: who signed it</h3>
<p>${key === null ? 'A key that is no longer registered' : html`<a href="${link(`keys/${signer}`)}">${clip(key.userIds[0] ?? 'a key without a user ID')}</a>`}</p>
<p>${fingerprint(signer)} ${copyButton(signer, 'Copy the fingerprint')}</p>
${signingFingerprint !== null && signingFingerprint !== signer && html`<p class="quiet">by its subkey ${fingerprint(signingFingerprint)}</p>`}
<p class="quiet">signed ${time(signedAt)}${expiresAt !== null && html`, expires ${time(expiresAt)}`}</p></div>`;
}

function claimed({ issuer }: StoredSignature): Html {
  return html`<div class="claimed"><h3>Claimed, not proven: who signed it</h3>
${issuer === null ? html`<p>It names no key.</p>` : html`<p>It names the key ${fingerprint(issuer)}</p>`}
<p class="quiet">Anybody can write that into a file. This server could not verify it.</p></div>`;
}

/** As the simple signing format has it: containers/image docs/containers-signature.5.md. */
function payload({ manifestDigest, dockerReference, creator, signedAt }: StoredSignature): Html {
  if (manifestDigest === null)
    return html`<div class="claimed"><h3>What it says</h3><p>Shown only of signatures that were verified.</p></div>`;
  const decoded = {
    critical: {
      type: 'atomic container signature',
      image: { 'docker-manifest-digest': manifestDigest },
      identity: { 'docker-reference': dockerReference },
    },
    optional: {
      creator: creator === null ? null : clip(creator, 1000),
      timestamp: signedAt === null ? null : Math.floor(signedAt.getTime() / 1000),
    },
  };
  const lines = JSON.stringify(decoded, null, 2)
    .split('\n')
    .map(
      (line) => html`${line}
`,
    );
  return html`<div class="proven"><h3>Proven: what it says</h3><pre tabindex="0">${lines}</pre></div>`;
}

function checkLines(
  context: PageContext,
  image: ImageId,
  { number, fingerprint: signer, dockerReference }: StoredSignature,
): string {
  // whoever holds a registered key writes the claim, and these lines are for pasting into a shell
  const claimed = parseReference(dockerReference ?? '') === null ? null : dockerReference;
  const reference = claimed ?? `REGISTRY/${image.path}`;
  const name = reference.replace(/(:[^/:@]*)?(@.*)?$/, '');
  const digest = `${image.algorithm}:${image.hex}`;
  const key = signer ?? 'FINGERPRINT';
  return [
    `curl -fsS ${shellWord(`${folderUrl(context, image)}/signature-${number}`)} -o signature-${number}`,
    `curl -fsS ${shellWord(`${context.request.url}/keys/${key}.asc`)} | gpg --import`,
    `skopeo inspect --raw ${shellWord(`docker://${name}@${digest}`)} > manifest.json`,
    `skopeo standalone-verify manifest.json ${shellWord(reference)} ${key} signature-${number}`,
    '# and as podman would judge a pull, with the policy of this machine:',
    `lookaside doctor ${shellWord(reference)}`,
  ].join('\n');
}

function tombstone(
  { request }: PageContext,
  { number, reason, withdrawnAt, withdrawnBy, until, signatureSha256 }: Withdrawn,
): Html {
  return html`<section class="card"><div class="actions"><h2>signature-${number}</h2>${state('withdrawn')}<span class="quiet">${time(withdrawnAt)}</span></div>
<p>Clients do not get it any more${until !== null && html`, until ${time(until)}`}.${mayAudit(request.viewer) && html` <bdi>${clip(withdrawnBy)}</bdi> wrote: <bdi>${clip(reason, 500)}</bdi>`}</p>
<dl class="facts"><dt>SHA-256 of the file</dt><dd><code>${signatureSha256}</code></dd></dl></section>`;
}

function unsignedHelp(context: PageContext, image: ImageId): Html {
  return html`<section class="card"><h2>What to do now</h2>
<p>Clients ask for <code>${folderUrl(context, image)}/signature-1</code>, get 404, and report: “A signature was required, but no signature exists”.</p>
<ul class="steps"><li>If the image should be signed: sign it where it is built, then send the signature here.</li>
<li>If it is signed already: its signature is for another digest or repository, or lies on another server. Search for the repository above, and run <code>lookaside doctor IMAGE</code> on the client.</li></ul>
${block(`podman push --sign-by KEY REGISTRY/${image.path === '' ? 'IMAGE' : image.path}:TAG\nlookaside push --server ${context.request.url} /path/to/staging`)}<p>Whether another path or an older digest is signed: <a href="${context.link('check', { image: imageName(image) })}">check the pull</a>.</p></section>${otherKind()}`;
}

/** For lists: the states of an image's signatures, each once. */
export function statesOf(signatures: readonly StoredSignature[]): Html {
  const counts = new Map<StoredSignature['state'], number>();
  for (const signature of signatures) counts.set(signature.state, (counts.get(signature.state) ?? 0) + 1);
  return html`<span class="states">${[...counts].map(([name, howMany]) => html`<span>${state(name)}${howMany > 1 && html` <small>${count(howMany, 'signature')}</small>`}</span>`)}</span>`;
}

function asSentence(text: string): string {
  return `${text.charAt(0).toUpperCase()}${text.slice(1)}.`;
}
