// The template tag of all pages. What stands between `${` and `}` is text and is escaped, unless another template made it; there is
// no way to pass a text off as markup.
import { escapeHtml } from '../domain/text.ts';

/** Markup that only html`…` makes. */
export interface Html {
  readonly [MARKUP]: string;
}

const MARKUP = Symbol('markup');

/** `null`, `undefined` and `false` leave nothing, so that `condition && html…` can be written. */
export type Value = Html | string | number | null | undefined | false | readonly Value[];

/** Put quotes around attributes: escaping cannot help where there are none. */
export function html(parts: TemplateStringsArray, ...values: readonly Value[]): Html {
  let text = parts[0] ?? '';
  for (const [position, value] of values.entries()) text += markupOf(value) + (parts[position + 1] ?? '');
  return { [MARKUP]: text };
}

export const NOTHING: Html = html``;

/** The text to send. */
export function render(content: Html): string {
  return content[MARKUP];
}

function markupOf(value: Value): string {
  if (value === null || value === undefined || value === false) return '';
  if (typeof value === 'string') return escapeHtml(value);
  if (typeof value === 'number') return String(value);
  if (isList(value)) return value.map(markupOf).join('');
  return value[MARKUP] ?? ''; // an object that was made to look like markup has none
}

function isList(value: Html | readonly Value[]): value is readonly Value[] {
  return Array.isArray(value);
}
