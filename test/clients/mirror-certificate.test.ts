// The client certificate of a mirror is a credential: only the site itself is shown it.
import assert from 'node:assert/strict';
import { readFile } from 'node:fs/promises';
import { createServer, type Server } from 'node:https';
import type { AddressInfo } from 'node:net';
import { test } from 'node:test';
import type { TLSSocket } from 'node:tls';
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
