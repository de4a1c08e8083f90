import assert from 'node:assert/strict';
import { test } from 'node:test';
import { readListing } from '../../src/domain/listing.ts';

const [A, B] = ['a', 'b'].map((digit) => digit.repeat(64)) as [string, string];
const BASE = new URL('https://site.example/pub/release/');

function read(text: string, at = BASE, base = BASE) {
  const { images, folders, next } = readListing(text, at, base);
  return { names: images.map(({ repository, digest }) => `${repository ?? ''}@${digest}`), folders, next };
}

test('the page of mirror.openshift.com names releases, and goes on at the link above them', () => {
  // openshift-eng/art-tools: the index generator of the bucket's function
  const html = `<a href="?entry=1000">next</a><a href="../">..</a>
    <a href="sha256%3D${A}/">sha256=${A}</a>
    <a href='sha256=${B}/'>x</a><a href="readme.txt">r</a><a href="https://evil.example/pub/release/sha256=${B}/">x</a>
    <a href="sha256%3D${A.slice(0, 40)}`;
  assert.deepEqual(read(html), {
    names: [`@sha256:${A}`, `@sha256:${B}`],
    folders: [],
    next: 'https://site.example/pub/release/?entry=1000',
  });
});

test('folders below are named, and files of signatures name their image', () => {
  const html = `<a href="/pub/release/team/">team</a><a href="/pub/">up</a><a href="team/app@sha256%3D${A}/signature-2">s</a>`;
  assert.deepEqual(read(html), {
    names: [`team/app@sha256:${A}`],
    folders: ['https://site.example/pub/release/team/'],
    next: null,
  });
});

test('a bucket says in XML what it has, and where it goes on', () => {
  const at = new URL('https://b.example/?prefix=official/sig/');
  const xml = `<?xml version="1.0"?><ListBucketResult><Key>official/sig/sha256=${A}/signature-1</Key><Key>official/sig/x</Key>`;
  const v2 =
    '<IsTruncated>true</IsTruncated><NextContinuationToken>a&amp;b</NextContinuationToken></ListBucketResult>';
  const truncated = read(xml + v2, at, at);
  assert.deepEqual(truncated.names, [`@sha256:${A}`]);
  assert.equal(new URL(truncated.next ?? '').searchParams.get('continuation-token'), 'a&b');
  const v1 = read(`${xml}<IsTruncated>true</IsTruncated></ListBucketResult>`, at, at);
  assert.equal(new URL(v1.next ?? '').searchParams.get('marker'), 'official/sig/x');
  assert.equal(read(`${xml}<IsTruncated>false</IsTruncated></ListBucketResult>`, at, at).next, null);
});

test('a lookaside tells its signatures page by page', () => {
  const at = new URL('https://l.example/api/v1/signatures?limit=100');
  const page = { signatures: [{ image: `team/app@sha256:${A}` }, { image: `sha256:${B}` }], next: 'c1' };
  assert.deepEqual(read(JSON.stringify(page), at, at), {
    names: [`team/app@sha256:${A}`, `@sha256:${B}`],
    folders: [],
    next: 'https://l.example/api/v1/signatures?limit=100&cursor=c1',
  });
});
