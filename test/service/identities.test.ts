import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { isLookasideError, LookasideError } from '../../src/domain/errors.ts';
import type { BoundSubject } from '../../src/domain/oidc.ts';
import { createIdentities } from '../../src/service/identities.ts';

const ISSUER = 'https://issuer.example';
const part = (value: unknown) => Buffer.from(JSON.stringify(value)).toString('base64url');
const tokenOf = (claims: object) => `${part({ alg: 'ES256' })}.${part(claims)}.c2ln`;

const bound = (
  signer: string,
  claims: Record<string, string>,
  disabledAt: Date | null = null,
): BoundSubject => ({
  subject: { id: 1, signer, issuer: ISSUER, claims, createdAt: new Date(0) },
  disabledAt,
});

function open(subjects: readonly BoundSubject[], audiences: readonly string[] = ['here']) {
  const asked: string[] = [];
  const identities = createIdentities({
    subjects: { ofIssuer: async (issuer) => (issuer === ISSUER ? subjects : []) },
    verifier: {
      async verify(untrusted, issuer, wanted) {
        asked.push(issuer);
        assert.deepEqual(wanted, audiences);
        const all = JSON.parse(Buffer.from(untrusted.split('.')[1] ?? '', 'base64url').toString('utf8'));
        if (all.away === true) throw new LookasideError('ISSUER_UNAVAILABLE', 'away');
        return { subject: all.sub, all };
      },
    },
    audiences: () => audiences,
  });
  const refused = async (token: string, message: RegExp) =>
    assert.rejects(identities.find(token), (error) => {
      assert.ok(isLookasideError(error, 'UNAUTHORIZED'), String(error));
      assert.match(error.message, message);
      assert.equal(error.detail?.oidc, true);
      return true;
    });
  return { identities, asked, refused };
}

const CLAIMS = { iss: ISSUER, sub: 'repo:team/app', repository: 'team/app' };

describe('an OIDC token', () => {
  test('is every signer whose subject it meets, named with the issuer and its subject', async () => {
    const { identities } = open([
      bound('ci', { repository: 'team/*' }),
      bound('ci', { sub: 'repo:team/app' }),
      bound('other', { repository: 'other/*' }),
      bound('gone', { repository: 'team/app' }, new Date(0)),
      bound('release', { sub: 'repo:team/*' }),
    ]);
    const tokens = await identities.find(tokenOf(CLAIMS));
    assert.deepEqual(
      tokens.map(({ name, signer, role }) => [name, signer, role]),
      [
        [`ci ${ISSUER} repo:team/app`, 'ci', 'uploader'],
        [`release ${ISSUER} repo:team/app`, 'release', 'uploader'],
      ],
    );
  });

  test('of an issuer that no signer names is refused, and that issuer is not asked', async () => {
    const { asked, refused } = open([bound('ci', { sub: '**x' })]);
    for (const iss of ['https://evil.example', 'http://169.254.169.254', `${ISSUER}/`, 'file:///etc/passwd'])
      await refused(tokenOf({ ...CLAIMS, iss }), /no signer here is bound to its issuer/);
    for (const token of [tokenOf({}), 'a.b.c']) await refused(token, /names no issuer/);
    await refused(tokenOf({ ...CLAIMS, x: 'x'.repeat(8192) }), /more than 8192 bytes/);
    assert.deepEqual(asked, []);
  });

  test('that meets no subject is refused without saying what would', async () => {
    const { refused } = open([bound('ci', { repository: 'team/secret-name' })]);
    await refused(
      tokenOf(CLAIMS),
      /^(?!.*secret-name).*no signer has a subject that the token of .* for "repo:team\/app" meets/,
    );
  });

  test('of a disabled signer is refused, and told that', async () => {
    const { refused } = open([bound('ci', { repository: 'team/app' }, new Date(0))]);
    await refused(tokenOf(CLAIMS), /the signer "ci", which is disabled; .*lookaside signer enable ci/);
  });

  test('is refused while nobody says for which audience it has to be', async () => {
    const { asked, refused } = open([bound('ci', { repository: 'team/app' })], []);
    await refused(tokenOf(CLAIMS), /LOOKASIDE_OIDC_AUDIENCE/);
    assert.deepEqual(asked, []);
  });

  test('waits while its issuer is away', async () => {
    const { identities } = open([bound('ci', { repository: 'team/app' })]);
    await assert.rejects(identities.find(tokenOf({ ...CLAIMS, away: true })), (error) =>
      isLookasideError(error, 'ISSUER_UNAVAILABLE'),
    );
  });
});
