// A small OpenID provider whose answers a test decides: discovery, keys, and tokens of any form.
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { exportJWK, generateKeyPair, type JWK, SignJWT } from 'jose';

type Members = Readonly<Record<string, unknown>>;

export interface TestIssuer extends AsyncDisposable {
  /** Without a slash at its end. */
  readonly url: string;
  /** Paths that were asked for, in their order. */
  readonly asked: readonly string[];
  /** What is answered instead, by path. */
  readonly answers: Map<string, (req: IncomingMessage, res: ServerResponse) => void>;
  /** The keys that it shows. */
  keys: JWK[];
  /** A token by the first key; claims and header replace the ordinary ones, undefined leaves one out. */
  token(claims?: Members, header?: Members): Promise<string>;
  /** Signs by another key from now on, which it shows too unless told. */
  rotate(options?: { readonly isShown?: boolean; readonly alg?: string }): Promise<void>;
}

export const AUDIENCE = 'https://signatures.example.com';
export const KEYS = '/keys';
export const DISCOVERY = '/.well-known/openid-configuration';

/** `nowMs`: by which its tokens are made, for five minutes. */
export async function openIssuer(nowMs: () => number = Date.now): Promise<TestIssuer> {
  const answers: TestIssuer['answers'] = new Map();
  const asked: string[] = [];
  let count = 0;
  const makeKey = async (alg: string) => {
    const pair = await generateKeyPair(alg, { extractable: true });
    count += 1;
    const kid = `key-${count}`;
    return { ...pair, alg, kid, jwk: { ...(await exportJWK(pair.publicKey)), kid, alg, use: 'sig' } };
  };
  let key = await makeKey('ES256');
  const server = createServer((req, res) => {
    const path = req.url ?? '';
    asked.push(path);
    const answer = answers.get(path);
    if (answer !== undefined) return answer(req, res);
    if (path === DISCOVERY) return json(res, { issuer: issuer.url, jwks_uri: issuer.url + KEYS });
    if (path === KEYS) return json(res, { keys: issuer.keys });
    res.writeHead(404).end();
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const { port } = server.address() as AddressInfo; // it listens on TCP
  const issuer: TestIssuer = {
    url: `http://127.0.0.1:${port}`,
    asked,
    answers,
    keys: [key.jwk],
    async token(claims = {}, header = {}) {
      const now = Math.floor(nowMs() / 1000);
      const ordinary = {
        iss: issuer.url,
        aud: AUDIENCE,
        sub: 'repo:team/app',
        iat: now,
        nbf: now,
        exp: now + 300,
      };
      const all = Object.entries({ ...ordinary, ...claims }).filter(([, value]) => value !== undefined);
      return new SignJWT(Object.fromEntries(all))
        .setProtectedHeader({ alg: key.alg, kid: key.kid, typ: 'JWT', ...header })
        .sign(key.privateKey);
    },
    async rotate({ isShown = true, alg = 'ES256' } = {}) {
      key = await makeKey(alg);
      if (isShown) issuer.keys = [...issuer.keys, key.jwk];
    },
    async [Symbol.asyncDispose]() {
      server.closeAllConnections();
      await new Promise((resolve) => server.close(resolve));
    },
  };
  return issuer;
}

export function json(res: ServerResponse, value: unknown): void {
  res.setHeader('Content-Type', 'application/json');
  res.end(JSON.stringify(value));
}
