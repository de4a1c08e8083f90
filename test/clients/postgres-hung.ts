// A database that takes what it is sent and never answers: each route of a node, and how long it takes.
import assert from 'node:assert/strict';
import { ROUTES } from '../../src/http/app.ts';
import type { RouteSpec } from '../../src/http/route.ts';
import { folderOf } from '../store/lay.ts';
import { eventually } from './eventually.ts';
import type { Postgres } from './postgres.ts';
import { administer } from './postgres-node.ts';
import { openFar, type TroubledNode, timed } from './postgres-troubled.ts';
import { makeSigner, type Signer } from './signer.ts';
import { openTempFolder } from './temp-folder.ts';

interface Scene {
  readonly postgres: Postgres;
  readonly signer: Signer;
  openNode(url: string): Promise<TroubledNode>;
}

interface Asked {
  readonly method: string;
  readonly path: string;
  readonly body?: string | Uint8Array;
  readonly type?: string;
  /** In place of the administrator's token. */
  readonly headers?: Readonly<Record<string, string>>;
}

const SIGNED = folderOf('team/hung');
const json = (value: unknown) => ({ body: JSON.stringify(value), type: 'application/json' });

/** Nothing of these can be answered without the database. */
function asksOf(signer: Signer, cookie: string): readonly Asked[] {
  const get = (path: string): Asked => ({ method: 'GET', path });
  const post = (path: string, value: unknown): Asked => ({ method: 'POST', path, ...json(value) });
  const gone = (path: string): Asked => ({ method: 'DELETE', path });
  const bytes = signer.sign({ repository: 'team/hung', tag: 'v2' });
  const page = (path: string): Asked => ({ ...get(`/ui/${path}`), headers: { Cookie: cookie } });
  const api = '/api/v1';
  return [
    ...[
      get(`/${folderOf('team/never')}/signature-1`),
      get('/team/'),
      get(`${api}/signatures?repository=team/hung`),
    ],
    ...['keys', 'signers', 'grants', 'subjects', 'withdrawals', 'access-rules'].map((name) =>
      get(`${api}/${name}`),
    ),
    ...['audit', 'access', 'audit?format=jsonl', 'audit?by=actor', 'access?by=day'].map((name) =>
      get(`${api}/${name}`),
    ),
    ...[
      get(`${api}/events`),
      get(`${api}/keys/${signer.fingerprint}/revocation`),
      get(`/keys/${signer.fingerprint}.asc`),
    ],
    ...['overview', 'repositories', 'keys', 'audit', 'access', 'signers', 'tokens'].map(page),
    { method: 'POST', path: `${api}/keys`, body: makeSigner('eve').certificate },
    ...[gone(`${api}/keys/${signer.fingerprint}`), gone(`${api}/signers/carol`), gone(`${api}/tokens/ci`)],
    ...['retire', 'revoke'].map((act) =>
      post(`${api}/keys/${signer.fingerprint}/${act}`, { reason: 'lost' }),
    ),
    post(`${api}/tokens`, { name: 'late', role: 'reader' }),
    post(`${api}/signers`, { name: 'late', description: '' }),
    post(`${api}/signers/carol/disable`, null),
    post(`${api}/grants`, { signer: 'carol', repositories: ['team/**'], keys: [signer.fingerprint] }),
    post(`${api}/access-rules/plan`, { rules: { signers: [] }, prune: false }),
    post(`${api}/audit/forget`, { actor: 'somebody', before: '2026-01-01T00:00:00Z' }),
    gone(`/${SIGNED}/signature-1?reason=late`),
    { method: 'POST', path: `/${SIGNED}`, body: bytes },
  ];
}

const FILLED: Readonly<Record<string, string>> = {
  name: 'carol',
  id: '1',
  path: '0/000.p/1',
  image: `default/${SIGNED.replace('=', ':')}`,
  question: 'unsigned',
  subject: 'x',
  page: 'search?q=team',
  file: 'policy.json',
  release: '4.16.1',
  origin: 'log.example.com',
};

/** Each route once for each of its methods, right or wrong. */
function everyRoute(signer: Signer): readonly Asked[] {
  const filled = { ...FILLED, fingerprint: signer.fingerprint };
  const fill = (path: string) =>
    path.replace(/[:*](\w+)/g, (_, name: keyof typeof filled) => filled[name] ?? 'x');
  const asked = ({ path, methods, body }: RouteSpec) =>
    methods.flatMap((method): Asked[] => {
      if (path === null || method === 'HEAD') return [];
      return [{ method, path: fill(path), ...(body === 'json' ? json({}) : {}) }];
    });
  return ROUTES.flatMap(asked);
}

/** How many requests were asked, so many at once, of a database of their own, and the longest of the answers in milliseconds. */
export async function askWhileHung(
  { postgres, signer, openNode }: Scene,
  atOnce: number,
): Promise<{ readonly count: number; readonly longestMs: number }> {
  const url = await postgres.migratedDatabase();
  await using administration = await administer(url);
  await administration.keys.add(signer.certificate);
  const { text: token } = await administration.tokens.create({
    name: 'hung',
    role: 'admin',
    lifeMs: null,
  });
  await administration.signers.add({ name: 'carol', description: '' });
  await using temp = await openTempFolder();
  const { far, delay } = await openFar(postgres, url, temp.path);
  await using _far = far;
  const node = await openNode(far.url);
  let longestMs = 0;
  try {
    const at = `http://127.0.0.1:${node.port}`;
    const ask = async ({ method, path, body, type, headers }: Asked) => {
      const startMs = performance.now();
      const answer = await fetch(`${at}${path}`, {
        method,
        redirect: 'manual',
        headers: headers ?? {
          Authorization: `Bearer ${token}`,
          ...(type === undefined ? {} : { 'Content-Type': type }),
        },
        ...(body === undefined ? {} : { body }),
      }).catch((error) => Promise.reject(new Error(`${method} ${path}`, { cause: error })));
      // an answer that has begun can only be cut short
      const text = await answer.text().catch(String);
      longestMs = Math.max(longestMs, Math.round(performance.now() - startMs));
      return { what: `${method} ${path}: ${answer.status} ${text.slice(0, 300)}`, answer };
    };
    const body = new URLSearchParams({ token });
    const entered = await fetch(`${at}/ui/log-in`, { method: 'POST', body, redirect: 'manual' });
    const cookie = entered.headers.get('set-cookie')?.split(';')[0] ?? '';
    const uploaded = await node
      .uploads(token)
      .post(SIGNED, signer.sign({ repository: 'team/hung', tag: 'v1' }));
    assert.ok([200, 201].includes(uploaded.status));
    const hard = asksOf(signer, cookie);
    const all = [...hard, ...everyRoute(signer)];
    delay.isHole = true;
    const wrong: string[] = [];
    for (let from = 0; from < all.length; from += atOnce) {
      const answers = await Promise.all(all.slice(from, from + atOnce).map((asked) => timed(ask(asked))));
      for (const [position, { what, answer }] of answers.entries()) {
        const isHard = from + position < hard.length;
        const isRight =
          answer.status === 503
            ? answer.headers.get('retry-after') !== null
            : !isHard && answer.status !== 500;
        if (!isRight) wrong.push(what);
      }
    }
    assert.deepEqual(wrong, []);
    delay.isHole = false;
    await eventually(async () => {
      const { answer, what } = await ask({ method: 'GET', path: '/api/v1/audit' });
      assert.equal(answer.status, 200, what);
    });
    return { count: all.length, longestMs };
  } finally {
    delay.isHole = false;
    await node.close();
  }
}
