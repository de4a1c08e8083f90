// Directory pages as HTML. Everything shown went through escapeHtml; no script, no outside resource.
import { createHash } from 'node:crypto';
import { escapeHtml } from '../domain/text.ts';
import type { DirectoryEntry, DirectoryPage } from '../service/browse.ts';

const STYLE = `
:root { color-scheme: light dark; --line: #8884; --quiet: #777; }
body { font: 16px/1.5 system-ui, sans-serif; max-width: 72rem; margin: 2rem auto; padding: 0 1rem; }
h1 { font-size: 1.2rem; font-weight: 600; overflow-wrap: anywhere; }
a { text-decoration: none; } a:hover { text-decoration: underline; }
table { width: 100%; border-collapse: collapse; }
th, td { text-align: left; padding: .35rem .75rem .35rem 0; border-bottom: 1px solid var(--line); vertical-align: top; }
th { font-size: .85rem; color: var(--quiet); font-weight: 500; }
td { overflow-wrap: anywhere; } td.fixed, th.fixed { white-space: nowrap; }
code { font: .85rem ui-monospace, monospace; }
p, footer { color: var(--quiet); font-size: .9rem; margin-top: 1.5rem; }
`;

/** For the header of the same name; allows this page's style and nothing else. */
export const PAGE_SECURITY_POLICY = [
  "default-src 'none'",
  `style-src 'sha256-${createHash('sha256').update(STYLE).digest('base64')}'`,
  "base-uri 'none'",
  "form-action 'none'",
  "frame-ancestors 'none'",
].join('; ');

/** `prefix`: what stands before every path of this server. `note`: a sentence in place of an empty table. */
export function renderDirectoryPage(page: DirectoryPage, prefix: string, note: string): string {
  const title = `Signatures in ${page.path}`;
  return `<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>${escapeHtml(title)}</title>
<style>${STYLE}</style>
</head>
<body>
<h1>${renderTrail(page.path, prefix)}</h1>
${page.entries.length === 0 ? `<p>${escapeHtml(note)}</p>` : renderTable(page.entries)}
${page.next === null ? '' : `<p><a rel="next" href="${escapeHtml(nextHref(page, prefix))}">Next page</a></p>`}
<footer>lookaside, the signature server for container images</footer>
</body>
</html>
`;
}

/** The address of the next page, from the server's root. */
export function nextHref(page: DirectoryPage, prefix: string): string {
  return `${prefix}${page.path}?after=${encodeURIComponent(page.next ?? '')}`;
}

/** The path with each folder above as a link. */
function renderTrail(path: string, prefix: string): string {
  const names = path.split('/').filter((name) => name !== '');
  const links = names.map((name, position) => {
    const href = `${prefix}/${names.slice(0, position + 1).join('/')}/`;
    return position === names.length - 1
      ? escapeHtml(name)
      : `<a href="${escapeHtml(href)}">${escapeHtml(name)}</a>`;
  });
  return [`<a href="${escapeHtml(prefix)}/">signatures</a>`, ...links].join(' / ');
}

function renderTable(entries: readonly DirectoryEntry[]): string {
  const hasFiles = entries.some(({ type }) => type === 'file');
  const head = hasFiles
    ? '<tr><th>Name</th><th class="fixed">Size</th><th class="fixed">Modified</th><th>SHA-256</th></tr>'
    : '<tr><th>Name</th></tr>';
  return `<table>\n${head}\n${entries.map((entry) => renderRow(entry, hasFiles)).join('\n')}\n</table>`;
}

function renderRow(entry: DirectoryEntry, hasFiles: boolean): string {
  const link = `<a href="./${escapeHtml(entry.name)}">${escapeHtml(entry.name)}</a>`;
  if (entry.type === 'directory')
    return hasFiles ? `<tr><td colspan="4">${link}</td></tr>` : `<tr><td>${link}</td></tr>`;
  const modified = entry.modifiedAt.toISOString();
  const shownTime = `${modified.slice(0, 10)} ${modified.slice(11, 19)} UTC`;
  return `<tr><td class="fixed">${link}</td><td class="fixed">${entry.sizeBytes} B</td><td class="fixed"><time datetime="${modified}">${shownTime}</time></td><td><code>${entry.sha256}</code></td></tr>`;
}
