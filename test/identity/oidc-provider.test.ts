// Against a real OpenID provider, the npm package oidc-provider: its discovery, its keys, and JWTs that it issues.
import assert from 'node:assert/strict';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { test } from 'node:test';
import { exportJWK, generateKeyPair } from 'jose';
import Provider from 'oidc-provider';
import { isLookasideError } from '../../src/domain/errors.ts';
import { matchesSubject } from '../../src/domain/oidc.ts';
import { createOidcVerifier } from '../../src/identity/token-verifier.ts';
import { openIssuerDocuments } from '../../src/upstream/issuer-documents.ts';
import { AUDIENCE } from './issuer.ts';

test('tokens of a real OpenID provider are taken for their audience alone', async () => {
  const server = createServer();
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const { port } = server.address() as AddressInfo; // it listens on TCP
  const url = `http://127.0.0.1:${port}`;
  const { privateKey } = await generateKeyPair('RS256', { extractable: true });
  const provider = new Provider(url, {
    jwks: { keys: [{ ...(await exportJWK(privateKey)), kid: 'one', alg: 'RS256', use: 'sig' }] },
    clients: [
      {
        client_id: 'pipeline',
        client_secret: 'secret',
        grant_types: ['client_credentials'],
        redirect_uris: [],
        response_types: [],
      },
    ],
    features: {
      devInteractions: { enabled: false },
      clientCredentials: { enabled: true },
      resourceIndicators: {
        enabled: true,
        getResourceServerInfo: (_, audience) => ({
          scope: 'sign',
          audience,
          accessTokenFormat: 'jwt',
          accessTokenTTL: 300,
          jwt: { sign: { alg: 'RS256' } },
        }),
      },
    },
    extraTokenClaims: () => ({ sub: 'repo:team/app:ref:refs/heads/main', repository: 'team/app' }),
  });
  server.on('request', provider.callback());

  const tokenFor = async (audience: string): Promise<string> => {
    const answer = await fetch(`${url}/token`, {
      method: 'POST',
      headers: { Authorization: `Basic ${Buffer.from('pipeline:secret').toString('base64')}` },
      body: new URLSearchParams({ grant_type: 'client_credentials', scope: 'sign', resource: audience }),
    });
    assert.equal(answer.status, 200, await answer.clone().text());
    const { access_token: token } = (await answer.json()) as { access_token: string };
    return token;
  };

  const documents = openIssuerDocuments({ ca: null, hasProxies: false });
  try {
    const clock = { now: () => new Date(), monotonicMs: () => performance.now() };
    const verifier = createOidcVerifier({
      read: documents.read,
      clock,
      onFailure: (_, error) => assert.fail(error.message),
    });
    const claims = await verifier.verify(await tokenFor(AUDIENCE), url, [AUDIENCE]);
    assert.ok(matchesSubject({ claims: { repository: 'team/*' } }, claims.all));
    assert.ok(!matchesSubject({ claims: { repository: 'evil/*' } }, claims.all));
    await assert.rejects(verifier.verify(await tokenFor('https://other.example'), url, [AUDIENCE]), (error) =>
      isLookasideError(error, 'UNAUTHORIZED'),
    );
  } finally {
    await documents.close();
    server.closeAllConnections();
    await new Promise((resolve) => server.close(resolve));
  }
});
