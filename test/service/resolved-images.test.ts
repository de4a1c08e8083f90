import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { test } from 'node:test';
import type { AskWeb } from '../../src/domain/client-machine.ts';
import { isLookasideError } from '../../src/domain/errors.ts';
import { namedImages } from '../../src/domain/sync-source.ts';
import { parseResolveRule, resolveImages } from '../../src/service/resolved-images.ts';

const [A, B] = ['a', 'b'].map((digit) => `sha256:${digit.repeat(64)}`) as [string, string];
const LIST = JSON.stringify({ manifests: [{ digest: A }, { digest: B }] });
const IMAGE = '{"config":{}}';
const digestOf = (bytes: Uint8Array | string, algorithm = 'sha256') =>
  `${algorithm}:${createHash(algorithm).update(bytes).digest('hex')}`;

interface Pages {
  readonly [url: string]: string | number;
}

function asking(pages: Pages) {
  const asked: string[] = [];
  const ask: AskWeb = async (url) => {
    asked.push(url);
    const page = pages[url] ?? 404;
    if (page === 0) return { kind: 'failed', why: 'ECONNREFUSED' };
    const status = typeof page === 'number' ? page : 200;
    return { kind: 'answer', status, header: () => null, body: Buffer.from(String(page)) };
  };
  return { ask, asked };
}

async function resolved(text: string, rules: readonly string[], typed: Pages, open: Pages = {}) {
  const [own, others] = [asking(typed), asking(open)];
  const found = await resolveImages(
    {
      ask: own.ask,
      askPublic: others.ask,
      withLogin: async (registry) => registry,
      digestOf,
      onFound: () => undefined,
    },
    namedImages(text, () => null).references,
    rules.map(parseResolveRule),
  );
  return {
    images: found.images.map(({ repository, digest }) => `${repository ?? ''}@${digest}`),
    unresolved: found.unresolved,
    unasked: found.unasked.map(({ name }) => name),
    asked: own.asked,
    askedOpenly: others.asked,
  };
}

test('a tag gives its manifest, and a list its platforms, of the registries that are named alone', async () => {
  const text = `quay.io/a/app:v1\nquay.io/a/one:v1\nquay.io/a/app@${digestOf(LIST)}\nother.example/x:v1\n`;
  const { images, unasked, unresolved, asked } = await resolved(text, ['quay.io'], {
    'https://quay.io/v2/a/app/manifests/v1': LIST,
    'https://quay.io/v2/a/one/manifests/v1': IMAGE,
    [`https://quay.io/v2/a/app/manifests/${digestOf(LIST)}`]: LIST,
  });
  assert.deepEqual(
    new Set(images),
    new Set([`a/app@${digestOf(LIST)}`, `a/app@${A}`, `a/app@${B}`, `a/one@${digestOf(IMAGE)}`]),
  );
  assert.deepEqual(unasked, ['other.example/x:v1']);
  assert.deepEqual(unresolved, []);
  assert.equal(asked.length, 3);
});

test('a mirror is asked in place of the registry, by the longest prefix, and the names stay those of the source', async () => {
  const text = 'registry.redhat.io/ubi9/ubi:1\nregistry.redhat.io/rhel9/x:1\nquay.io/y:1\n';
  const rules = [
    'registry.redhat.io=m.example:5000/redhat',
    'registry.redhat.io/ubi9=http://m.example:5001/base',
  ];
  const { images, unasked } = await resolved(text, rules, {
    'http://m.example:5001/v2/base/ubi/manifests/1': IMAGE,
    'https://m.example:5000/v2/redhat/rhel9/x/manifests/1': LIST,
  });
  assert.deepEqual(
    new Set(images),
    new Set([`ubi9/ubi@${digestOf(IMAGE)}`, `rhel9/x@${digestOf(LIST)}`, `rhel9/x@${A}`, `rhel9/x@${B}`]),
  );
  assert.deepEqual(unasked, ['quay.io/y:1']);
});

test('"all" asks each registry at public addresses alone, and "all=REGISTRY" that one for every name', async () => {
  const text = `quay.io/a/app:v1\nubi9/ubi:1\n`;
  const alone = await resolved(text, ['all'], {}, { 'https://quay.io/v2/a/app/manifests/v1': IMAGE });
  assert.deepEqual(alone.images, [`a/app@${digestOf(IMAGE)}`]);
  assert.deepEqual([alone.asked, alone.unasked], [[], ['ubi9/ubi:1']]);
  const at = await resolved(text, ['all=m.example/all'], {
    'https://m.example/v2/all/a/app/manifests/v1': IMAGE,
    'https://m.example/v2/all/ubi9/ubi/manifests/1': IMAGE,
  });
  assert.deepEqual(new Set(at.images), new Set([`a/app@${digestOf(IMAGE)}`, `ubi9/ubi@${digestOf(IMAGE)}`]));
  assert.deepEqual(at.askedOpenly, []);
});

test('digests of releases are asked for in the repository that is given, and oc-mirror’s copies where it has put them', async () => {
  const bare = await resolved(`${digestOf(LIST)}\n`, ['all=quay.io/dev/ocp-release'], {
    [`https://quay.io/v2/dev/ocp-release/manifests/${digestOf(LIST)}`]: LIST,
  });
  assert.deepEqual(bare.images, [`@${digestOf(LIST)}`, `@${A}`, `@${B}`]);
  const line =
    'docker://quay.io/dev/ocp-release:4.18.1=docker://m.example:5000/openshift/release-images:4.18.1-x86_64';
  const copied = await resolved(line, ['all=http://m.example:5000'], {
    'http://m.example:5000/v2/openshift/release-images/manifests/4.18.1-x86_64': IMAGE,
  });
  assert.deepEqual(copied.images, [`dev/ocp-release@${digestOf(IMAGE)}`]);
});

test('what a registry does not have, refuses or answers with another manifest is named, and the others are found', async () => {
  const text = `quay.io/a:gone\nquay.io/b:closed\nquay.io/c@${A}\nquay.io/d:v1\n`;
  const { images, unresolved } = await resolved(text, ['quay.io'], {
    'https://quay.io/v2/b/manifests/closed': 403,
    [`https://quay.io/v2/c/manifests/${A}`]: LIST,
    'https://quay.io/v2/d/manifests/v1': IMAGE,
  });
  assert.deepEqual(images, [`d@${digestOf(IMAGE)}`]);
  const messages = Object.fromEntries(unresolved.map(({ name, message }) => [name, message]));
  assert.match(messages['quay.io/a:gone'] ?? '', /quay\.io has no gone of a/);
  assert.match(messages['quay.io/b:closed'] ?? '', /answered 403.*podman login/);
  assert.match(messages[`quay.io/c@${A}`] ?? '', /sent another manifest/);
});

test('a registry that is down is not asked for each of its names', async () => {
  const names = Array.from({ length: 100 }, (_, number) => `down.example/a${number}:v1`);
  const pages = Object.fromEntries(
    names.map((_, number) => [`https://down.example/v2/a${number}/manifests/v1`, 0]),
  );
  const text = [...names, 'quay.io/d:v1'].join('\n');
  const { images, unresolved, asked } = await resolved(text, ['down.example', 'quay.io'], {
    ...pages,
    'https://quay.io/v2/d/manifests/v1': IMAGE,
  });
  assert.deepEqual(images, [`d@${digestOf(IMAGE)}`]);
  assert.equal(unresolved.length, 100);
  assert.match(unresolved.at(-1)?.message ?? '', /nothing listens there/);
  assert.ok(asked.length < 40, String(asked.length));
});

test('a rule that names no registry is refused, and no password is repeated', () => {
  for (const text of [
    '',
    '=',
    'a=b=c',
    'user:secret@quay.io',
    'a b',
    'quay.io=',
    'all=',
    'https://',
    'quay.io=https://',
  ]) {
    assert.throws(
      () => parseResolveRule(text),
      (error: unknown) =>
        isLookasideError(error, 'CONFIG_INVALID') &&
        /wanted a registry like quay\.io/.test(error.message) &&
        !error.message.includes('secret'),
      text,
    );
  }
});
