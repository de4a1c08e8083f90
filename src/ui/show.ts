// How pages show what is the same everywhere: times, fingerprints, states, sizes.
import type { State } from '../domain/state.ts';
import { type Html, html, NOTHING } from './html.ts';

/** UTC, exact in the title; the script shows local time in the same form. */
export function time(at: Date | null, none = '–'): Html {
  if (at === null) return html`${none}`;
  const iso = at.toISOString();
  return html`<time datetime="${iso}" title="${iso.slice(0, 19).replace('T', ' ')} UTC">${iso.slice(0, 10)} ${iso.slice(11, 16)} UTC</time>`;
}

/** In groups of four, which are copied without blanks. */
export function fingerprint(text: string): Html {
  const groups = text.match(/.{1,4}/g) ?? [];
  return html`<span class="fpr">${groups.map((group) => html`<span>${group}</span>`)}</span>`;
}

export function copyButton(text: string, what = 'Copy'): Html {
  return html`<button type="button" class="copy" data-copy="${text}" aria-label="${what}">Copy</button>`;
}

/** Lines to copy. */
export function block(text: string): Html {
  const lines = text.split('\n').map(
    (line) => html`${line}
`,
  );
  // the script copies what stands beside a button without a text: an attribute would hold no line ends
  return html`<div class="copied"><pre tabindex="0">${lines}</pre>${copyButton('', 'Copy these lines')}</div>`;
}

/** Text by others, which may have any length. */
export function clip(text: string, characters = 200): string {
  return text.length <= characters ? text : `${text.slice(0, characters)}…`;
}

/** `sha256:1f3a9c…`: enough to tell digests apart; the whole stands in the title. */
export function shortDigest(digest: string): Html {
  const [algorithm = '', hex = ''] = digest.split(':', 2);
  return html`<code title="${digest}">${algorithm}:${hex.slice(0, 12)}…</code>`;
}

export type Kind = 'good' | 'wrong' | 'open';

const SHAPES: Readonly<Record<Kind, Html>> = {
  good: html`<svg viewBox="0 0 16 16" aria-hidden="true"><circle cx="8" cy="8" r="7" fill="none" stroke="currentColor" stroke-width="2"/><path d="m4.7 8.3 2.3 2.3 4.3-5" fill="none" stroke="currentColor" stroke-width="2"/></svg>`,
  wrong: html`<svg viewBox="0 0 16 16" aria-hidden="true"><path d="M5 1h6l4 4v6l-4 4H5l-4-4V5z" fill="currentColor" opacity=".2"/><path d="m4.5 4.5 7 7m0-7-7 7" fill="none" stroke="currentColor" stroke-width="2.2"/></svg>`,
  open: html`<svg viewBox="0 0 16 16" aria-hidden="true"><path d="M8 1.5 15 14.5H1z" fill="none" stroke="currentColor" stroke-width="2" stroke-linejoin="round"/><path d="M8 6v4M8 11.3v1.4" stroke="currentColor" stroke-width="1.8"/></svg>`,
};

/** A word and a shape, so that the colour is not needed. */
export function word(kind: Kind, text: string): Html {
  return html`<span class="state ${kind}">${SHAPES[kind]}${text}</span>`;
}

export type ShownState = State | 'withdrawn';

export function kindOf(state: ShownState): Kind {
  if (state === 'verified') return 'good';
  return state === 'unverified' || state === 'unknown-key' || state === 'unsupported' ? 'open' : 'wrong';
}

/** The kind of an audit event's result: the code of a refusal is in capitals. */
export function kindOfResult(result: string): Kind {
  return /^[A-Z_]+$/.test(result) ? 'wrong' : 'good';
}

export function state(name: ShownState): Html {
  return word(kindOf(name), name);
}

const COUNT = new Intl.NumberFormat('en');

/** `1,234 images`, `1 image`. */
export function count(number: number, one: string, many = `${one}s`): string {
  return `${COUNT.format(number)} ${number === 1 ? one : many}`;
}

export function number(value: number): string {
  return COUNT.format(value);
}

export function bytes(size: number): string {
  const units = ['B', 'KiB', 'MiB', 'GiB', 'TiB'];
  let value = size;
  let unit = 0;
  while (value >= 1024 && unit < units.length - 1) [value, unit] = [value / 1024, unit + 1];
  return `${unit === 0 ? value : value.toFixed(1)} ${units[unit]}`;
}

const DAY_MS = 86_400_000;

/** How long from `now`, roughly: `in 12 days`, `3 hours ago`. */
export function ago(at: Date, now: Date): string {
  const ms = at.getTime() - now.getTime();
  const amount = Math.abs(ms);
  const [value, unit] =
    amount < 3_600_000
      ? [Math.round(amount / 60_000), 'minute']
      : amount < 2 * DAY_MS
        ? [Math.round(amount / 3_600_000), 'hour']
        : [Math.round(amount / DAY_MS), 'day'];
  const text = count(value, unit);
  return ms > 0 ? `in ${text}` : `${text} ago`;
}

/** What stands where there is nothing: what that means, and what to do next. */
export function empty(title: string, ...next: readonly Html[]): Html {
  return html`<div class="empty"><h2>${title}</h2>${next.length === 0 ? NOTHING : next.map((one) => html`<div>${one}</div>`)}</div>`;
}

/** The link to further rows. */
export function more(address: string | null, what = 'Next page'): Html {
  return address === null
    ? NOTHING
    : html`<nav class="pages" aria-label="Pages"><a class="button" rel="next" href="${address}">${what}</a></nav>`;
}
