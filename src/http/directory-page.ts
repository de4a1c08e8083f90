// Directory pages as HTML. Everything shown went through escapeHtml; no script, no outside resource.
import { createHash } from 'node:crypto';
import type { State } from '../domain/state.ts';
import { escapeHtml } from '../domain/text.ts';
import type { SignatureForm } from '../domain/verdict.ts';
import type { DirectoryEntry, DirectoryPage, SignatureEntry } from '../service/browse.ts';

const STYLE = `
:root { color-scheme: light dark; --line: #8884; --quiet: #6a6a6a; --good: #176b2c; --wrong: #a8200d; }
@media (prefers-color-scheme: dark) { :root { --quiet: #a0a0a0; --good: #7fd08f; --wrong: #ff9a8a; } }
body { font: 16px/1.5 system-ui, sans-serif; max-width: 72rem; margin: 2rem auto; padding: 0 1rem; }
h1 { font-size: 1.2rem; font-weight: 600; overflow-wrap: anywhere; }
a { text-decoration: none; } a:hover { text-decoration: underline; }
table { width: 100%; border-collapse: collapse; }
th, td { text-align: left; padding: .35rem .75rem .35rem 0; border-bottom: 1px solid var(--line); vertical-align: top; }
th { font-size: .85rem; color: var(--quiet); font-weight: 500; }
td { overflow-wrap: anywhere; } .fixed { white-space: nowrap; }
code { font: .85rem ui-monospace, monospace; }
small { display: block; color: var(--quiet); font-size: .85rem; }
.signatures td:nth-child(2) { width: 32%; } .signatures td:nth-child(4) { width: 26%; }
strong.good { color: var(--good); } strong.wrong { color: var(--wrong); }
p, footer { color: var(--quiet); font-size: .9rem; margin-top: 1.5rem; }
@media (max-width: 48rem) {
  body { margin: 1rem auto; }
  .signatures tr:first-child { display: none; }
  .signatures tr, .signatures td { display: block; }
  .signatures tr { border-bottom: 1px solid var(--line); padding: .6rem 0; }
  .signatures td:nth-child(n) { width: auto; border: 0; padding: .1rem 0; }
}
`;

/** For the header of the same name; allows this page's style and nothing else. */
export const PAGE_SECURITY_POLICY = [
  "default-src 'none'",
  `style-src 'sha256-${createHash('sha256').update(STYLE).digest('base64')}'`,
  "base-uri 'none'",
  "form-action 'none'",
  "frame-ancestors 'none'",
].join('; ');

/**
 * `top`: the address of the first page, with its slash, as a link on this one. `note`: a sentence in place of an empty table.
 * `pages`: the address of the web pages, or null without any: clients that follow no links may ask for this page, so it never redirects.
 */
export function renderDirectoryPage(
  page: DirectoryPage,
  top: string,
  note: string,
  pages: string | null = null,
): string {
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
<h1>${renderTrail(page.path, top)}</h1>
${page.entries.length === 0 ? `<p>${escapeHtml(note)}</p>` : renderTable(page.entries)}
${page.next === null ? '' : `<p><a rel="next" href="${escapeHtml(nextHref(page.next))}">Next page</a></p>`}
<footer>lookaside, the signature server for container images${pages === null ? '' : `: <a href="${escapeHtml(pages)}">search, keys and states</a>`}</footer>
</body>
</html>
`;
}

/** The address of the page behind `next`, as a link on the page before. */
export function nextHref(next: string): string {
  return `?after=${encodeURIComponent(next)}`;
}

/**
 * The address of the first page as a link on the page at `path`, with a slash at its end. The link has no prefix: a proxy
 * may have cut off one that this server does not know.
 */
export function topHref(path: string): string {
  return '../'.repeat(path.split('/').length - 2) || './';
}

/** The path with each folder above as a link. */
function renderTrail(path: string, top: string): string {
  const names = path.split('/').filter((name) => name !== '');
  const links = names.map((name, position) => {
    const href = `${top}${names.slice(0, position + 1).join('/')}/`;
    return position === names.length - 1
      ? escapeHtml(name)
      : `<a href="${escapeHtml(href)}">${escapeHtml(name)}</a>`;
  });
  return [`<a href="${escapeHtml(top)}">signatures</a>`, ...links].join(' / ');
}

function renderTable(entries: readonly DirectoryEntry[]): string {
  const rows = entries.map((entry) => (entry.type === 'file' ? renderSignature(entry) : renderFolder(entry)));
  // a page lists folders or signatures, never both
  const [table, head] = entries.some(({ type }) => type === 'file')
    ? ['<table class="signatures">', '<th>Name</th><th>State</th><th>Signed for</th><th>Stored, SHA-256</th>']
    : ['<table>', '<th>Name</th>'];
  return `${table}\n<tr>${head}</tr>\n${rows.join('\n')}\n</table>`;
}

function renderFolder({ name }: DirectoryEntry): string {
  return `<tr><td>${renderLink(name)}</td></tr>`;
}

function renderLink(name: string): string {
  return `<a href="./${escapeHtml(name)}">${escapeHtml(name)}</a>`;
}

function renderSignature(entry: SignatureEntry): string {
  const cells = [
    `<td class="fixed">${renderLink(entry.name)}<small>${entry.sizeBytes} B</small></td>`,
    `<td>${renderState(entry)}</td>`,
    `<td>${renderClaim(entry)}</td>`,
    `<td>${renderTime(entry.modifiedAt)}<small><code>${escapeHtml(entry.sha256)}</code></small></td>`,
  ];
  return `<tr>${cells.join('')}</tr>`;
}

/** What each state means to people who look at the page. */
const MEANINGS: Record<State | 'withdrawn', string> = {
  withdrawn:
    'the signature of this number was withdrawn; a copy of another one of the image is served in its place',
  verified: 'good, by a registered key that is valid now',
  unverified: 'not verified yet',
  'unknown-key': 'its key is not registered here',
  unsupported: 'of a kind that this server does not verify',
  bad: 'it does not verify: clients refuse it',
  unreadable: 'it is not exactly one signed message: most clients refuse it',
  expired: 'it was good, and has expired',
  'key-expired': 'it was good, but its key has expired',
  'key-revoked': 'it was good, but its key was revoked',
};

/** Sources: containers/image internal/signature/signature.go, library-go, oc-mirror and Pulp, which know no tag. */
const WHO_CANNOT_READ: Partial<Record<SignatureForm, string>> = {
  tagged:
    'It begins with the tag simple-signing. OpenShift, Pulp, oc-mirror and clients older than containers/image 5.22 cannot read it.',
  'tagged-cleartext':
    'Clear-signed behind the tag simple-signing. OpenShift, Pulp, oc-mirror and pure-Go builds of podman, skopeo and CRI-O cannot read it; builds with GnuPG or Sequoia can, since containers/image 5.22.',
};

function renderState({ state, reason, form, warnings }: SignatureEntry): string {
  if (state === null) return '<small>The index is being rebuilt; look again in a moment.</small>';
  const meaning =
    SAYS_MORE.has(state) && reason !== null ? `${MEANINGS[state]} (${reason})` : MEANINGS[state];
  const readers = form === null ? undefined : WHO_CANNOT_READ[form];
  const notes = [
    meaning,
    ...(readers === undefined ? [] : [readers]),
    ...warnings.map(({ message }) => message),
  ];
  return `<strong class="${classOf(state)}">${state}</strong>${notes.map((note) => `<small>${escapeHtml(note)}</small>`).join('')}`;
}

/** States that have more than one cause. */
const SAYS_MORE: ReadonlySet<State | 'withdrawn'> = new Set([
  'unverified',
  'unsupported',
  'bad',
  'unreadable',
]);

function classOf(state: State | 'withdrawn'): string {
  if (state === 'verified') return 'good';
  return state === 'unverified' || state === 'unknown-key' || state === 'unsupported' ? 'open' : 'wrong';
}

/** Empty unless the signature is verified: nobody vouches for what other signatures say. */
function renderClaim({ dockerReference, fingerprint, signedAt }: SignatureEntry): string {
  if (dockerReference === null || fingerprint === null) return '';
  const key = `<span title="${escapeHtml(fingerprint)}">by key <code>${escapeHtml(fingerprint.slice(-16))}</code></span>`;
  const time = signedAt === null ? '' : `, ${renderTime(signedAt)}`;
  return `${escapeHtml(dockerReference)}<small>${key}${time}</small>`;
}

function renderTime(at: Date): string {
  const iso = at.toISOString();
  return `<time class="fixed" datetime="${iso}">${iso.slice(0, 10)} ${iso.slice(11, 19)} UTC</time>`;
}
