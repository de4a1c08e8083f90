import assert from 'node:assert/strict';
import { BlockList, isIP } from 'node:net';
import { describe, test } from 'node:test';
import fc from 'fast-check';
import { loadConfig } from '../../src/config.ts';
import { isLookasideError } from '../../src/domain/errors.ts';
import { ROLES, type Role } from '../../src/domain/ports.ts';
import { type Caller, clientAddress, requireRole, sentToken } from '../../src/http/client.ts';
import { incoming } from './incoming.ts';

/** As the setting LOOKASIDE_TRUSTED_PROXIES gives them. */
function proxies(networks: string): BlockList {
  const environment = { LOOKASIDE_TRUSTED_PROXIES: networks };
  return loadConfig({ flags: {}, environment, workingFolder: '/', parseYaml: null }).config.trustedProxies;
}

const TRUSTED = proxies('10.0.0.0/8,fd00::/8');

describe('the address of a client', () => {
  const ADDRESSES: readonly (readonly [
    what: string,
    peer: string | undefined,
    forwarded: readonly string[],
    wanted: string,
  ])[] = [
    ['a direct client', '192.0.2.1', [], '192.0.2.1'],
    ['a direct client with a header of its own', '192.0.2.1', ['198.51.100.1'], '192.0.2.1'],
    ['a direct client that names a proxy', '192.0.2.1', ['198.51.100.1, 10.0.0.2'], '192.0.2.1'],
    ['a proxy without a header', '10.0.0.1', [], '10.0.0.1'],
    ['a client behind a proxy', '10.0.0.1', ['198.51.100.1'], '198.51.100.1'],
    ['a client behind two proxies', '10.0.0.1', ['198.51.100.1, 10.0.0.2'], '198.51.100.1'],
    ['a client that wrote the header first', '10.0.0.1', ['203.0.113.66, 198.51.100.1'], '198.51.100.1'],
    ['a client that named a proxy first', '10.0.0.1', ['10.9.9.9, 198.51.100.1, 10.0.0.2'], '198.51.100.1'],
    ['a header in two lines', '10.0.0.1', ['203.0.113.66', '198.51.100.1'], '198.51.100.1'],
    ['proxies all the way', '10.0.0.1', ['10.0.0.3, 10.0.0.2'], '10.0.0.3'],
    ['an IPv6 proxy and client', 'fd00::1', ['2001:db8::1'], '2001:db8::1'],
    ['an address in brackets', '10.0.0.1', ['[2001:db8::1]'], '2001:db8::1'],
    ['no blanks', '10.0.0.1', ['198.51.100.1,10.0.0.2'], '198.51.100.1'],
    ['tabs and blanks', '10.0.0.1', ['\t 198.51.100.1 \t'], '198.51.100.1'],
    ['an empty header', '10.0.0.1', [''], '10.0.0.1'],
    ['words', '10.0.0.1', ['unknown'], '10.0.0.1'],
    ['words before a proxy', '10.0.0.1', ['unknown, 10.0.0.2'], '10.0.0.2'],
    ['words before a client', '10.0.0.1', ['<script>, 198.51.100.1'], '198.51.100.1'],
    ['an address with a port', '10.0.0.1', ['198.51.100.1:4711'], '10.0.0.1'],
    ['a hole in the header', '10.0.0.1', ['198.51.100.1,,10.0.0.2'], '10.0.0.2'],
    ['a broken address', '10.0.0.1', ['198.51.100.999'], '10.0.0.1'],
    ['a mapped client', '::ffff:192.0.2.1', [], '192.0.2.1'],
    ['a mapped client in capitals', '::FFFF:192.0.2.1', [], '192.0.2.1'],
    ['a mapped proxy', '::ffff:10.0.0.1', ['198.51.100.1'], '198.51.100.1'],
    ['a mapped client behind a proxy', '10.0.0.1', ['::ffff:198.51.100.1'], '198.51.100.1'],
    ['a mapped proxy behind a proxy', '10.0.0.1', ['198.51.100.1, ::ffff:10.0.0.2'], '198.51.100.1'],
    ['a client of the link', 'fe80::1%eth0', ['198.51.100.1'], 'fe80::1%eth0'],
    ['a Unix socket', undefined, [], 'local'],
    ['a Unix socket with a header', undefined, ['198.51.100.1'], 'local'],
  ];
  for (const [what, peer, forwarded, wanted] of ADDRESSES) {
    test(`${what} is ${wanted}`, () => {
      const headers = forwarded.flatMap((value) => ['X-Forwarded-For', value]);
      const req = incoming({ headers, ...(peer === undefined ? {} : { remoteAddress: peer }) });
      assert.equal(clientAddress(req, TRUSTED), wanted);
    });
  }

  test('without trusted proxies no header is believed', () => {
    fc.assert(
      fc.property(fc.ipV4(), fc.string(), (peer, header) => {
        const req = incoming({ headers: ['X-Forwarded-For', header], remoteAddress: peer });
        assert.equal(clientAddress(req, new BlockList()), peer);
      }),
    );
  });

  test('whatever a header says, the answer is an address, and no trusted one where a client stands before it', () => {
    const hop = fc.oneof(
      fc.ipV4(),
      fc.ipV6(),
      fc.ipV6().map((address) => `[${address}]`),
      fc.ipV4().map((address) => `::ffff:${address}`),
      fc.ipV6().map((address) => `${address}%eth0`),
      fc.nat({ max: 255 }).map((last) => `10.0.0.${last}`),
      fc.string({ unit: 'binary', maxLength: 12 }),
    );
    fc.assert(
      fc.property(fc.array(hop, { maxLength: 6 }), (hops) => {
        const header = hops.join(', ');
        const req = incoming({ headers: ['X-Forwarded-For', header], remoteAddress: '10.0.0.1' });
        const address = clientAddress(req, TRUSTED);
        assert.notEqual(isIP(address), 0);
        const behind = incoming({
          headers: ['X-Forwarded-For', `${header}, 198.51.100.1`],
          remoteAddress: '10.0.0.1',
        });
        assert.equal(clientAddress(behind, TRUSTED), '198.51.100.1');
      }),
      { numRuns: 500 },
    );
  });
});

describe('the token that was sent', () => {
  const basic = (userAndPassword: string) => `Basic ${Buffer.from(userAndPassword).toString('base64')}`;

  const HEADERS: readonly (readonly [header: string | null, wanted: string | null])[] = [
    [null, null],
    ['', null],
    ['Bearer abc', 'abc'],
    ['bearer abc', 'abc'],
    ['BEARER   abc  ', 'abc'],
    ['Bearer', ''],
    ['Bearer abc def', 'abc'],
    ['Bearerabc', null],
    [basic('user:abc'), 'abc'],
    [basic('user:abc').replace('Basic', 'bAsIc '), 'abc'],
    [basic(':abc'), 'abc'],
    [basic('user:'), ''],
    [basic('user:a:b:c'), 'a:b:c'],
    [basic('user:p@ss wörd'), 'p@ss wörd'],
    [basic('abc'), null],
    [basic(''), null],
    ['Basic', null],
    ['Basic !!!', null],
    ['Digest username="joe"', null],
    ['Token abc', null],
    ['abc', null],
  ];
  for (const [header, wanted] of HEADERS) {
    const sent = header === null ? 'no header' : JSON.stringify(header);
    test(`in ${sent} is ${wanted === null ? 'none' : JSON.stringify(wanted)}`, () => {
      const req = incoming({ headers: header === null ? [] : ['Authorization', header] });
      assert.equal(sentToken(req), wanted);
    });
  }

  test('any header has an answer, and any password with any user comes through', () => {
    fc.assert(
      fc.property(fc.string({ unit: 'binary' }), (header) => {
        const token = sentToken(incoming({ headers: ['Authorization', header] }));
        assert.ok(token === null || typeof token === 'string');
      }),
    );
    const user = fc.string().map((text) => text.replaceAll(':', ''));
    fc.assert(
      fc.property(user, fc.string({ unit: 'grapheme' }), (name, password) => {
        assert.equal(
          sentToken(incoming({ headers: ['Authorization', basic(`${name}:${password}`)] })),
          password,
        );
      }),
    );
  });
});

describe('what a caller may do', () => {
  const holder = (role: Role): Caller => ({
    kind: 'token',
    token: {
      name: 'ci',
      role,
      createdAt: new Date(0),
      expiresAt: null,
      revokedAt: null,
      signer: null,
      disabledAt: null,
      lastUsedAt: null,
    },
  });

  test('the administrator on the socket may do everything', () => {
    requireRole({ kind: 'administrator' }, []);
    requireRole({ kind: 'administrator' }, ['reader']);
  });

  test('nobody known is asked for a token, even where no role would do', () => {
    for (const roles of [[], ROLES]) {
      assert.throws(
        () => requireRole({ kind: 'anonymous', sent: null }, roles),
        (error) => isLookasideError(error, 'UNAUTHORIZED') && /^a token is needed here/.test(error.message),
      );
    }
  });

  test('a token of another role is told the least role that would do', () => {
    const NEEDED: [roles: readonly Role[], role: string][] = [
      [['admin', 'auditor'], 'auditor'],
      [['uploader', 'admin'], 'uploader'],
      [['admin'], 'admin'],
    ];
    for (const [roles, role] of NEEDED) {
      assert.throws(
        () => requireRole(holder('reader'), roles),
        (error) => isLookasideError(error, 'DENIED') && error.message.endsWith(`--name NAME --role ${role}`),
      );
    }
  });

  test('whoever sent a token that is not in force is told so', () => {
    assert.throws(
      () => requireRole({ kind: 'anonymous', sent: { kind: 'unknown' } }, ROLES),
      (error) => {
        return isLookasideError(error, 'UNAUTHORIZED') && /is unknown or revoked/.test(error.message);
      },
    );
  });

  test('whoever sent a token that has expired is told when that was', () => {
    const expiresAt = new Date('2026-11-22T10:00:00.000Z');
    const token = {
      name: 'ci',
      role: 'admin',
      createdAt: new Date(0),
      expiresAt,
      revokedAt: null,
      signer: null,
      disabledAt: null,
      lastUsedAt: null,
    } as const;
    assert.throws(
      () => requireRole({ kind: 'anonymous', sent: { kind: 'expired', token } }, ROLES),
      (error) => {
        assert.ok(isLookasideError(error, 'UNAUTHORIZED'));
        assert.match(
          error.message,
          /^the token "ci" that was sent expired at 2026-11-22T10:00:00\.000Z; wanted one/,
        );
        assert.deepEqual(error.detail, { expiredAt: '2026-11-22T10:00:00.000Z' });
        return true;
      },
    );
  });

  for (const role of ROLES) {
    test(`the holder of the role ${role} may do what is for it, and nothing else`, () => {
      for (const wanted of ROLES) {
        if (wanted === role) requireRole(holder(role), [wanted]);
        else {
          assert.throws(
            () => requireRole(holder(role), [wanted]),
            (error) => {
              return isLookasideError(error, 'DENIED') && error.message.includes(`${role}; wanted ${wanted}`);
            },
          );
        }
      }
      requireRole(holder(role), ROLES);
      assert.throws(() => requireRole(holder(role), []));
    });
  }
});
