// What pages that change something share: the question before it, and the word after it.
import { isLookasideError } from '../../domain/errors.ts';
import { type Html, html, NOTHING } from '../html.ts';
import { type Content, formToken, type PageContext } from '../page.ts';
import { word } from '../show.ts';

export interface Question {
  readonly title: string;
  /** One sentence each; the first is the most important. */
  readonly consequences: readonly Html[];
  /** What the button says. */
  readonly act: string;
  /** Where "Cancel" leads. */
  readonly back: string;
  /** Left out: the form is sent to the page itself. */
  readonly fields?: Html;
}

/** A page that says what will happen, and does it when its form is sent to the same address. */
export function question(
  { request }: Pick<PageContext, 'request'>,
  { title, consequences, act, back, fields = NOTHING }: Question,
): Content {
  const { base, path } = request;
  const address = `${base}${path.split('/').map(encodeURIComponent).join('/')}`;
  return {
    title,
    body: html`<div class="narrow"><div class="head"><h1>${title}</h1></div>
<form class="card stack" method="post" action="${address}">${formToken(request)}<ul class="consequences">${consequences.map((one) => html`<li>${one}</li>`)}</ul>${fields}
<div class="actions"><button class="first danger">${act}</button><a class="button" href="${back}">Cancel</a></div></form></div>`,
  };
}

/** What a page says that was led to after a change; `said` has the texts by what stands in the address. */
export function done(
  { request }: Pick<PageContext, 'request'>,
  said: Readonly<Record<string, string>>,
): Html {
  const what = request.query.get('done') ?? '';
  const text = Object.hasOwn(said, what) ? said[what] : undefined;
  return text === undefined
    ? NOTHING
    : html`<div class="note good" role="status"><p>${word('good', text)}</p></div>`;
}

/** The refusal of what a form wanted, above that form. Null for an error that no other entry mends. */
export function refusedNote(error: unknown): Html | null {
  if (!isLookasideError(error)) return null;
  if (!['REQUEST_INVALID', 'NAME_TAKEN', 'NOT_FOUND', 'TOO_LARGE'].includes(error.code)) return null;
  const { message } = error;
  return html`<div class="note wrong" role="alert"><p>${word('wrong', 'Nothing was changed')}</p><p>${message.slice(0, 1).toUpperCase()}${message.slice(1)}.</p></div>`;
}

/** Entries that are separated by blanks, commas or lines. */
export function words(text: string | null): readonly string[] {
  return (text ?? '').split(/[\s,]+/).filter((one) => one !== '');
}
