// The file of OpenID providers to log in through: what it may say, and whom its rules let in.
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { isLookasideError } from '../../src/domain/errors.ts';
import { identityOf, type LogInProvider, parseLogInProviders } from '../../src/domain/log-in-provider.ts';

const RULE = { role: 'reader', claims: { sub: 'anna' } };
const PROVIDER = { id: 'sso', issuer: 'https://sso.example.com', client_id: 'lookaside', roles: [RULE] };

function parse(value: unknown): readonly LogInProvider[] {
  return parseLogInProviders(value, (file) => `secret in ${file}`);
}

function refusal(value: unknown): string {
  try {
    parse(value);
  } catch (error) {
    assert.ok(isLookasideError(error, 'CONFIG_INVALID'), String(error));
    return error.message;
  }
  return assert.fail('it was taken');
}

describe('the file of providers to log in through', () => {
  test('names each with its rules; what may be left out has an ordinary value', () => {
    const [one, two] = parse({
      providers: [
        PROVIDER,
        {
          ...PROVIDER,
          id: 'other',
          name: 'Other',
          issuer: 'https://other.example/realms/a',
          client_secret_file: 'secret',
          scope: 'openid groups',
          roles: [{ role: 'uploader', signer: 'release', claims: { groups: 'release', verified: true } }],
        },
      ],
    });
    assert.deepEqual(one, {
      ...{ id: 'sso', name: 'sso.example.com', issuer: 'https://sso.example.com', clientId: 'lookaside' },
      ...{ clientSecret: null, scope: 'openid profile email', trustsEmail: false },
      roles: [{ role: 'reader', signer: null, claims: { sub: 'anna' } }],
    });
    assert.equal(two?.clientSecret, 'secret in secret');
    assert.deepEqual(two?.roles, [
      { role: 'uploader', signer: 'release', claims: { groups: 'release', verified: 'true' } },
    ]);
  });

  const wrong: readonly (readonly [what: string, value: unknown, said: RegExp])[] = [
    ['nothing', null, /the file has no fields; wanted providers/],
    ['no provider', { providers: [] }, /a list of 1 to 8/],
    [
      'an unknown field',
      { providers: [{ ...PROVIDER, client_secret: 'x' }] },
      /"client_secret", which is not known/,
    ],
    ['an id for a path', { providers: [{ ...PROVIDER, id: '../x' }] }, /id is "\.\.\/x"; wanted/],
    ['plain HTTP', { providers: [{ ...PROVIDER, issuer: 'http://sso.example.com' }] }, /is not an issuer/],
    ['no client', { providers: [{ ...PROVIDER, client_id: undefined }] }, /client_id is missing/],
    ['a scope without openid', { providers: [{ ...PROVIDER, scope: 'email' }] }, /openid among them/],
    ['no rule', { providers: [{ ...PROVIDER, roles: [] }] }, /nobody could log in/],
    [
      'a rule for everybody',
      { providers: [{ ...PROVIDER, roles: [{ role: 'admin' }] }] },
      /everybody of the provider/,
    ],
    [
      'a pattern for everybody',
      { providers: [{ ...PROVIDER, roles: [{ role: 'admin', claims: { sub: '**' } }] }] },
      /met by every value/,
    ],
    [
      'a pattern of signs that all addresses have',
      { providers: [{ ...PROVIDER, roles: [{ role: 'admin', claims: { email: '*@*' } }] }] },
      /"\*@\*", which all values of that kind meet/,
    ],
    [
      'a pattern of signs that all UUIDs have',
      { providers: [{ ...PROVIDER, roles: [{ role: 'admin', claims: { sub: '**-**' } }] }] },
      /which all values of that kind meet/,
    ],
    [
      'trust in addresses that is no yes or no',
      { providers: [{ ...PROVIDER, trust_email: 'false' }] },
      /trust_email is "false"; wanted true/,
    ],
    [
      'an unknown role',
      { providers: [{ ...PROVIDER, roles: [{ ...RULE, role: 'root' }] }] },
      /role is "root"/,
    ],
    [
      'a signer that could do more',
      { providers: [{ ...PROVIDER, roles: [{ ...RULE, role: 'admin', signer: 'ci' }] }] },
      /the role uploader/,
    ],
    [
      'one issuer twice',
      { providers: [PROVIDER, { ...PROVIDER, id: 'b' }] },
      /two providers have the issuer/,
    ],
    [
      'one id twice',
      { providers: [PROVIDER, { ...PROVIDER, issuer: 'https://b.example' }] },
      /two providers have the id/,
    ],
  ];
  for (const [what, value, said] of wrong) {
    test(`is refused with ${what}`, () => assert.match(refusal(value), said));
  }
});

describe('who logs in', () => {
  const [provider] = parse({
    providers: [
      {
        ...PROVIDER,
        roles: [
          { role: 'admin', claims: { groups: 'signature-admins' } },
          { role: 'uploader', signer: 'release', claims: { groups: 'release', amr: 'mfa' } },
          { role: 'auditor', claims: { email: '*@example.com' } },
        ],
      },
    ],
  });
  assert.ok(provider !== undefined);
  const roleOf = (all: Record<string, unknown>) => identityOf(provider, { subject: 'a1', all })?.role ?? null;

  test('gets the role of the first rule of which all claims fit, whole and by one member of a list', () => {
    assert.equal(roleOf({ groups: ['x', 'signature-admins', 'release'], amr: ['mfa'] }), 'admin');
    assert.equal(roleOf({ groups: ['release'], amr: ['pwd', 'mfa'] }), 'uploader');
    assert.equal(roleOf({ groups: ['release'] }), null);
    assert.equal(roleOf({ groups: 'not-signature-admins' }), null);
    assert.equal(roleOf({ groups: [['signature-admins']] }), null, 'a list in a list is no member');
    assert.equal(roleOf({ groups: { 0: 'signature-admins' } }), null);
    assert.equal(roleOf({}), null);
  });

  test('an address that the provider has not checked is nobody', () => {
    const email = 'anna@example.com';
    for (const email_verified of [true, 'true'])
      assert.equal(roleOf({ email, email_verified }), 'auditor', String(email_verified));
    const unchecked = [false, 'false', 'no', 0, 1, null, '', ['true']];
    for (const trustsEmail of [false, true])
      for (const email_verified of unchecked) {
        const identity = identityOf(
          { ...provider, trustsEmail },
          { subject: 'a1', all: { email, email_verified } },
        );
        assert.equal(identity, null, `${JSON.stringify(email_verified)}, trust_email: ${trustsEmail}`);
      }
    assert.equal(roleOf({ email }), null, 'the provider does not say that it has checked it');
    const trusted = identityOf({ ...provider, trustsEmail: true }, { subject: 'a1', all: { email } });
    assert.equal(trusted?.role, 'auditor', 'an administrator says so instead');
    assert.equal(roleOf({ email: 'anna@example.com.evil.example', email_verified: true }), null);
  });

  test('is named in events by issuer and subject, and for people as the provider calls him', () => {
    const of = (all: Record<string, unknown>) => identityOf(provider, { subject: 'a1', all });
    const identity = of({ groups: 'signature-admins', preferred_username: 'anna', email: 'x' });
    assert.equal(identity?.name, 'https://sso.example.com a1');
    assert.equal(identity?.shownName, 'anna');
    assert.equal(of({ groups: 'signature-admins', preferred_username: '\u202eevil' })?.shownName, 'a1');
    assert.equal(
      of({ groups: 'release', amr: 'mfa' })?.name,
      'release https://sso.example.com a1',
      'as uploads by a signer are named',
    );
  });
});
