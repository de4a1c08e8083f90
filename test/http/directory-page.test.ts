import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { describe, test } from 'node:test';
import fc from 'fast-check';
import { STATES } from '../../src/domain/state.ts';
import {
  nextHref,
  PAGE_SECURITY_POLICY,
  renderDirectoryPage,
  topHref,
} from '../../src/http/directory-page.ts';
import type { DirectoryEntry, DirectoryPage, SignatureEntry } from '../../src/service/browse.ts';

const NOTE = 'Nothing is here yet.';

const folder = (name: string): DirectoryEntry => ({ name: `${name}/`, type: 'directory' });
const FINGERPRINT = '00112233445566778899AABBCCDDEEFF01234567';
const file = (name: string, facts: Partial<SignatureEntry> = {}): SignatureEntry => ({
  name,
  type: 'file',
  sizeBytes: 573,
  modifiedAt: new Date('2026-01-02T03:04:05.678Z'),
  sha256: 'ab'.repeat(32),
  state: 'verified',
  reason: null,
  form: 'binary',
  fingerprint: FINGERPRINT,
  dockerReference: 'registry.example/team/app:v1',
  signedAt: new Date('2025-12-31T23:59:58.000Z'),
  warnings: [],
  ...facts,
});
const UNKNOWN = { form: null, fingerprint: null, dockerReference: null, signedAt: null } as const;

function pageOf(page: Partial<DirectoryPage> = {}): DirectoryPage {
  return { path: '/team/', entries: [folder('app')], next: null, ...page };
}

const renderSet = (...entries: readonly SignatureEntry[]) =>
  renderDirectoryPage(pageOf({ entries }), '', NOTE);
const hrefs = (html: string) => [...html.matchAll(/href="([^"]*)"/g)].map(([, href]) => href);
const skeleton = (html: string) =>
  [...html.matchAll(/<[^>]*>/g)].map(([tag]) => tag.replace(/"[^"]*"/g, '""'));

describe('directory pages', () => {
  test("the policy allows the page's own style and nothing else", () => {
    const html = renderDirectoryPage(pageOf(), '', NOTE);
    const styles = [...html.matchAll(/<style>([\s\S]*?)<\/style>/g)].map(([, style]) => style ?? '');
    const hashes = styles.map((style) => `'sha256-${createHash('sha256').update(style).digest('base64')}'`);
    const directives = PAGE_SECURITY_POLICY.split('; ');
    assert.equal(styles.length, 1);
    assert.deepEqual(directives, [
      "default-src 'none'",
      `style-src ${hashes.join(' ')}`,
      "base-uri 'none'",
      "form-action 'none'",
      "frame-ancestors 'none'",
    ]);
    assert.doesNotMatch(html, /<script|<link|<img|<form|\sstyle=|\son[a-z]+=|javascript:/i);
  });

  test('the path leads up, folder by folder, to the top', () => {
    const html = renderDirectoryPage(pageOf({ path: '/a/b/c/' }), topHref('/a/b/c/'), NOTE);
    assert.deepEqual(hrefs(html), ['../../../', '../../../a/', '../../../a/b/', './app/']);
    assert.equal(topHref('/'), './');
    assert.match(html, /<h1>.* \/ c<\/h1>/);
    assert.match(html, /<title>Signatures in \/a\/b\/c\/<\/title>/);
  });

  test('asked for by an unusual spelling, the links of the path begin where the caller says', () => {
    const html = renderDirectoryPage(pageOf({ path: '/a/b/', next: 'n' }), '/sig/x/', NOTE);
    assert.deepEqual(hrefs(html), ['/sig/x/', '/sig/x/a/', './app/', '?after=n']);
  });

  test('a set is a table of its signatures with size, time and hash', () => {
    const html = renderSet(file('signature-1'));
    assert.match(html, /<a href="\.\/signature-1">signature-1<\/a>/);
    assert.match(html, /573 B/);
    assert.match(
      html,
      /<time class="fixed" datetime="2026-01-02T03:04:05\.678Z">2026-01-02 03:04:05 UTC<\/time>/,
    );
    assert.match(html, /<code>(?:ab){32}<\/code>/);
  });

  test('a verified signature is shown with its key, its name and when it was made', () => {
    const html = renderSet(file('signature-1'));
    assert.match(html, /<strong class="good">verified<\/strong>/);
    assert.match(html, /<td>registry\.example\/team\/app:v1<small>/);
    assert.match(html, new RegExp(`title="${FINGERPRINT}">by key <code>${FINGERPRINT.slice(24)}</code>`));
    assert.match(html, /2025-12-31 23:59:58 UTC/);
  });

  test('every state stands there as a word, with what it means', () => {
    for (const state of STATES) {
      const html = renderSet(file('signature-1', { ...UNKNOWN, state }));
      assert.match(
        html,
        new RegExp(`<strong class="(?:good|open|wrong)">${state}</strong><small>[^<]{10,}</small>`),
      );
      assert.doesNotMatch(html, /by key/);
    }
  });

  test('why a signature is bad or not supported stands beside it', () => {
    const html = renderSet(file('signature-1', { ...UNKNOWN, state: 'bad', reason: 'DIGEST_MISMATCH' }));
    assert.match(html, /clients refuse it \(DIGEST_MISMATCH\)/);
  });

  test('a clear-signed one behind the tag says who cannot read it', () => {
    const html = renderSet(file('signature-1', { form: 'tagged-cleartext' }));
    assert.match(html, /<strong class="good">verified</);
    assert.match(html, /OpenShift, Pulp, oc-mirror and pure-Go builds .* cannot read it/);
    assert.match(html, /GnuPG or Sequoia can, since containers\/image 5\.22/);
    const binary = renderSet(file('signature-1', { form: 'tagged' }));
    assert.match(binary, /OpenShift, Pulp, oc-mirror and clients older than containers\/image 5\.22 cannot/);
    assert.doesNotMatch(renderSet(file('signature-1')), /cannot read/);
  });

  test('while the index is made anew no state is claimed', () => {
    const html = renderSet(file('signature-1', { ...UNKNOWN, state: null }));
    assert.doesNotMatch(html, /<strong/);
    assert.match(html, /being rebuilt/);
  });

  test('an empty page says so in place of a table', () => {
    const html = renderDirectoryPage(pageOf({ path: '/', entries: [] }), '', 'Nothing <here>');
    assert.match(html, /<p>Nothing &lt;here&gt;<\/p>/);
    assert.doesNotMatch(html, /<table/);
    assert.doesNotMatch(renderDirectoryPage(pageOf(), '', NOTE), new RegExp(NOTE));
  });

  test('the last page links to no next one, any other to the one after its last name', () => {
    assert.doesNotMatch(renderDirectoryPage(pageOf(), '', NOTE), /rel="next"/);
    const page = pageOf({ next: 'app@sha256=00' });
    assert.match(
      renderDirectoryPage(page, '', NOTE),
      /<a rel="next" href="\?after=app%40sha256%3D00">Next page<\/a>/,
    );
  });

  test('the link to the next page carries any name through', () => {
    fc.assert(
      fc.property(fc.string({ unit: 'grapheme', minLength: 1 }), (next) => {
        const url = new URL(nextHref(next), 'http://host/sig/team/?after=a');
        assert.equal(url.pathname, '/sig/team/');
        assert.equal(url.searchParams.get('after'), next);
      }),
    );
  });

  test('no name, path or note makes a tag, an attribute or an entity of its own', () => {
    const hostile = fc.oneof(
      fc.string({ unit: 'binary' }).map((text) => text.replace(/[\ud800-\udfff]/g, '')),
      fc
        .array(
          fc.constantFrom(
            '<script>',
            '"',
            "'",
            '>',
            '&lt;',
            '</style>',
            ' onload=x',
            '\u202e',
            '\n',
            'x',
            '<!--',
          ),
        )
        .map((parts) => parts.join('')),
    );
    const plain = renderDirectoryPage(
      pageOf({ path: '/x/y/', entries: [folder('z'), file('z', { reason: 'x', state: 'bad' })], next: 'n' }),
      '',
      '',
    );
    const note = renderDirectoryPage(pageOf({ path: '/', entries: [] }), '', '');
    fc.assert(
      fc.property(hostile, (text) => {
        // a slash would make one more folder of the path
        const name = `n${text.replaceAll('/', '')}`;
        const hostileFile = file(name, {
          dockerReference: name,
          fingerprint: name,
          reason: name,
          state: 'bad',
        });
        const page = pageOf({ path: `/${name}/${name}/`, entries: [folder(name), hostileFile], next: name });
        assert.deepEqual(skeleton(renderDirectoryPage(page, '', '')), skeleton(plain));
        assert.deepEqual(
          skeleton(renderDirectoryPage(pageOf({ path: '/', entries: [] }), '', text)),
          skeleton(note),
        );
      }),
      { numRuns: 300 },
    );
  });

  test('names are shown as they are', () => {
    const html = renderDirectoryPage(pageOf({ entries: [folder('a&b<c>')] }), '', NOTE);
    assert.match(html, />a&amp;b&lt;c&gt;\/<\/a>/);
  });
});
