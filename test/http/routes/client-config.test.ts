// What clients are told about keys: whose, for which registry, and who may ask.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { LookasideError } from '../../../src/domain/errors.ts';
import type { RegisteredKey } from '../../../src/domain/key.ts';
import { serveOver } from '../served.ts';

const [A, B, OLD] = ['AA'.repeat(20), 'BB'.repeat(20), 'CC'.repeat(20)];

function key(fingerprint: string, revokedAt: Date | null = null): RegisteredKey {
  const at = new Date(0);
  return {
    ...{ fingerprint, algorithm: 'ed25519', createdAt: at, expiresAt: null, revokedAt, canSign: true },
    ...{
      userIds: [`${fingerprint.slice(0, 2)} <a@x>`],
      subkeys: [],
      addedAt: at,
      changedAt: at,
      retiredAt: null,
    },
    certificate: Buffer.from(fingerprint),
  };
}

const KEYS = [key(A), key(B), key(OLD, new Date(1))];

async function serve() {
  return serveOver({
    keys: {
      ...({} as Parameters<typeof serveOver>[0]['keys'] & object), // of its methods the route uses two
      list: async () => KEYS,
      find: async (name: string) => {
        const key = KEYS.find(({ fingerprint }) => fingerprint.endsWith(name));
        if (key === undefined) throw new LookasideError('NOT_FOUND', 'no such key');
        return key;
      },
    },
    signers: {
      ...({} as Parameters<typeof serveOver>[0]['signers'] & object), // of its methods the route uses one
      listGrants: async (signer: string | null) => {
        const rest = { id: 1, tags: [], createdAt: new Date(0) };
        const grants = [
          { ...rest, signer: 'ci', repositories: ['team/**'], fingerprints: [A, OLD] },
          { ...rest, signer: 'ops', repositories: ['ops/app'], fingerprints: [B] },
        ];
        return grants.filter((one) => signer === null || one.signer === signer);
      },
    },
  });
}

test('clients are told the keys that are granted for a registry, and the files that name them', async () => {
  await using served = await serve();
  const ask = async (query: string, headers: Record<string, string> = {}) => {
    const answer = await fetch(`${served.url}/api/v1/client-config/podman?${query}`, { headers });
    return { status: answer.status, body: JSON.parse(await answer.text()) };
  };
  const keysOf = async (query: string, headers?: Record<string, string>) => {
    const { body } = await ask(query, headers);
    return body.sections?.map((section: { keys: string[] }) => section.keys) ?? body.errors[0].code;
  };
  assert.deepEqual(await keysOf('registry=r.example/team'), [[A]]);
  assert.deepEqual(await keysOf('registry=r.example/team,r.example/ops&registry=r.example'), [
    [A],
    [B],
    [A, B],
  ]);
  assert.deepEqual(await keysOf('registry=r.example/team&all-keys=1'), [[A, B]]);
  // who names a key gets it
  assert.deepEqual(await keysOf(`registry=r.example&key=${OLD}`), [[OLD]]);
  const { body } = await ask('registry=r.example/team');
  assert.equal(body.lookaside, served.url);
  assert.deepEqual(
    body.notes.map((note: { code: string }) => note.code),
    ['KEY_LEFT_OUT', 'POLICY_NEW'],
  );
  assert.deepEqual(
    body.files.map(({ path, encoding }: { path: string; encoding: string }) => [path, encoding]),
    [
      [`/etc/containers/keys/${A}.gpg`, 'base64'],
      ['/etc/containers/registries.d/lookaside.yaml', 'utf-8'],
      ['/etc/containers/policy.json', 'utf-8'],
    ],
  );
  assert.equal(Buffer.from(body.keys[0].certificate, 'base64').toString(), A);

  // who a signer is, only tokens may ask
  const ci = 'registry=r.example&signer=ci';
  assert.equal((await ask(ci)).status, 401);
  assert.deepEqual(await keysOf(ci, { authorization: `Bearer ${served.tokens.reader}` }), [[A]]);
  for (const [query, code] of [
    ['', 'REQUEST_INVALID'],
    ['registry=https://r.example', 'REQUEST_INVALID'],
    ['registry=r.example/other', 'NOT_FOUND'],
    [`registry=r.example&key=${'0'.repeat(40)}`, 'NOT_FOUND'],
    ['registry=r.example&lookaside=ftp://x', 'REQUEST_INVALID'],
    ['registry=r.example&unknown=1', 'REQUEST_INVALID'],
    ['registry=r.example/team&namespace=a', 'REQUEST_INVALID'],
    // a line end that no reader of a URL sees would begin a line of its own in a file
    ['registry=r.example/team&lookaside=https://s.example/%0Ax: y', 'REQUEST_INVALID'],
  ] as const)
    assert.equal(await keysOf(query), code, query);
});

test('a policy that is sent to be merged has 64 KiB at most, because nobody is served while it is', async () => {
  await using served = await serve();
  const send = async (bytes: number) => {
    const policy = `{"default": [{"type": "insecureAcceptAnything"}]${' '.repeat(bytes - 49)}}`;
    assert.equal(policy.length, bytes);
    const answer = await fetch(`${served.url}/api/v1/client-config/podman?registry=r.example/team`, {
      method: 'POST',
      headers: { 'content-type': 'application/octet-stream' },
      body: policy,
    });
    await answer.arrayBuffer();
    return answer.status;
  };
  assert.deepEqual([await send(64 * 1024), await send(64 * 1024 + 1)], [200, 413]);
});

test('an answer has a mebibyte of policy and keys at most, because nobody is served while it is made', async () => {
  await using served = await serve();
  const send = async (namespaces: number) => {
    const names = Array.from({ length: namespaces }, (_, index) => `n${index}`).join(',');
    const answer = await fetch(
      `${served.url}/api/v1/client-config/crio?registry=r.example/team&namespace=${names}`,
      {
        method: 'POST',
        headers: { 'content-type': 'application/octet-stream' },
        body: `{"default": [{"type": "insecureAcceptAnything"}]}${' '.repeat(60_000)}`,
      },
    );
    return { status: answer.status, text: await answer.text() };
  };
  assert.equal((await send(17)).status, 200);
  const refused = await send(18);
  assert.equal(refused.status, 400);
  assert.match(refused.text, /would have 1081602 bytes, expected at most 1048576; ask for fewer at once/);
});

test('the files of a cluster are made here too, from the policy of a node that is sent', async () => {
  await using served = await serve();
  const at = (kind: string) => `${served.url}/api/v1/client-config/${kind}?registry=r.example/team`;
  interface Answer {
    readonly kind: string;
    readonly files: readonly { readonly path: string }[];
    readonly commands: readonly string[];
    readonly errors?: readonly object[];
  }
  const read = async (answer: Response): Promise<Answer> => JSON.parse(await answer.text());
  const page = await read(await fetch(at('openshift')));
  const names = (rank: string) =>
    ['worker.bu', 'worker.yaml', 'master.bu', 'master.yaml'].map((name) =>
      name.replace(/^(\w+)/, `${rank}-$1-lookaside`),
    );
  const pathsOf = ({ files }: Answer) => files.map(({ path }) => path).slice(0, 4);
  assert.deepEqual([page.kind, pathsOf(page)], ['openshift', names('02')]);
  assert.deepEqual(page.commands, [
    'oc apply -f 02-worker-lookaside.yaml',
    'oc apply -f 02-master-lookaside.yaml',
  ]);
  const send = (policy: string) =>
    fetch(at('openshift'), {
      method: 'POST',
      headers: { 'content-type': 'application/octet-stream' },
      body: policy,
    });
  assert.deepEqual(
    pathsOf(await read(await send('{"default": [{"type": "insecureAcceptAnything"}]}'))),
    names('99'),
  );
  for (const [refused, status] of [
    [await send('{"default": [{"type": "reject"}]}'), 400],
    [await send('{"default": [], "x": 1}'), 400],
    [await fetch(at('docker')), 404],
    [await fetch(at('pulp').replace('/team', '')), 400],
  ] as const) {
    assert.equal(refused.status, status);
    assert.equal((await read(refused)).errors?.length, 1);
  }
});
