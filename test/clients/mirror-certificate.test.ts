// A mirror whose upstream speaks TLS: its client certificate is a credential that only the site itself is shown, and nothing leads
// from TLS to plain HTTP.
import assert from 'node:assert/strict';
import { readFile } from 'node:fs/promises';
import { createServer as createPlainServer } from 'node:http';
import { createServer, type Server } from 'node:https';
import type { AddressInfo } from 'node:net';
import { type TestContext, test } from 'node:test';
import { createServer as createTlsServer, type TLSSocket } from 'node:tls';
import { isWholeSignature } from '../../src/openpgp/packets.ts';
import { openSignatureSite } from '../../src/upstream/signature-site.ts';
import { needs } from './available.ts';
import { makeServerCertificate } from './certificate.ts';
import { openTempFolder } from './temp-folder.ts';

test('a redirect to a named host takes no client certificate along', needs('openssl'), async (t) => {
  await using temp = await openTempFolder();
  const { authorityFile, certificateFile, keyFile } = await makeServerCertificate(temp.path, 'site');
  const [ca, cert, key] = await Promise.all(
    [authorityFile, certificateFile, keyFile].map((file) => readFile(file, 'utf8')),
  );
  const presented: string[] = [];
  const listen = async (name: string, location: string | null) => {
    const server: Server = createServer(
      { cert, key, requestCert: true, rejectUnauthorized: false },
      (req, res) => {
        const { subject } = (req.socket as TLSSocket).getPeerCertificate(); // of an HTTPS server
        presented.push(`${name}: ${subject === undefined ? 'none' : 'a certificate'}`);
        res.writeHead(location === null ? 404 : 307, location === null ? {} : { Location: location }).end();
      },
    );
    await new Promise<void>((resolve) => {
      server.listen(0, '127.0.0.1', resolve);
    });
    t.after(() => server.close().closeAllConnections());
    return `127.0.0.1:${(server.address() as AddressInfo).port}`; // of a TCP listener
  };
  const bucket = await listen('bucket', null);
  const site = await listen('site', `https://${bucket}/x`);
  const upstream = openSignatureSite({
    url: `https://${site}/sigstore`,
    missing: [404],
    redirects: [bucket],
    ca: ca ?? null,
    certificate: cert ?? null,
    key: key ?? null,
    authorization: null,
    isWhole: isWholeSignature,
    hasProxies: false,
  });
  for (const isFresh of [false, true]) {
    const fetched = await upstream.get('app@sha256=00/signature-1', {
      signal: AbortSignal.timeout(10_000),
      isFresh,
    });
    assert.equal(fetched.kind, 'missing');
  }
  await upstream.close();
  assert.deepEqual(presented, ['site: a certificate', 'bucket: none', 'site: a certificate', 'bucket: none']);
});

test(
  'a site that does not take up again the TLS sessions that it gave is asked without them',
  needs('openssl'),
  async (t) => {
    await using temp = await openTempFolder();
    const { authorityFile, certificateFile, keyFile } = await makeServerCertificate(temp.path, 'site');
    const [ca, cert, key] = await Promise.all(
      [authorityFile, certificateFile, keyFile].map((file) => readFile(file, 'utf8')),
    );
    let refused = 0;
    const server = createTlsServer({ cert, key }, (socket) => {
      socket.on('error', () => undefined);
      if (!socket.isSessionReused()) {
        socket.on('data', () =>
          socket.end('HTTP/1.1 404 x\r\nConnection: close\r\nContent-Length: 0\r\n\r\n'),
        );
        return;
      }
      refused += 1;
      socket.destroy();
    });
    await new Promise<void>((resolve) => {
      server.listen(0, '127.0.0.1', resolve);
    });
    t.after(() => server.close());
    const upstream = openSignatureSite({
      url: `https://localhost:${(server.address() as AddressInfo).port}/sigstore`, // of a TCP listener
      ...{ missing: [404], redirects: [], ca: ca ?? null, certificate: null, key: null, authorization: null },
      isWhole: isWholeSignature,
      hasProxies: false,
    });
    const get = (isFresh: boolean) =>
      upstream.get('app@sha256=00/signature-1', { signal: AbortSignal.timeout(10_000), isFresh });
    const answers: string[] = [];
    // until one was refused, and then as a walk goes on
    for (let tries = 0; refused === 0 && tries < 10; tries += 1) answers.push((await get(false)).kind);
    assert.equal(refused, 1);
    assert.equal(answers.pop(), 'fault');
    for (const isFresh of [true, true, false]) answers.push((await get(isFresh)).kind);
    await upstream.close();
    assert.deepEqual(new Set(answers), new Set(['missing']));
  },
);

test('a redirect from https to plain http is a fault, to a named host too', needs('openssl'), async (t) => {
  await using temp = await openTempFolder();
  const { authorityFile, certificateFile, keyFile } = await makeServerCertificate(temp.path, 'site');
  const [ca, cert, key] = await Promise.all(
    [authorityFile, certificateFile, keyFile].map((file) => readFile(file, 'utf8')),
  );
  const { site: plain, asked } = await openPlain(t);
  const server = createServer({ cert, key }, (_, res) => {
    res.writeHead(307, { Location: `http://${plain}/x` }).end();
  });
  await new Promise<void>((resolve) => {
    server.listen(0, '127.0.0.1', resolve);
  });
  t.after(() => server.close().closeAllConnections());
  const upstream = openSignatureSite({
    url: `https://127.0.0.1:${(server.address() as AddressInfo).port}/sigstore`, // of a TCP listener
    missing: [404],
    redirects: [plain],
    ca: ca ?? null,
    certificate: null,
    key: null,
    authorization: null,
    isWhole: isWholeSignature,
    hasProxies: false,
  });
  const fetched = await upstream.get('app@sha256=00/signature-1', {
    signal: AbortSignal.timeout(10_000),
    isFresh: false,
  });
  await upstream.close();
  assert.ok(fetched.kind === 'fault');
  assert.equal(fetched.fault, 'redirect');
  assert.match(fetched.message, /redirects to http:, and only https/);
  assert.equal(asked(), 0);
});

async function openPlain(t: TestContext) {
  let count = 0;
  const server = createPlainServer((_, res) => {
    count += 1;
    res.writeHead(404).end();
  });
  await new Promise<void>((resolve) => {
    server.listen(0, '127.0.0.1', resolve);
  });
  t.after(() => server.close().closeAllConnections());
  const { port } = server.address() as AddressInfo; // of a TCP listener
  return { site: `127.0.0.1:${port}`, asked: () => count };
}
