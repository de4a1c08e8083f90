// Bars over time, made here as SVG, with their numbers as a text alternative and as a table.
import { type Html, html } from './html.ts';
import { number, time } from './show.ts';

export interface Series {
  readonly title: string;
  /** Its class in page.css. */
  readonly colour: 'a' | 'b' | 'c';
  readonly values: readonly number[];
}

export interface Plot {
  readonly title: string;
  /** When each bar begins. */
  readonly at: readonly Date[];
  /** Stacked, the first at the bottom. */
  readonly series: readonly Series[];
  readonly step: 'hour' | 'day';
}

const [WIDTH, HEIGHT, LEFT, BOTTOM, TOP] = [600, 150, 44, 20, 12];

export function plot({ title, at, series, step }: Plot): Html {
  const totals = at.map((_, position) =>
    series.reduce((sum, { values }) => sum + (values[position] ?? 0), 0),
  );
  const most = Math.max(1, ...totals);
  const high = HEIGHT - BOTTOM - TOP;
  const slot = (WIDTH - LEFT) / Math.max(1, at.length);
  const bars = at.map((_, position) => {
    let top = HEIGHT - BOTTOM;
    return series.map(({ colour, values }) => {
      const value = values[position] ?? 0;
      if (value === 0) return null;
      const tall = Math.max(1, (value / most) * high);
      top -= tall;
      return html`<rect class="${colour}" x="${fixed(LEFT + position * slot + slot * 0.1)}" y="${fixed(top)}" width="${fixed(slot * 0.8)}" height="${fixed(tall)}"/>`;
    });
  });
  const sums = series.map(
    (one) => `${one.title} ${number(one.values.reduce((sum, value) => sum + value, 0))}`,
  );
  const label = (position: number) => labelOf(at[position] ?? new Date(0), step);
  const last = at.length - 1;
  return html`<figure class="plotted"><figcaption><h3>${title}</h3><p class="key">${series.map((one, position) => html`<span><i class="${one.colour}"></i>${sums[position]}</span>`)}</p></figcaption>
<svg class="plot" viewBox="0 0 ${WIDTH} ${HEIGHT}" role="img" aria-label="${title}: ${sums.join(', ')}; at most ${number(most)} in one ${step}">
<line class="grid" x1="${LEFT}" x2="${WIDTH}" y1="${TOP}" y2="${TOP}"/><line class="grid" x1="${LEFT}" x2="${WIDTH}" y1="${HEIGHT - BOTTOM}" y2="${HEIGHT - BOTTOM}"/>
<text x="${LEFT - 6}" y="${TOP + 4}" text-anchor="end">${short(most)}</text><text x="${LEFT - 6}" y="${HEIGHT - BOTTOM + 4}" text-anchor="end">0</text>
<text x="${LEFT}" y="${HEIGHT - 4}">${label(0)}</text><text x="${WIDTH}" y="${HEIGHT - 4}" text-anchor="end">${label(last)}</text>
${bars}</svg>
<details><summary>The numbers</summary><div class="tablewrap"><table><thead><tr><th>${step === 'hour' ? 'Hour' : 'Day'}</th>${series.map((one) => html`<th class="n">${one.title}</th>`)}</tr></thead><tbody>${at.map(
    (begin, position) =>
      html`<tr><th scope="row">${step === 'hour' ? time(begin) : labelOf(begin, step)}</th>${series.map(({ values }) => html`<td class="n">${number(values[position] ?? 0)}</td>`)}</tr>`,
  )}</tbody></table></div></details></figure>`;
}

function labelOf(at: Date, step: Plot['step']): string {
  const iso = at.toISOString();
  return step === 'hour' ? `${iso.slice(11, 16)} UTC` : iso.slice(0, 10);
}

function fixed(value: number): string {
  return String(Math.round(value * 10) / 10);
}

const SHORT = new Intl.NumberFormat('en', { notation: 'compact', maximumFractionDigits: 1 });

function short(value: number): string {
  return SHORT.format(value);
}
