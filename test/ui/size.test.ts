// What a browser loads before it has shown a page for the first time: all bytes of all answers, with their headers.
import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { test } from 'node:test';
import { gunzipSync } from 'node:zlib';
import type { AccessRow, AuditRow, RecordPage } from '../../src/domain/records.ts';
import type { PageServices } from '../../src/ui/services.ts';
import { parseAnswer, requestRaw, sendRaw } from '../http/raw-request.ts';
import { FINGERPRINT, HEX, IMAGE, key, type PagesServed, servePages, signature } from './scene.ts';

const MOST_BYTES = 60 * 1024; // "First page view under 60 KiB over the wire"

/** Digests are what a page compresses worst. */
function digestOf(text: string): string {
  return createHash('sha256').update(text).digest('hex');
}

const AT = new Date('2026-11-01T10:00:00.123Z');

const AUDIT_ROW: AuditRow = {
  seq: 1_000_000,
  at: AT,
  action: 'upload',
  result: 'KEY_UNKNOWN',
  site: 'default',
  image: IMAGE.replace('team/app', 'platform/services/payments-gateway'),
  signatureSha256: 'cd'.repeat(32),
  fingerprint: FINGERPRINT,
  count: 1,
  since: null,
  actor: 'continuous-integration',
  address: '2001:db8:1234:5678::9abc',
  requestId: null,
  reason: 'a key that nobody has added',
};

const ACCESS_ROW: AccessRow = {
  firstAt: AT,
  lastAt: AT,
  site: 'default',
  image: IMAGE.replace('team/app', 'platform/services/payments-gateway'),
  number: 1,
  signatureSha256: 'cd'.repeat(32),
  status: 200,
  address: '2001:db8:1234:5678::9abc',
  agent: 'containers/5.36.2 (github.com/containers/image)',
  token: 'continuous-integration',
  count: 12,
  bytes: 10_000,
};

const records = {
  page: async (
    { record }: { record: 'audit' | 'access' },
    { limit }: { limit: number },
  ): Promise<RecordPage> => ({
    record,
    rows: Array.from({ length: limit }, (_, k) => {
      const image = `platform/services/payments-gateway-${k}@sha256:${digestOf(`image ${k}`)}`;
      const about = { image, signatureSha256: digestOf(`signature ${k}`) };
      return record === 'audit'
        ? { ...AUDIT_ROW, ...about, seq: 1_000_000 - k }
        : { ...ACCESS_ROW, ...about };
    }),
    next: 'x'.repeat(60),
    dropped: 0,
    gaps: [],
  }),
} as unknown as PageServices['records'];

/** As a browser asks that has seen nothing of this server. */
async function firstView(pages: PagesServed, path: string, cookie: string | null): Promise<number> {
  const port = Number(new URL(pages.url).port);
  let bytes = 0;
  const get = async (target: string): Promise<string> => {
    const lines = [
      `GET ${target} HTTP/1.1`,
      'Host: lookaside.example',
      'Accept-Encoding: gzip, deflate, br',
      'Accept: text/html,application/xhtml+xml',
      'Sec-Fetch-Site: same-origin',
      'Connection: close',
      ...(cookie === null ? [] : [`Cookie: ${cookie}`]),
    ];
    const answer = await sendRaw(port, `${lines.join('\r\n')}\r\n\r\n`);
    bytes += answer.length;
    const { status, headers, body } = parseAnswer(answer);
    assert.equal(status, 200, target);
    return (headers.get('content-encoding') === 'gzip' ? gunzipSync(body) : body).toString();
  };
  const page = await get(`/ui/${path}`);
  // a browser loads each address once
  const loaded = new Set(
    [...page.matchAll(/<(?:link|script|img)\b[^>]*? (?:href|src)="([^"]+)"/g)].map(([, href = '']) => href),
  );
  assert.equal(loaded.size, 3, 'style, script and icon');
  for (const href of loaded) await get(new URL(href, `http://lookaside.example/ui/${path}`).pathname);
  return bytes;
}

test('the first page that somebody opens is under 60 KiB over the wire, with style, script and icon', async (t) => {
  const signatures = Array.from({ length: 100 }, (_, k) => {
    const hex = digestOf(`${k}`);
    const image = `team/app@sha256:${hex}`;
    return signature({ image, path: `/team/app@sha256=${hex}/signature-1`, number: 1 });
  });
  await using pages = await servePages({
    signatures: [signature(), ...signatures],
    keys: [
      key(),
      ...Array.from({ length: 50 }, (_, k) =>
        key({ fingerprint: digestOf(`key ${k}`).slice(0, 40).toUpperCase() }),
      ),
    ],
    services: { records },
  });
  const { cookie } = await pages.logIn('auditor');
  for (const [path, who] of [
    ['', null],
    ['log-in', null],
    ['keys', null],
    [`keys/${FINGERPRINT}`, null],
    [`images/team/app@sha256:${HEX}`, null],
    ['repositories/team/app', null],
    ['audit', cookie],
    ['access', cookie],
  ] as const) {
    const bytes = await firstView(pages, path, who);
    t.diagnostic(`/ui/${path}: ${bytes} bytes`);
    assert.ok(bytes < MOST_BYTES, `/ui/${path} has ${bytes} bytes, wanted less than ${MOST_BYTES}`);
  }
});

test('a page is compressed for who takes that, and is the same for everybody else', async () => {
  await using pages = await servePages({ signatures: [signature()], keys: [key()] });
  const port = Number(new URL(pages.url).port);
  const plain = await requestRaw(port, 'GET /ui/keys');
  assert.equal(plain.headers.get('content-encoding'), undefined);
  for (const [accepted, isGzip] of [
    ['gzip, deflate, br, zstd', true],
    ['br;q=1.0, GZIP;q=0.8', true],
    ['gzip;q=0', false],
    ['gzip;q=0.000, br', false],
    ['identity', false],
    ['*', false],
  ] as const) {
    for (const method of ['GET', 'HEAD']) {
      const answer = await requestRaw(port, `${method} /ui/keys`, [`Accept-Encoding: ${accepted}`]);
      assert.equal(answer.headers.get('content-encoding'), isGzip ? 'gzip' : undefined, accepted);
      assert.equal(answer.headers.get('vary'), 'Cookie, Accept-Encoding');
      if (method === 'HEAD') continue;
      assert.equal(Number(answer.headers.get('content-length')), answer.body.length);
      const text = (isGzip ? gunzipSync(answer.body) : answer.body).toString();
      assert.equal(text, plain.body.toString(), accepted);
    }
  }
  const small = await requestRaw(port, 'GET /ui/assets/0/icon.svg', ['Accept-Encoding: gzip']);
  assert.equal(small.headers.get('content-encoding'), undefined, 'it is one packet anyway');
});

test('no text of a page stays the same that its size could tell: each page has another form token, and takes all of them', async () => {
  await using pages = await servePages();
  const session = await pages.logIn('reader');
  const tokenIn = async () => {
    const { text } = await pages.get('', session);
    return /name="form-token" value="([0-9a-f]{64})"/.exec(text)?.[1] ?? 'none';
  };
  const [one, other] = [await tokenIn(), await tokenIn()];
  for (const half of [0, 32]) assert.notEqual(one.slice(half, half + 32), other.slice(half, half + 32));
  const mixed = `${one.slice(0, 32)}${other.slice(32)}`;
  for (const sent of [mixed, one.slice(0, 63), `${one}0`, one.slice(0, 32), 'none'])
    assert.equal((await pages.post('log-out', { 'form-token': sent }, session)).status, 403, sent);
  assert.equal((await pages.post('log-out', { 'form-token': one }, session)).status, 303);
});
