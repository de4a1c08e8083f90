// Key servers and Web Key Directories: what is asked, and what is not taken.
import assert from 'node:assert/strict';
import dns from 'node:dns';
import { once } from 'node:events';
import { createServer } from 'node:http';
import { syncBuiltinESMExports } from 'node:module';
import type { AddressInfo } from 'node:net';
import { after, before, test } from 'node:test';
import { isLookasideError } from '../../src/domain/errors.ts';
import { MAX_CERTIFICATES_BYTES } from '../../src/domain/limits.ts';
import { openKeySources } from '../../src/upstream/key-source.ts';

const asked: string[] = [];
let answer: { readonly status: number; readonly body: string | Buffer } = { status: 200, body: '' };
const server = createServer((request, response) => {
  asked.push(request.url ?? '');
  response.writeHead(answer.status, answer.status === 302 ? { Location: 'http://127.0.0.1:1/' } : {});
  response.end(answer.body);
});
const sources = openKeySources({ ca: null, hasProxies: false });
let url = '';

before(async () => {
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
});
after(async () => {
  await sources.close();
  server.close();
});

const key = { fingerprint: 'AB'.repeat(20), userIds: ['a <a@localhost.localdomain>'] };

test('a key server is asked for a fingerprint, and has the certificate or nothing', async () => {
  answer = { status: 200, body: 'armour' };
  const certificate = await sources.fetch({ kind: 'hkp', url: `${url}/keys` }, key);
  assert.equal(Buffer.from(certificate ?? '').toString(), 'armour');
  assert.deepEqual(asked, [`/keys/pks/lookup?op=get&options=mr&search=0x${key.fingerprint}`]);
  answer = { status: 404, body: 'no such key' };
  assert.equal(await sources.fetch({ kind: 'hkp', url }, key), null);
});

test('what redirects, fails, sends too much or cannot be reached is told with its place', async () => {
  const refused = async (at: string, message: RegExp) =>
    assert.rejects(
      sources.fetch({ kind: 'hkp', url: at }, key),
      (error) => isLookasideError(error, 'UPSTREAM_UNAVAILABLE') && message.test(error.message),
    );
  answer = { status: 302, body: '' };
  await refused(url, /pks\/lookup redirects, which is not followed$/);
  answer = { status: 500, body: '' };
  await refused(url, /pks\/lookup answers 500$/);
  answer = { status: 200, body: Buffer.alloc(MAX_CERTIFICATES_BYTES + 1) };
  await refused(url, /sends more than \d+ bytes$/);
  await refused('http://127.0.0.1:1', /cannot be reached \(ECONNREFUSED\)$/);
});

test("a user id leads to no address of our own network, and one without an address to nobody's", async () => {
  const before = asked.length;
  await assert.rejects(sources.fetch({ kind: 'wkd' }, key), { code: 'UPSTREAM_UNAVAILABLE' });
  assert.equal(await sources.fetch({ kind: 'wkd' }, { ...key, userIds: ['nobody'] }), null);
  assert.equal(asked.length, before);
});

test('a user id leads to no address of our own network either when its domain goes past the proxy', async () => {
  const { lookup } = dns;
  const { https_proxy, no_proxy } = process.env;
  const answered = (
    _host: string,
    options: dns.LookupOptions,
    callback: (...addresses: unknown[]) => void,
  ) =>
    options.all === true
      ? callback(null, [{ address: '127.0.0.1', family: 4 }])
      : callback(null, '127.0.0.1', 4);
  Object.assign(dns, { lookup: answered });
  syncBuiltinESMExports();
  Object.assign(process.env, { https_proxy: 'http://127.0.0.1:1', no_proxy: '*' });
  const past = openKeySources({ ca: null, hasProxies: true });
  try {
    await assert.rejects(
      past.fetch({ kind: 'wkd' }, { ...key, userIds: ['a <a@intranet.example>'] }),
      /has an address that is not public$/,
    );
  } finally {
    await past.close();
    Object.assign(dns, { lookup });
    syncBuiltinESMExports();
    for (const [name, value] of Object.entries({ https_proxy, no_proxy }))
      if (value === undefined) delete process.env[name];
      else process.env[name] = value;
  }
});
