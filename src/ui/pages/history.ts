// What happened to an image and who fetched it lately, on its page, for who may ask what people did.
import { isLookasideError } from '../../domain/errors.ts';
import type { ImageId } from '../../domain/image.ts';
import { ANY_RECORD, type RecordFilter, type RecordName, type RecordPage } from '../../domain/records.ts';
import { type Html, html } from '../html.ts';
import { actorOf, type PageContext } from '../page.ts';
import { accessRow, auditRow, recordLink } from './records.ts';

const EVENTS = 20;
const READS = 10;
const READS_MS = 86_400_000;

export async function history(
  context: PageContext,
  { site, layout, path, algorithm, hex }: ImageId,
): Promise<Html> {
  const place = path === '' ? null : { layout, path };
  const filter: RecordFilter = { ...ANY_RECORD, site, image: { digest: { algorithm, hex }, place } };
  const since = new Date(context.now.getTime() - READS_MS);
  const [events, reads] = await Promise.all([
    rowsOf(context, 'audit', filter, EVENTS),
    rowsOf(context, 'access', { ...filter, since }, READS),
  ]);
  return html`<section class="card"><h2>What happened to it</h2>${part(context, 'audit', filter, events, html`No upload, withdrawal or import of it is on record: its signatures were laid into the tree, or fetched from another site.`)}</section>
<section class="card"><h2>Who asked for it within a day</h2>${part(context, 'access', filter, reads, html`Nobody did.`)}</section>`;
}

/** Null: it takes too long for this page, or too many ask at once. */
async function rowsOf(
  { services, request }: PageContext,
  record: RecordName,
  filter: RecordFilter,
  limit: number,
): Promise<RecordPage | null> {
  const asker = { actor: actorOf(request), signal: request.signal };
  try {
    return await services.records.page({ record, filter }, { cursor: null, limit }, asker);
  } catch (error) {
    if (isLookasideError(error, 'BUSY') || isLookasideError(error, 'QUESTION_TOO_LONG')) return null;
    throw error;
  }
}

function part(
  context: PageContext,
  record: RecordName,
  filter: RecordFilter,
  page: RecordPage | null,
  none: Html,
): Html {
  const all = recordLink(context, record, filter);
  const link = html`<p><a href="${all}">${record === 'audit' ? 'All of its events' : 'All of its reads'}</a></p>`;
  if (page === null) return html`<p class="quiet">That takes too long to find at this moment.</p>${link}`;
  if (page.rows.length === 0) return html`<p class="quiet">${none}</p>${record === 'access' && link}`;
  const rows = page.rows.map((row) => ('seq' in row ? auditRow(context, row) : accessRow(context, row)));
  const heads =
    record === 'audit'
      ? ['Event', 'When', 'What', 'About', 'Who']
      : ['When', 'Status', 'Image', 'Client', 'Requests'];
  return html`${link}<div class="tablewrap"><table class="stacks"><thead><tr>${heads.map((head) => html`<th>${head}</th>`)}</tr></thead><tbody>${rows}</tbody></table></div>`;
}
