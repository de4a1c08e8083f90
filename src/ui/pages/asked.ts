// The line that says how a search was understood, on the page that it led straight to.
import type { PageRequest } from '../../domain/web-page.ts';
import { type Html, html, NOTHING } from '../html.ts';
import { clip } from '../show.ts';

export function askedNote({ query }: PageRequest): Html {
  const [asked, as] = [query.get('asked'), query.get('as')];
  if (asked === null || as === null) return NOTHING;
  return html`<p class="quiet" role="status">Searched for <span class="tag">${clip(asked, 120)}</span>, understood as ${clip(as, 60)}.</p>`;
}
