import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { test } from 'node:test';
import type { AskWeb } from '../../src/domain/client-machine.ts';
import { isLookasideError } from '../../src/domain/errors.ts';
import { fetchGraph, listedImages, registryImages } from '../../src/service/mirror-sources.ts';

const HEX = 'a'.repeat(64);

interface Page {
  readonly status?: number;
  readonly headers?: Readonly<Record<string, string>>;
  readonly body?: string;
}

/** Answers each URL; what is not there is 404. */
function asking(
  pages: Readonly<Record<string, Page | ((headers: Readonly<Record<string, string>>) => Page)>>,
) {
  const asked: string[] = [];
  const ask: AskWeb = async (url, headers = {}) => {
    asked.push(url);
    const page = pages[url];
    const {
      status = 200,
      headers: sent = {},
      body = '',
    } = (typeof page === 'function' ? page(headers) : page) ?? { status: 404 };
    return { kind: 'answer', status, header: (name) => sent[name] ?? null, body: Buffer.from(body) };
  };
  const digestOf = (bytes: Uint8Array) => `sha256:${createHash('sha256').update(bytes).digest('hex')}`;
  return { asked, options: { ask, digestOf, onFound: () => undefined } };
}

test('a registry is asked for its tags page by page, and lists for their platforms', async () => {
  const list = JSON.stringify({ manifests: [{ digest: `sha256:${HEX}` }, { digest: 'nonsense' }] });
  const image = '{"config":{}}';
  const { options, asked } = asking({
    'https://r.example/v2/team/app/tags/list?n=1000': ({ authorization }) =>
      authorization === 'Bearer t1'
        ? {
            headers: { link: '</v2/team/app/tags/list?last=v1&n=1000>; rel="next"' },
            body: '{"tags":["v1"]}',
          }
        : {
            status: 401,
            headers: { 'www-authenticate': 'Bearer realm="https://auth.example/t",service="r"' },
          },
    'https://auth.example/t?service=r&scope=repository%3Ateam%2Fapp%3Apull': { body: '{"token":"t1"}' },
    'https://r.example/v2/team/app/tags/list?last=v1&n=1000': { body: '{"tags":["v2","gone"]}' },
    'https://r.example/v2/team/app/manifests/v1': { body: list },
    'https://r.example/v2/team/app/manifests/v2': { body: image },
  });
  const images = await registryImages(options, 'r.example/team/app');
  const digests = [
    options.digestOf(Buffer.from(list)),
    `sha256:${HEX}`,
    options.digestOf(Buffer.from(image)),
  ];
  assert.deepEqual(
    new Set(images.map(({ repository, digest }) => `${repository}@${digest}`)),
    new Set(digests.map((digest) => `team/app@${digest}`)),
  );
  assert.equal(asked.filter((url) => url.startsWith('https://auth')).length, 1);
});

test('a registry without a repository named is asked for its catalog, and a folder for what lies below it', async () => {
  const pages = {
    'http://r.example:5000/v2/_catalog?n=1000': { body: '{"repositories":["a/one","a/two","b"]}' },
    'http://r.example:5000/v2/a/one/tags/list?n=1000': { body: '{"tags":["t"]}' },
    'http://r.example:5000/v2/a/two/tags/list?n=1000': { body: '{"tags":null}' },
    'http://r.example:5000/v2/b/tags/list?n=1000': { body: '{"tags":["t"]}' },
    'http://r.example:5000/v2/a/one/manifests/t': { body: '1' },
    'http://r.example:5000/v2/b/manifests/t': { body: '2' },
  };
  const names = async (registry: string) =>
    (await registryImages(asking(pages).options, registry)).map(({ repository }) => repository);
  assert.deepEqual(await names('http://r.example:5000'), ['a/one', 'b']);
  assert.deepEqual(await names('http://r.example:5000/a'), ['a/one']);
  await assert.rejects(names('http://r.example:5000/c'), /no repository "c"/);
});

test('a registry that fails is no registry without images', async () => {
  const failing = asking({ 'https://u:secret@r.example/v2/app/tags/list?n=1000': { status: 503 } });
  await assert.rejects(
    registryImages(failing.options, 'https://u:secret@r.example/app'),
    (error: unknown) => {
      assert.ok(isLookasideError(error, 'SERVER_UNREACHABLE'));
      assert.doesNotMatch(error.message, /secret/);
      return true;
    },
  );
});

test('a listing is followed through its pages and folders, and not out of them', async () => {
  const { options, asked } = asking({
    'https://s.example/sigs/': {
      body: `<a href="?entry=2">more</a><a href="team/">t</a><a href="/other/">o</a>`,
    },
    'https://s.example/sigs/?entry=2': { body: `<a href="sha256=${HEX}/">x</a>` },
    'https://s.example/sigs/team/': { body: `<a href="app@sha256=${HEX}/">x</a><a href="/sigs/">up</a>` },
  });
  const images = await listedImages(options, 'https://s.example/sigs');
  assert.deepEqual(images, [
    { repository: null, digest: `sha256:${HEX}` },
    { repository: 'team/app', digest: `sha256:${HEX}` },
  ]);
  assert.equal(asked.length, 3);
  await assert.rejects(listedImages(options, 'https://s.example/gone/'), /answered 404/);
});

test('a graph must be one', async () => {
  const { options } = asking({
    'https://g.example/g': { body: '{"nodes":[]}' },
    'https://g.example/h': { body: '<html>' },
  });
  assert.equal(await fetchGraph(options, 'https://g.example/g'), '{"nodes":[]}');
  await assert.rejects(fetchGraph(options, 'https://g.example/h'), /not an update graph/);
  await assert.rejects(fetchGraph(options, 'ftp://g.example'), /not an address/);
});

test('a registry that cannot be reached is named with what to do', async () => {
  const remedies: readonly (readonly [why: string, remedy: RegExp])[] = [
    [
      'ERR_SSL_WRONG_VERSION_NUMBER',
      /; what answers there speaks no TLS; .* write http:\/\/ in front of the host$/,
    ],
    ['DEPTH_ZERO_SELF_SIGNED_CERT', /is not trusted here; .* with --ca FILE or LOOKASIDE_CA$/],
    ['UNABLE_TO_VERIFY_LEAF_SIGNATURE', /is not trusted here; .* with --ca FILE or LOOKASIDE_CA$/],
    ['ERR_TLS_CERT_ALTNAME_INVALID', /its certificate is for other names/],
    ['ECONNREFUSED', /nothing listens there/],
    ['ENOTFOUND', /there is no such host/],
    ['it took too long', /; try again$/],
  ];
  for (const [why, remedy] of remedies) {
    const ask: AskWeb = async () => ({ kind: 'failed', why });
    const options = { ...asking({}).options, ask };
    await assert.rejects(registryImages(options, 'r.example/team/app'), {
      code: 'SERVER_UNREACHABLE',
      message: remedy,
    });
  }
});

test('a server of tokens that cannot be reached is named, and not taken for a login that is wanted', async () => {
  const challenge = { 'www-authenticate': 'Bearer realm="https://auth.example/t",service="r"' };
  const { options } = asking({
    'https://r.example/v2/team/app/tags/list?n=1000': { status: 401, headers: challenge },
  });
  for (const [why, remedy] of [
    ['ECONNREFUSED', /^https:\/\/auth\.example\/t cannot be read: .* nothing listens there/],
    ['NOT_PUBLIC', /^https:\/\/auth\.example\/t cannot be read: .* --resolve HOST$/],
  ] as const) {
    const ask: AskWeb = async (url, headers) =>
      url.startsWith('https://auth.example') ? { kind: 'failed', why } : options.ask(url, headers);
    await assert.rejects(registryImages({ ...options, ask }, 'r.example/team/app'), {
      code: 'SERVER_UNREACHABLE',
      message: remedy,
    });
  }
});
