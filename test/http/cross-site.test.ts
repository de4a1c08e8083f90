// What a browser sends for a page of another site: refused on every route there is, ahead of all that could change.
import assert from 'node:assert/strict';
import { METHODS } from 'node:http';
import { BlockList } from 'node:net';
import { after, before, describe, test } from 'node:test';
import type { Token } from '../../src/domain/ports.ts';
import { ROUTES, TREE_ROUTES } from '../../src/http/app.ts';
import { refuseCrossSite } from '../../src/http/cross-site.ts';
import type { RouteSpec } from '../../src/http/route.ts';
import type { HttpSettings, Services } from '../../src/http/services.ts';
import { eventually } from '../clients/eventually.ts';
import { incoming } from './incoming.ts';
import { type RawAnswer, requestRaw } from './raw-request.ts';
import { knownToken, type Served, serveOver } from './served.ts';
import { openUploadScene } from './upload-scene.ts';

const PROXIES = new BlockList();
PROXIES.addSubnet('10.0.0.0', 8, 'ipv4');

interface Case {
  readonly what: string;
  readonly method?: string;
  /** As lines, with Host. */
  readonly headers: readonly string[];
  readonly from?: string;
  readonly isEncrypted?: boolean;
  readonly publicUrl?: string;
}

function codeFor({ method = 'POST', headers, from, isEncrypted = false, publicUrl }: Case): string | null {
  const lines = headers.flatMap((line) => {
    const colon = line.indexOf(':');
    return [line.slice(0, colon), line.slice(colon + 1).trim()];
  });
  const req = incoming({
    method,
    headers: lines,
    isEncrypted,
    ...(from === undefined ? {} : { remoteAddress: from }),
  });
  const settings: Pick<HttpSettings, 'publicUrl' | 'trustedProxies'> = {
    publicUrl: publicUrl ?? null,
    trustedProxies: PROXIES,
  };
  return refuseCrossSite(req, settings)?.code ?? null;
}

const HOST = 'Host: sig.example';

/** Each with `Origin: https://sig.example` in place of ORIGIN. */
const OURS: readonly Case[] = [
  { what: 'no browser at all', headers: [HOST] },
  { what: 'a page of ours over TLS', headers: [HOST, 'Origin: https://sig.example'], isEncrypted: true },
  {
    what: 'a page of ours without TLS',
    headers: ['Host: sig.example:8000', 'Origin: http://sig.example:8000'],
  },
  {
    what: 'a page of ours, as every browser of today says it',
    headers: [HOST, 'Origin: https://sig.example', 'Sec-Fetch-Site: same-origin'],
    isEncrypted: true,
  },
  { what: 'a person at the address bar', headers: [HOST, 'Sec-Fetch-Site: none'] },
  { what: 'a proxy that ends TLS and keeps Host', headers: [HOST, 'Origin: https://sig.example'] },
  {
    what: 'the default port written out',
    headers: ['Host: sig.example:443', 'Origin: https://sig.example'],
    isEncrypted: true,
  },
  { what: 'the default port of http', headers: ['Host: sig.example:80', 'Origin: http://sig.example'] },
  { what: 'a Host in capitals', headers: ['Host: SIG.Example', 'Origin: https://sig.example'] },
  { what: 'an IPv6 address', headers: ['Host: [0:0:0:0:0:0:0:1]:8000', 'Origin: http://[::1]:8000'] },
  {
    what: 'the public URL, with a path and a port that need not be written',
    headers: ['Host: 10.1.2.3:8000', 'Origin: https://sig.example'],
    publicUrl: 'https://sig.example:443/sigstore',
  },
  {
    what: 'an address within while there is a public URL',
    headers: ['Host: 10.1.2.3:8000', 'Origin: http://10.1.2.3:8000'],
    publicUrl: 'https://sig.example',
  },
  {
    what: 'a trusted proxy that rewrites Host and tells the old one',
    headers: ['Host: backend:8000', 'X-Forwarded-Host: sig.example', 'Origin: https://sig.example'],
    from: '10.0.0.1',
  },
  {
    what: 'two trusted proxies one behind the other',
    headers: [
      'Host: backend:8000',
      'X-Forwarded-Host: sig.example, middle:81',
      'X-Forwarded-Proto: https, http',
      'Origin: https://sig.example',
    ],
    from: '::ffff:10.0.0.1',
  },
  { what: 'a read', method: 'GET', headers: [HOST, 'Origin: null', 'Sec-Fetch-Site: cross-site'] },
  { what: 'a read by HEAD', method: 'HEAD', headers: [HOST, 'Sec-Fetch-Site: cross-site'] },
];

const THEIRS: readonly Case[] = [
  { what: 'another site', headers: [HOST, 'Sec-Fetch-Site: cross-site'] },
  { what: 'another port or a neighbour of the same site', headers: [HOST, 'Sec-Fetch-Site: same-site'] },
  { what: 'a value that is not known', headers: [HOST, 'Sec-Fetch-Site: same-origin2'] },
  { what: 'an empty value', headers: [HOST, 'Sec-Fetch-Site:'] },
  {
    what: 'two values',
    headers: [HOST, 'Sec-Fetch-Site: same-origin', 'Sec-Fetch-Site: same-origin'],
  },
  { what: 'another origin', headers: [HOST, 'Origin: https://evil.example'] },
  { what: 'no origin to speak of', headers: [HOST, 'Origin: null'] },
  { what: 'an empty origin', headers: [HOST, 'Origin:'] },
  {
    what: 'another origin of the same site by its own word',
    headers: [HOST, 'Origin: https://evil.example', 'Sec-Fetch-Site: same-origin'],
  },
  {
    what: 'our origin from another site',
    headers: [HOST, 'Origin: https://sig.example', 'Sec-Fetch-Site: cross-site'],
  },
  { what: 'another port', headers: ['Host: sig.example:8000', 'Origin: http://sig.example:8001'] },
  { what: 'another port than the default one', headers: [HOST, 'Origin: https://sig.example:8443'] },
  {
    what: 'http on a host where we have TLS',
    headers: [HOST, 'Origin: http://sig.example'],
    isEncrypted: true,
  },
  {
    what: 'http on a host where the proxy has TLS',
    headers: [HOST, 'X-Forwarded-Proto: https', 'Origin: http://sig.example'],
    from: '10.0.0.1',
  },
  {
    what: 'a name that ends as ours',
    headers: [HOST, 'Origin: https://evil-sig.example'],
  },
  {
    what: 'a name that begins as ours',
    headers: [HOST, 'Origin: https://sig.example.evil.example'],
  },
  { what: 'ours as the user of another', headers: [HOST, 'Origin: https://sig.example@evil.example'] },
  { what: 'ours as the path of another', headers: [HOST, 'Origin: https://evil.example/sig.example'] },
  { what: 'an origin and more', headers: [HOST, 'Origin: https://sig.example/'] },
  { what: 'two origins', headers: [HOST, 'Origin: https://sig.example', 'Origin: https://sig.example'] },
  { what: 'an origin of another scheme', headers: [HOST, 'Origin: ftp://sig.example'] },
  { what: 'an extension of a browser', headers: [HOST, 'Origin: chrome-extension://abcdef'] },
  { what: 'our name alone', headers: [HOST, 'Origin: sig.example'] },
  { what: 'a Host that is not valid', headers: ['Host: evil.example/?', 'Origin: https://evil.example'] },
  { what: 'no Host', headers: ['Origin: http://sig.example'] },
  {
    what: 'a proxy that nobody trusts',
    headers: [HOST, 'X-Forwarded-Host: evil.example', 'Origin: https://evil.example'],
    from: '192.0.2.1',
  },
  {
    what: 'the address within of a public URL on another port',
    headers: ['Host: 10.1.2.3:8000', 'Origin: https://sig.example:8443'],
    publicUrl: 'https://sig.example/sigstore',
  },
  ...['PUT', 'DELETE', 'PATCH', 'OPTIONS', 'TRACE', 'PROPFIND'].map((method) => ({
    what: `another site by ${method}`,
    method,
    headers: [HOST, 'Sec-Fetch-Site: cross-site'],
  })),
];

describe('a request of a browser', () => {
  for (const each of OURS) {
    test(`goes on: ${each.what}`, () => assert.equal(codeFor(each), null));
  }
  for (const each of THEIRS) {
    test(`is refused: ${each.what}`, () => assert.equal(codeFor(each), 'CROSS_SITE'));
  }
});

/** How browsers show that a page of another site is behind a request, the older ones by one header alone. */
const OF_ANOTHER_SITE: readonly (readonly string[])[] = [
  ['Origin: https://evil.example', 'Sec-Fetch-Site: cross-site', 'Sec-Fetch-Mode: no-cors'],
  ['Origin: http://127.0.0.1:1', 'Sec-Fetch-Site: same-site', 'Sec-Fetch-Mode: navigate'],
  ['Sec-Fetch-Site: cross-site'],
  ['Origin: https://evil.example'],
  ['Origin: null'],
];

/** The Host that requestRaw() sends. */
const OF_OURS = ['Origin: http://lookaside.example', 'Sec-Fetch-Site: same-origin'];

interface Place {
  readonly target: string;
  /** The specs of the routes that answer there. */
  readonly specs: readonly RouteSpec[];
}

const IMAGE = `team/app@sha256=${'a'.repeat(64)}`;

/** A target of each kind: a new kind does not compile without one. */
const TREE_TARGETS: Readonly<Record<keyof typeof TREE_ROUTES, string>> = {
  signature: `/${IMAGE}/signature-1`,
  'no-signature': `/${IMAGE}/index.json`,
  'image-page': `/${IMAGE}/`,
  image: `/${IMAGE}`,
  'folder-page': '/team/',
  nothing: '/team/app',
};

const PLACES: readonly Place[] = [
  ...[...new Set(ROUTES.map(({ path }) => path ?? ''))].map((path) => ({
    target: path.replace(':kind', 'podman').replace(/[:*][a-z]+/gi, 'x'),
    specs: ROUTES.filter((spec) => spec.path === path),
  })),
  ...Object.entries(TREE_ROUTES).map(([kind, specs]) => ({
    target: TREE_TARGETS[kind as keyof typeof TREE_ROUTES], // the table has exactly these
    specs,
  })),
  { target: `/v2/app@sha256=${'a'.repeat(64)}`, specs: TREE_ROUTES.image },
  { target: '/api/v1/nothing', specs: [] },
  { target: '/', specs: TREE_ROUTES['folder-page'] },
  { target: '*', specs: [] },
];

const CHANGING = ['PUT', 'POST', 'DELETE', 'PATCH', 'OPTIONS'];

/** What the route takes: type and body. */
function contentOf(spec: RouteSpec | undefined): {
  readonly lines: readonly string[];
  readonly body: Buffer;
} {
  switch (spec?.body) {
    case undefined:
    case 'none':
      return { lines: [], body: Buffer.alloc(0) };
    case 'json':
      return { lines: ['Content-Type: application/json'], body: Buffer.from('{}') };
    case 'bytes':
    case 'stream':
      return { lines: ['Content-Type: text/plain'], body: Buffer.from('bytes') };
    case 'multipart': {
      const part = 'Content-Disposition: form-data; name="signature"; filename="x"';
      const body = Buffer.from(`--b\r\n${part}\r\n\r\nbytes\r\n--b--\r\n`);
      return { lines: ['Content-Type: multipart/form-data; boundary=b'], body };
    }
  }
}

/** Notes which service was asked, and has it fail. */
function askedInto<T extends object>(asked: string[], name: string): T {
  const service = new Proxy(
    {},
    {
      get: (_, method) => () => {
        asked.push(`${name}.${String(method)}`);
        throw new Error('only to see that it was asked');
      },
    },
  );
  return service as T; // every method of any service
}

const ROOT: Token = {
  name: 'root',
  role: 'admin',
  createdAt: new Date(0),
  expiresAt: null,
  revokedAt: null,
  signer: null,
  disabledAt: null,
  lastUsedAt: null,
};

describe('on every route', () => {
  const asked: string[] = [];
  let served: Served;
  let admin: string;

  before(async () => {
    const of = <Name extends keyof Services>(name: Name) =>
      askedInto<Services[Name] & object>(asked, name) as Services[Name];
    const tokens = askedInto<Services['tokens']>(asked, 'tokens');
    served = await serveOver({
      reader: of('reader'),
      browser: of('browser'),
      signatures: of('signatures'),
      judge: of('judge'),
      recorder: of('recorder'),
      keys: of('keys'),
      signers: of('signers'),
      upkeep: of('upkeep'),
      uploader: of('uploader'),
      importer: of('importer'),
      witness: of('witness'),
      pages: of('pages'),
      // a form with files wants a session, and the cookie below is one
      sessions: {
        ...of('sessions'),
        find: async () => ({ id: 1, token: ROOT, createdAt: new Date(0), expiresAt: new Date(1) }),
      },
      tokens: {
        create: tokens.create,
        list: tokens.list,
        revoke: tokens.revoke,
        find: async () => null,
        used: () => undefined,
        writeUses: async () => undefined,
        peek: (text) => (text === 'secret' ? knownToken(ROOT) : null),
      },
    });
    // as a browser remembers it
    admin = `Authorization: Basic ${Buffer.from('root:secret').toString('base64')}`;
  });
  after(() => served[Symbol.asyncDispose]());

  const send = (method: string, { target, specs }: Place, lines: readonly string[]): Promise<RawAnswer> => {
    const content = contentOf(specs.find(({ methods }) => methods.includes(method)));
    const sent = [admin, 'Cookie: lookaside_session=any', ...content.lines, ...lines];
    return requestRaw(served.port, `${method} ${target}`, sent, content.body);
  };
  const codeOf = ({ body }: RawAnswer): string => JSON.parse(body.toString()).errors[0].code;

  for (const place of PLACES) {
    test(`${place.target.replace(/[0-9a-f]{64}/, '…')} is changed by no other site`, async () => {
      for (const method of CHANGING) {
        for (const lines of OF_ANOTHER_SITE) {
          const answer = await send(method, place, [...lines, 'X-Request-Id: r-1']);
          assert.equal(answer.status, 403, `${method} with ${lines}`);
          assert.equal(codeOf(answer), 'CROSS_SITE');
          assert.equal(answer.headers.get('x-request-id'), 'r-1');
          assert.equal(answer.headers.get('access-control-allow-origin'), undefined);
          assert.equal(answer.headers.get('www-authenticate'), undefined, 'another site has nobody log in');
        }
      }
      assert.deepEqual(asked.splice(0), []);
    });

    const changing = place.specs.flatMap(({ methods }) => methods.filter((each) => CHANGING.includes(each)));
    for (const method of new Set(changing)) {
      test(`${method} ${place.target.replace(/[0-9a-f]{64}/, '…')} goes on by ours and without a browser`, async () => {
        for (const lines of [[], OF_OURS]) {
          const { status } = await send(method, place, lines);
          assert.ok(![401, 403, 404, 405, 415].includes(status), `${status} with ${lines}`);
        }
        asked.length = 0;
      });
    }
  }

  const takingJson = PLACES.flatMap(({ target, specs }) =>
    specs
      .filter(({ body }) => body === 'json')
      .flatMap(({ methods }) => methods.map((each) => [each, target])),
  );
  for (const [method, target] of takingJson) {
    test(`${method} ${target} takes JSON as application/json alone`, async () => {
      const status = async (lines: readonly string[], body: string) => {
        const sent = [admin, ...lines];
        return (await requestRaw(served.port, `${method} ${target}`, sent, Buffer.from(body))).status;
      };
      for (const type of [
        'text/plain',
        'application/x-www-form-urlencoded',
        'multipart/form-data; boundary=b',
        'application/jsonp',
        'application/json5; x=application/json',
        'text/plain; application/json',
        'text/json',
        '',
      ]) {
        assert.equal(await status([`Content-Type: ${type}`], '{}'), 415, type);
        if (type !== '') assert.equal(await status([`Content-Type: ${type}`], ''), 415, `${type}, empty`);
      }
      assert.equal(await status([], '{}'), 415, 'no type');
      assert.deepEqual(asked, []);
      for (const type of ['application/json', 'Application/JSON;charset=UTF-8', 'application/json ; x']) {
        assert.notEqual(await status([`Content-Type: ${type}`], '{'), 415, type);
      }
      assert.notEqual(await status([], ''), 415, 'neither type nor body');
    });
  }

  test('no method is forgotten', async () => {
    const [, ...others] = OF_ANOTHER_SITE[0] ?? [];
    for (const method of METHODS.filter((each) => !['GET', 'HEAD', 'CONNECT'].includes(each))) {
      const answer = await send(method, { target: '/api/v1/tokens', specs: [] }, others);
      assert.equal(answer.status, 403, method);
    }
    assert.deepEqual(asked, []);
  });

  test('a read is read: nobody sees the answer but who asked', async () => {
    const answer = await send('GET', { target: '/livez', specs: [] }, OF_ANOTHER_SITE[0] ?? []);
    assert.equal(answer.status, 200);
    assert.equal(answer.headers.get('access-control-allow-origin'), undefined);
    assert.equal(answer.headers.get('cross-origin-resource-policy'), 'same-origin');
  });
});

describe('an upload of another site', () => {
  for (const isLocal of [false, true]) {
    test(`is not read and not kept${isLocal ? ', on the Unix socket too, whatever leads there' : ''}`, async () => {
      await using scene = await openUploadScene({ isLocal, settings: { accessLog: 'json' } });
      const authorization = `Authorization: Basic ${Buffer.from('any:token-of-the-uploader').toString('base64')}`;
      for (const lines of OF_ANOTHER_SITE) {
        const answer = await requestRaw(scene.port, `PUT /${IMAGE}/signature-1`, [
          authorization,
          'Content-Length: 100000',
          ...lines,
        ]);
        assert.equal(answer.status, 403);
        assert.equal(JSON.parse(answer.body.toString()).errors[0].code, 'CROSS_SITE');
      }
      assert.equal(scene.uploader.arrived, 0);
      assert.equal(scene.uploader.stored.size, 0);
      const sent = await requestRaw(
        scene.port,
        `PUT /${IMAGE}/signature-1`,
        [authorization],
        Buffer.from('1'),
      );
      assert.equal(sent.status, 201);
      const wanted = [201, ...OF_ANOTHER_SITE.map(() => 403)];
      await eventually(async () => {
        assert.deepEqual(scene.accessLines.map((line) => JSON.parse(line).status).sort(), wanted);
      });
    });
  }
});
