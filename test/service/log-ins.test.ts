// Between the two halves of a log-in through an OpenID provider: who may end it, who comes out of it, and what is recorded.
import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { describe, test } from 'node:test';
import { isLookasideError, LookasideError } from '../../src/domain/errors.ts';
import { hasRuleFor, type LogInClient, type LogInProvider } from '../../src/domain/log-in-provider.ts';
import type { TokenClaims } from '../../src/domain/oidc.ts';
import { createLogIns } from '../../src/service/log-ins.ts';
import { createClock } from './hand-driven.ts';
import { sessionsInMemory } from './session-memory.ts';

const ask = () => () => undefined;
const FROM = { address: '192.0.2.1', requestId: null };
const SSO: LogInProvider = {
  ...{ id: 'sso', name: 'Example', issuer: 'https://sso.example.com', clientId: 'c', clientSecret: null },
  scope: 'openid',
  trustsEmail: false,
  roles: [
    { role: 'auditor', signer: null, claims: { groups: 'audit' } },
    { role: 'uploader', signer: 'gone', claims: { groups: 'gone' } },
    { role: 'uploader', signer: 'release', claims: { groups: 'release' } },
  ],
};
const OTHER: LogInProvider = { ...SSO, id: 'other', issuer: 'https://other.example.com' };

function scene(claims: TokenClaims | LookasideError = { subject: 'a1', all: { groups: ['audit'] } }) {
  const clock = createClock();
  const sessions = sessionsInMemory(clock, (what) => hasRuleFor(rules, what));
  const rules: LogInProvider[] = [SSO];
  const redeemed: string[] = [];
  const recorded: { readonly result: string; readonly who: string; readonly reason: string }[] = [];
  const client: LogInClient = {
    begin: async ({ issuer }, { state, redirectUri }) =>
      new URL(`${issuer}/auth?state=${state}&redirect_uri=${encodeURIComponent(redirectUri)}`),
    async redeem({ id }) {
      redeemed.push(id);
      if (claims instanceof LookasideError) throw claims;
      return claims;
    },
  };
  const logIns = createLogIns({
    providers: [SSO, OTHER],
    client,
    publicUrl: 'https://signatures.example.com/sigs',
    sessions: sessions.service,
    refusals: {
      record: async ({ result, reason }, { name }) =>
        void recorded.push({ result, who: name, reason: reason ?? '' }),
    },
    randomBytes,
    log: { warn: () => undefined },
  });
  /** As the provider leads back after begin(). */
  const comeBack = (url: string, parts: Record<string, string> = {}) =>
    new URLSearchParams({ code: 'x', state: new URL(url).searchParams.get('state') ?? '', ...parts });
  return { clock, rules, sessions, redeemed, recorded, logIns, comeBack };
}

describe('a log-in through a provider', () => {
  test('begins a session of whom the provider names, as issuer and subject, and goes on to the page that was wanted', async () => {
    const { logIns, comeBack, sessions, redeemed } = scene();
    const { url, kept } = await logIns.begin('sso', 'keys/AB?x=1');
    assert.equal(
      new URL(url).searchParams.get('redirect_uri'),
      'https://signatures.example.com/sigs/ui/log-in/sso',
    );
    const { text, next } = await logIns.end('sso', { answer: comeBack(url), kept, from: FROM, ask });
    assert.equal(next, 'keys/AB?x=1');
    assert.deepEqual(redeemed, ['sso']);
    const session = await sessions.service.find(text);
    assert.equal(session?.token.name, 'https://sso.example.com a1');
    assert.equal(session?.token.role, 'auditor');
    const [event] = sessions.events;
    assert.equal(event?.action, 'log-in');
  });

  const strangers: readonly (readonly [
    what: string,
    change: (
      url: string,
      kept: string,
      comeBack: ReturnType<typeof scene>['comeBack'],
    ) => {
      readonly id?: string;
      readonly answer?: URLSearchParams;
      readonly kept?: string | null;
    },
  ])[] = [
    ['a browser without the cookie', () => ({ kept: null })],
    ['another log-in of the same browser', (url, _, comeBack) => ({ answer: comeBack(url, { state: 'x' }) })],
    ['an answer without a state', () => ({ answer: new URLSearchParams({ code: 'x' }) })],
    [
      'an answer with two states',
      (url, _, comeBack) => {
        const answer = comeBack(url);
        answer.append('state', 'y');
        return { answer };
      },
    ],
    ['a cookie that is not ours', () => ({ kept: 'bm8' })],
    ['a cookie of other things', () => ({ kept: Buffer.from('["a","b","c","d"]').toString('base64url') })],
    ['a cookie that is endless', () => ({ kept: 'A'.repeat(5000) })],
  ];
  for (const [what, change] of strangers) {
    test(`is not ended by ${what}: no code is redeemed, and the refusal is recorded`, async () => {
      const { logIns, comeBack, redeemed, recorded, sessions } = scene();
      const { url, kept } = await logIns.begin('sso', '');
      const ending = { answer: comeBack(url), kept, from: FROM, ask, ...change(url, kept, comeBack) };
      const error = await logIns.end('sso', ending).catch((thrown: unknown) => thrown);
      assert.ok(isLookasideError(error, 'UNAUTHORIZED'), String(error));
      assert.match(
        error.message,
        /not begun in this browser.*https:\/\/signatures\.example\.com\/sigs\/ui\/log-in$/,
      );
      assert.deepEqual(redeemed, []);
      assert.deepEqual(
        recorded.map(({ result, who }) => [result, who]),
        [['UNAUTHORIZED', 'anonymous']],
      );
      assert.deepEqual(sessions.hashes(), []);
    });
  }

  const refused: readonly (readonly [string, TokenClaims | LookasideError, string, RegExp, string])[] = [
    [
      'no rule fits',
      { subject: 'b', all: {} },
      'DENIED',
      /no rule here gives you a role/,
      'https://sso.example.com b',
    ],
    [
      'the provider is away',
      new LookasideError('ISSUER_UNAVAILABLE', 'away'),
      'ISSUER_UNAVAILABLE',
      /away/,
      'anonymous',
    ],
    ['the token is wrong', new LookasideError('UNAUTHORIZED', 'wrong'), 'UNAUTHORIZED', /wrong/, 'anonymous'],
  ];
  for (const [what, claims, code, said, who] of refused) {
    test(`is refused and recorded when ${what}`, async () => {
      const { logIns, comeBack, recorded, sessions } = scene(claims);
      const { url, kept } = await logIns.begin('sso', '');
      await assert.rejects(logIns.end('sso', { answer: comeBack(url), kept, from: FROM, ask }), said);
      assert.deepEqual(
        recorded.map((one) => [one.result, one.who]),
        [[code, who]],
      );
      assert.deepEqual(sessions.hashes(), []);
    });
  }

  test('as a signer bears its name, whose grants bind what is uploaded', async () => {
    const { logIns, comeBack, sessions } = scene({ subject: 'a1', all: { groups: 'release' } });
    const { url, kept } = await logIns.begin('sso', '');
    const { text } = await logIns.end('sso', { answer: comeBack(url), kept, from: FROM, ask });
    const session = await sessions.service.find(text);
    assert.equal(session?.token.name, 'release https://sso.example.com a1');
    assert.deepEqual([session?.token.role, session?.token.signer], ['uploader', 'release']);
  });

  test('gives nothing any more once its provider is named no more', async () => {
    const { logIns, comeBack, sessions } = scene();
    const { url, kept } = await logIns.begin('other', '');
    const { text } = await logIns.end('other', { answer: comeBack(url), kept, from: FROM, ask });
    assert.equal(await sessions.service.find(text), null, 'the sessions know one issuer alone');
    assert.deepEqual(await sessions.service.list(), []);
  });

  test('gives nothing any more once no rule gives its role, and is ended by its number all the same', async () => {
    const { logIns, comeBack, sessions, rules } = scene();
    const { url, kept } = await logIns.begin('sso', '');
    const { text } = await logIns.end('sso', { answer: comeBack(url), kept, from: FROM, ask });
    const find = async () => (await sessions.service.find(text))?.token.role ?? null;
    assert.equal(await find(), 'auditor');
    rules[0] = { ...SSO, roles: [{ role: 'reader', signer: null, claims: { groups: 'audit' } }] };
    assert.equal(await find(), null, 'lowered');
    const whenBack = async () => {
      rules[0] = SSO;
      return sessions.service.list();
    };
    const [{ id } = { id: 0 }] = await whenBack();
    rules.pop();
    assert.equal(await find(), null, 'removed');
    await sessions.service.end(id, { name: 'root', ...FROM });
    rules.push(SSO);
    assert.equal(await find(), null, 'ended for good');
  });

  test('is counted ahead of the question to the provider, only with its cookie, and taken back once somebody is in', async () => {
    const steps: string[] = [];
    const counted = () => {
      steps.push('asked');
      return () => void steps.push('in');
    };
    const good = scene();
    const { url, kept } = await good.logIns.begin('sso', '');
    const end = (from: typeof good, answer: URLSearchParams, cookie: string) =>
      from.logIns
        .end('sso', { answer, kept: cookie, from: FROM, ask: counted })
        .catch(() => steps.push('refused'));
    await end(good, new URLSearchParams({ x: '' }), kept);
    assert.deepEqual(steps.splice(0), ['refused']);
    await end(good, good.comeBack(url), kept);
    assert.deepEqual(steps.splice(0), ['asked', 'in']);
    for (const error of ['UNAUTHORIZED', 'ISSUER_UNAVAILABLE'] as const) {
      const bad = scene(new LookasideError(error, 'no'));
      const begun = await bad.logIns.begin('sso', '');
      await end(bad, bad.comeBack(begun.url), begun.kept);
      assert.deepEqual(steps.splice(0), ['asked', 'refused'], error);
    }
  });

  test('is slowed after sixty of one person within an hour', async () => {
    const { logIns, comeBack } = scene();
    const once = async () => {
      const { url, kept } = await logIns.begin('sso', '');
      return logIns.end('sso', { answer: comeBack(url), kept, from: FROM, ask });
    };
    for (let n = 0; n < 60; n += 1) await once();
    await assert.rejects(once(), (error) => isLookasideError(error, 'SLOW_DOWN'));
  });

  test('by a name that no provider has is not found', async () => {
    const { logIns } = scene();
    await assert.rejects(logIns.begin('nobody', ''), (error) => isLookasideError(error, 'NOT_FOUND'));
  });
});
