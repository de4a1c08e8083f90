// Where the links of the documents lead: to files and headings that are there, and from the README to each document. And the parts of
// the change log, which a merge may leave twice.
import assert from 'node:assert/strict';
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import path from 'node:path';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';

const ROOT = fileURLToPath(new URL('../..', import.meta.url));
const FOLDERS = ['.', 'docs', 'docs/decisions'];
const DOCUMENTS = FOLDERS.flatMap((folder) =>
  readdirSync(path.join(ROOT, folder))
    .filter((name) => name.endsWith('.md'))
    .map((name) => path.join(folder, name)),
);

/** Without blocks of code, in which a `#` begins a comment and brackets are no link. */
function proseOf(document: string): string {
  return readFileSync(path.join(ROOT, document), 'utf8').replaceAll(/^ *```[\s\S]*?^ *```/gm, '');
}

/** Targets within the project: of links and pictures, relative to the folder of the document. */
function linksOf(document: string): readonly string[] {
  const links = [...proseOf(document).matchAll(/\]\(([^)\s]+)\)/g)].map(([, target = '']) => target);
  return links.filter((target) => !/^[a-z]+:/.test(target));
}

/** As GitHub makes them; the second of two equal headings would be `-1`, which nothing here links to. */
function anchorsOf(document: string): readonly string[] {
  const headings = [...proseOf(document).matchAll(/^#{1,6} (.*)$/gm)].map(([, heading = '']) => heading);
  return headings.map((heading) =>
    heading
      .replaceAll(/\[([^\]]*)\]\([^)]*\)/g, '$1')
      .toLowerCase()
      .replaceAll(/[^\p{L}\p{N}\s_-]/gu, '')
      .replaceAll(' ', '-'),
  );
}

test('every link of a document leads to a file and a heading that are there', () => {
  const dead: string[] = [];
  for (const document of DOCUMENTS) {
    for (const link of linksOf(document)) {
      const [file = '', anchor] = link.split('#');
      const target = file === '' ? document : path.join(path.dirname(document), file);
      const isThere = existsSync(path.join(ROOT, target));
      if (!isThere || (anchor !== undefined && !anchorsOf(target).includes(anchor)))
        dead.push(`${document}: ${link}`);
    }
  }
  assert.deepEqual(dead, []);
});

test('the README leads to each document, and at the top of it stands what it leads to', () => {
  const contents = proseOf('README.md').split(/^## /m)[2] ?? '';
  assert.match(contents, /^What do you want to do\?/);
  const documents = DOCUMENTS.filter((document) => path.dirname(document) === 'docs');
  const linked = [...contents.matchAll(/\]\(([^)#\s]+)/g)].map(([, target = '']) => target);
  assert.deepEqual(
    documents.filter((document) => !linked.includes(document)),
    [],
  );
});

test('each entry of the change log stands below a part, and each part once in its section', () => {
  for (const section of proseOf('CHANGELOG.md').split(/^### /m).slice(1)) {
    const [name = '', ...lines] = section.split('\n').filter((line) => line !== '');
    const parts = lines.filter((line) => line.startsWith('**'));
    assert.match(lines[0] ?? '', /^\*\*/, `${name}: an entry stands above all parts`);
    assert.deepEqual(parts, [...new Set(parts)], name);
    const entries = lines.filter((line) => line.startsWith('- '));
    assert.deepEqual(entries, [...new Set(entries)], name);
  }
});
