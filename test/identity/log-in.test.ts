// The authorization code flow against a provider that does what a test wants: what is sent, and which answers are refused.
import assert from 'node:assert/strict';
import { createHash, randomBytes } from 'node:crypto';
import { after, before, describe, test } from 'node:test';
import { isLookasideError } from '../../src/domain/errors.ts';
import type { LogInAttempt, LogInClient, LogInProvider } from '../../src/domain/log-in-provider.ts';
import { createLogInClient } from '../../src/identity/log-in-client.ts';
import { createOidcVerifier } from '../../src/identity/token-verifier.ts';
import { openIssuerDocuments } from '../../src/upstream/issuer-documents.ts';
import { DISCOVERY, json, KEYS, openIssuer, type TestIssuer } from './issuer.ts';

const CLIENT = 'lookaside';
const random = () => randomBytes(32).toString('base64url');

describe('a log-in through an OpenID provider', () => {
  const documents = openIssuerDocuments({ ca: null, hasProxies: false });
  let issuer: TestIssuer;
  let provider: LogInProvider;
  let client: LogInClient;
  /** Forms that were sent to the token endpoint, with the header of who asks. */
  const exchanged: { readonly form: URLSearchParams; readonly authorization: string }[] = [];
  let idToken: (nonce: string) => Promise<string>;
  let attempt: LogInAttempt;

  before(async () => {
    issuer = await openIssuer();
    const { url } = issuer;
    const roles = [{ role: 'reader', signer: null, claims: { sub: 'anna' } }] as const;
    const asked = { id: 'sso', name: 'Example', issuer: url, clientId: CLIENT, clientSecret: 'the secret+' };
    provider = { ...asked, scope: 'openid email', trustsEmail: false, roles };
    issuer.answers.set(DISCOVERY, (_, res) =>
      json(res, {
        issuer: url,
        jwks_uri: url + KEYS,
        authorization_endpoint: `${url}/authorize`,
        token_endpoint: `${url}/token`,
        authorization_response_iss_parameter_supported: true,
        id_token_signing_alg_values_supported: ['ES256'],
      }),
    );
    takeCodes();
    const clock = { now: () => new Date(), monotonicMs: () => performance.now() };
    const onFailure = () => undefined;
    const verifier = createOidcVerifier({ read: documents.read, clock, onFailure });
    client = createLogInClient({ ask: documents.ask, verifier, monotonicMs: clock.monotonicMs });
  });
  after(async () => {
    await documents.close();
    await issuer[Symbol.asyncDispose]();
  });

  function takeCodes(): void {
    issuer.answers.set('/token', (req, res) => {
      let body = '';
      req.on('data', (piece) => {
        body += piece;
      });
      req.on('end', async () => {
        exchanged.push({ form: new URLSearchParams(body), authorization: req.headers.authorization ?? '' });
        json(res, {
          access_token: 'access',
          token_type: 'Bearer',
          expires_in: 60,
          id_token: await idToken(attempt.nonce),
        });
      });
    });
  }

  function begin(): LogInAttempt {
    const redirectUri = 'https://signatures.example.com/ui/log-in/sso';
    attempt = { redirectUri, state: random(), nonce: random(), verifier: random() };
    idToken = (nonce) => issuer.token({ aud: CLIENT, sub: 'anna', nonce });
    return attempt;
  }

  const answer = (parts: Record<string, string> = {}) =>
    new URLSearchParams({ code: 'the-code', state: attempt.state, iss: issuer.url, ...parts });

  async function refusal(
    sent: URLSearchParams,
    code: 'UNAUTHORIZED' | 'ISSUER_UNAVAILABLE',
  ): Promise<string> {
    const error = await client.redeem(provider, attempt, sent).catch((thrown: unknown) => thrown);
    assert.ok(isLookasideError(error, code), String(error));
    return error.message;
  }

  test('sends the browser away with state, nonce and a challenge, and redeems the code with its verifier', async () => {
    begin();
    const { origin, pathname, searchParams } = await client.begin(provider, attempt);
    assert.equal(origin + pathname, `${issuer.url}/authorize`);
    assert.deepEqual(Object.fromEntries(searchParams), {
      response_type: 'code',
      client_id: CLIENT,
      redirect_uri: attempt.redirectUri,
      scope: 'openid email',
      state: attempt.state,
      nonce: attempt.nonce,
      code_challenge: createHash('sha256').update(attempt.verifier).digest('base64url'),
      code_challenge_method: 'S256',
    });
    const { subject } = await client.redeem(provider, attempt, answer());
    assert.equal(subject, 'anna');
    const { form, authorization } = exchanged.at(-1) ?? assert.fail('no code was sent');
    assert.equal(form.get('code'), 'the-code');
    assert.equal(form.get('code_verifier'), attempt.verifier);
    assert.equal(form.get('redirect_uri'), attempt.redirectUri);
    assert.match(authorization, /^Basic /);
    assert.equal(form.get('client_secret'), null);
  });

  const unsigned = (claims: Record<string, unknown>) =>
    [{ alg: 'none' }, claims]
      .map((part) => Buffer.from(JSON.stringify(part)).toString('base64url'))
      .join('.');
  const now = () => Math.floor(Date.now() / 1000);
  const tokens: readonly (readonly [what: string, token: (nonce: string) => Promise<string>])[] = [
    ['for another log-in', () => issuer.token({ aud: CLIENT, nonce: random() })],
    ['without a nonce', () => issuer.token({ aud: CLIENT })],
    ['for another client', (nonce) => issuer.token({ aud: 'other', nonce })],
    [
      'for several clients, issued to another',
      (nonce) => issuer.token({ aud: [CLIENT, 'x'], azp: 'x', nonce }),
    ],
    ['of another issuer', (nonce) => issuer.token({ aud: CLIENT, nonce, iss: 'https://evil.example' })],
    ['that has expired', (nonce) => issuer.token({ aud: CLIENT, nonce, exp: now() - 120, iat: now() - 300 })],
    ['of the future', (nonce) => issuer.token({ aud: CLIENT, nonce, iat: now() + 3600, nbf: now() + 3600 })],
    [
      'that nobody has signed',
      async (nonce) =>
        `${unsigned({ iss: issuer.url, aud: CLIENT, sub: 'anna', nonce, iat: now(), exp: now() + 300 })}.`,
    ],
    ['that is no token', async () => 'no token'],
  ];
  for (const [what, token] of tokens) {
    test(`is refused with a token ${what}`, async () => {
      begin();
      idToken = token;
      await refusal(answer(), 'UNAUTHORIZED');
    });
  }

  test('is refused with a token by a key that is not the provider’s', async () => {
    begin();
    await using stranger = await openIssuer();
    idToken = (nonce) =>
      stranger.token({ iss: issuer.url, aud: CLIENT, sub: 'anna', nonce }, { kid: 'key-1' });
    assert.match(await refusal(answer(), 'UNAUTHORIZED'), /has not signed it/);
  });

  const answers: readonly (readonly [what: string, parts: Record<string, string>, said: RegExp])[] = [
    ['of another provider', { iss: 'https://evil.example' }, /does not belong to this log-in/],
    ['for another log-in', { state: random() }, /does not belong to this log-in/],
    ['that was cancelled', { error: 'access_denied' }, /cancelled there/],
    ['that says what anybody can write', { error: '<b>x', error_description: 'call 555' }, /it says "<b>x"/],
  ];
  for (const [what, parts, said] of answers) {
    test(`is refused with an answer ${what}, and no code is redeemed`, async () => {
      begin();
      const before = exchanged.length;
      const message = await refusal(answer(parts), 'UNAUTHORIZED');
      assert.match(message, said);
      assert.doesNotMatch(message, /555/);
      assert.equal(exchanged.length, before);
    });
  }

  test('is refused when the provider promises to name itself in its answers, and one does not', async () => {
    begin();
    const sent = answer();
    sent.delete('iss');
    await refusal(sent, 'UNAUTHORIZED');
  });

  test('tells a code that was used from a client that the provider does not know', async () => {
    begin();
    const refuse = (status: number, error: string) =>
      issuer.answers.set('/token', (_, res) => {
        res.statusCode = status;
        json(res, { error });
      });
    refuse(400, 'invalid_grant');
    assert.match(await refusal(answer(), 'UNAUTHORIZED'), /used already, is too old/);
    refuse(401, 'invalid_client');
    assert.match(await refusal(answer(), 'ISSUER_UNAVAILABLE'), /compares client_id and client_secret_file/);
    issuer.answers.set('/token', (req) => void req.socket.destroy());
    assert.match(
      await refusal(answer(), 'ISSUER_UNAVAILABLE'),
      /cannot be asked: .*\/token cannot be reached/,
    );
    takeCodes();
    begin();
    assert.equal((await client.redeem(provider, attempt, answer())).subject, 'anna');
  });

  test('waits for a provider that is away, and goes on when it is back', async () => {
    let nowMs = 0;
    const verifier = { verify: () => assert.fail('no token was sent') };
    const waiting = createLogInClient({ ask: documents.ask, verifier, monotonicMs: () => nowMs });
    const whole = issuer.answers.get(DISCOVERY) ?? assert.fail();
    issuer.answers.set(DISCOVERY, (_, res) => res.writeHead(502).end());
    const away = async () => {
      const error = await waiting.begin(provider, begin()).catch((thrown: unknown) => thrown);
      assert.ok(isLookasideError(error, 'ISSUER_UNAVAILABLE') || isLookasideError(error, 'UNAUTHORIZED'));
    };
    await away();
    const count = issuer.asked.length;
    await away();
    assert.equal(issuer.asked.length, count, 'it is not asked again at once');
    issuer.answers.set(DISCOVERY, whole);
    nowMs += 6000;
    assert.equal((await waiting.begin(provider, begin())).origin, issuer.url);
  });

  test('asks no address that is not https, and none that another issuer names', async () => {
    const other = createLogInClient({
      ask: documents.ask,
      verifier: { verify: () => assert.fail('no token was sent') },
      monotonicMs: () => performance.now(),
    });
    const whole = issuer.answers.get(DISCOVERY) ?? assert.fail();
    issuer.answers.set(DISCOVERY, (_, res) => json(res, { issuer: 'https://evil.example' }));
    await assert.rejects(other.begin(provider, begin()));
    issuer.answers.set(DISCOVERY, whole);
  });
});
