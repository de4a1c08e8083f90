// Upload: a signature, or a whole staging folder, dropped on the page or chosen; each file's receipt in a table.

import { DEFAULT_SITE } from '../../domain/image.ts';
import { MAX_BATCH_PARTS } from '../../domain/limits.ts';
import type { Role } from '../../domain/ports.ts';
import type { BatchPart, BatchResult } from '../../domain/receipt.ts';
import {
  digestOfFolderName,
  looksLikeImageFolder,
  parseStagedName,
  pathKey,
} from '../../domain/staged-place.ts';
import { type Html, html, NOTHING } from '../html.ts';
import { type Content, formTokenQuery, type Page, type PageContext } from '../page.ts';
import { clip, count, fingerprint, kindOf, state, word } from '../show.ts';

export const UPLOADERS: readonly Role[] = ['admin', 'uploader'];

export const upload: readonly Page[] = [
  {
    path: 'upload',
    roles: UPLOADERS,
    answer: async (context) => uploadPage(context, null),
    submit: { roles: UPLOADERS, answer: takeFiles },
  },
];

interface Receipts {
  readonly rows: readonly Html[];
  readonly taken: number;
  readonly refused: number;
}

function uploadPage({ link, request }: PageContext, receipts: Receipts | null): Content {
  const address = link('upload', formTokenQuery(request));
  const summary =
    receipts === null
      ? NOTHING
      : html`${count(receipts.taken, 'file')} stored, ${count(receipts.refused, 'refused file')}.`;
  return {
    title: 'Upload',
    body: html`<div class="head"><h1>Upload</h1><p class="lead">Signatures as podman and skopeo leave them: single files, or the whole staging folder. Each is verified before it is stored, and stored where its own claim says that it belongs.</p></div>
<form class="card drop stack" method="post" enctype="multipart/form-data" action="${address}" data-upload data-most="${MAX_BATCH_PARTS}">
<p class="only-js drophere">Drop files or a folder here, or choose them:</p>
<div class="filters"><label>Files<input type="file" name="signature" multiple required data-part></label></div>
<div class="actions"><button class="first">Upload the files</button></div>
</form>
<form class="card stack" method="post" enctype="multipart/form-data" action="${address}" data-upload data-most="${MAX_BATCH_PARTS}">
<label>A staging folder, with all below it<input type="file" name="signature" webkitdirectory multiple required></label>
<p class="quiet no-js">Without a script, at most ${MAX_BATCH_PARTS} files go at once.</p>
<div class="actions"><button>Upload the folder</button></div>
</form>
<section class="card" id="receipts"><h2>Receipts</h2><p role="status" data-summary>${summary}</p>
<div class="tablewrap"><table class="stacks"><thead><tr><th>File</th><th>Result</th><th>Where it is</th><th>Signed by</th><th>What it means</th></tr></thead><tbody>${receipts?.rows}</tbody></table></div></section>`,
  };
}

async function takeFiles(context: PageContext): Promise<Content> {
  const { request } = context;
  const files = [...request.files]
    .map((file) => ({ file, name: (file.fileName ?? '').replaceAll('\\', '/').replace(/^\/+/, '') }))
    .sort((one, other) => (pathKey(one.name) < pathKey(other.name) ? -1 : 1));
  const sent = files.filter(({ name }) => isSignature(name));
  const results =
    sent.length === 0
      ? []
      : await request.upload(sent.map(({ file, name }): BatchPart => ({ ...file, fileName: placeOf(name) })));
  const rows = sent.map(({ name }, part) => row(context, name, results[part]));
  const leftOut = files.filter(({ name }) => !isSignature(name));
  return uploadPage(context, {
    rows: [...rows, ...leftOut.map(({ name }) => leftOutRow(name))],
    taken: results.filter(({ result }) => result !== 'refused').length,
    refused: results.filter(({ result }) => result === 'refused').length,
  });
}

/** A single file may have any name; in a folder, others lie beside the signatures. */
function isSignature(name: string): boolean {
  const file = name.slice(name.lastIndexOf('/') + 1);
  return !name.includes('/') || parseStagedName(file) !== null;
}

/**
 * The name by which it is sent. The claim knows the repository, whatever part of the staging folder was dropped; only the
 * release layout is known by its folder alone (`sha256=<hex>/signature-1`).
 */
function placeOf(name: string): string | null {
  const [file = '', folder = ''] = name.split('/').reverse();
  const isRelease = !folder.includes('@') && looksLikeImageFolder(folder);
  return isRelease && digestOfFolderName(DEFAULT_SITE, folder) !== null ? `${folder}/${file}` : null;
}

function row(context: PageContext, name: string, result: BatchResult | undefined): Html {
  const file = html`<th scope="row">${clip(name, 300)}</th>`;
  if (result === undefined) throw new Error('the upload has no result for one of its files');
  if (result.result === 'refused') {
    const { code, message } = result;
    return html`<tr>${file}<td>${word('wrong', 'refused')}</td><td></td><td></td><td><code>${code}</code> ${message.slice(0, 1).toUpperCase()}${message.slice(1)}.</td></tr>`;
  }
  const { link } = context;
  const image = result.path
    .replace(/^\//, '')
    .replace(/\/signature-[0-9]+$/, '')
    .replace('=', ':');
  const shortImage = image.replace(/(:[0-9a-f]{12})[0-9a-f]+$/, '$1…');
  const outcome = word('good', result.result === 'created' ? 'stored' : 'was here');
  return html`<tr>${file}<td>${outcome}</td><td data-of="Where"><a href="${link(`images/${image}`)}">${shortImage}</a> signature-${result.number}</td><td data-of="Signed by">${result.fingerprint !== null && fingerprint(result.fingerprint)}</td><td>${kindOf(result.state) !== 'good' && state(result.state)} ${clip(result.dockerReference ?? '', 255)}${result.warnings.map(({ message }) => html`<br><small>${message}</small>`)}</td></tr>`;
}

function leftOutRow(name: string): Html {
  return html`<tr><th scope="row">${clip(name, 300)}</th><td>${word('open', 'left out')}</td><td></td><td></td><td>Signatures in a folder are named like signature-1, and this file is not.</td></tr>`;
}
