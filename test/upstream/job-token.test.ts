import assert from 'node:assert/strict';
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { describe, test } from 'node:test';
import { type ErrorCode, isLookasideError } from '../../src/domain/errors.ts';
import { type JobTokenOrigin, openJobToken, type SentToken } from '../../src/upstream/job-token.ts';
import { createClock } from '../service/hand-driven.ts';

const part = (value: unknown) => Buffer.from(JSON.stringify(value)).toString('base64url');
const CLAIMS = { iss: 'https://issuer.example', sub: 'repo:team/app', aud: 'here', iat: 1000, exp: 1600 };
const tokenOf = (claims: object = {}) => `${part({ alg: 'ES256' })}.${part({ ...CLAIMS, ...claims })}.c2ln`;

/** As GitHub's: what it answers to each request in turn, the last again and again. */
async function openGithub(answers: readonly ((res: ServerResponse, at: number) => void)[]) {
  const asked: IncomingMessage[] = [];
  const server = createServer((req, res) => {
    asked.push(req);
    answers[Math.min(asked.length, answers.length) - 1]?.(res, asked.length);
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const { port } = server.address() as AddressInfo; // it listens on TCP
  return {
    asked,
    origin: {
      kind: 'github',
      url: `http://127.0.0.1:${port}/x//y?api-version=2.0`,
      secret: 's3cret',
    } as const,
    async [Symbol.asyncDispose]() {
      server.closeAllConnections();
      await new Promise((resolve) => server.close(resolve));
    },
  };
}

function open(origin: JobTokenOrigin) {
  const clock = createClock();
  const sentTokens: SentToken[] = [];
  const tokens = openJobToken({
    origin,
    audience: 'https://signatures.example.com',
    ca: null,
    hasProxies: false,
    monotonicMs: clock.monotonicMs,
    wait: async (ms) => clock.pass(ms),
    onToken: (sent) => void sentTokens.push(sent),
  });
  const refused = (code: ErrorCode, message: RegExp) =>
    assert.rejects(tokens.get(), (error) => {
      assert.ok(isLookasideError(error, code), String(error));
      assert.match(error.message, message);
      assert.doesNotMatch(error.message, /s3cret/);
      return true;
    });
  return { clock, sent: sentTokens, tokens, refused };
}

const gives = (claims: object) => (res: ServerResponse) =>
  void res.end(JSON.stringify({ value: tokenOf(claims) }));
const fails = (status: number) => (res: ServerResponse) => void res.writeHead(status).end('{}');

describe('the token of a job of GitHub Actions', () => {
  test('is asked for with the secret of the job, for the audience, and told without itself', async () => {
    await using github = await openGithub([gives({})]);
    const { tokens, sent } = open(github.origin);
    assert.deepEqual(await Promise.all([tokens.get(), tokens.get()]), [tokenOf(), tokenOf()]);
    const [request] = github.asked;
    assert.equal(request?.url, '/x//y?api-version=2.0&audience=https%3A%2F%2Fsignatures.example.com');
    assert.equal(request?.headers.authorization, 'Bearer s3cret');
    const expiresAt = new Date(1_600_000);
    assert.deepEqual(sent, [{ issuer: CLAIMS.iss, subject: CLAIMS.sub, audience: 'here', expiresAt }]);
    assert.equal(github.asked.length, 1);
  });

  test('is replaced a minute before its end, by the life that it names and not by the clock of the machine', async () => {
    await using github = await openGithub([(res, at) => gives({ sub: `job ${at}` })(res)]);
    const { clock, tokens, sent } = open(github.origin);
    await tokens.get();
    clock.pass(539_000);
    assert.equal(await tokens.get(), tokenOf({ sub: 'job 1' }));
    clock.pass(1000);
    assert.equal(await tokens.get(), tokenOf({ sub: 'job 2' }));
    assert.equal(sent.length, 2);
  });

  test('is asked for again when that may help, and not for ever', async () => {
    {
      await using github = await openGithub([fails(503), (res) => void res.destroy(), gives({})]);
      assert.equal(await open(github.origin).tokens.get(), tokenOf());
    }
    await using down = await openGithub([fails(500)]);
    await open(down.origin).refused('SERVER_UNREACHABLE', /gives this job no OIDC token: .* answers 500/);
    assert.equal(down.asked.length, 4);
    await using denied = await openGithub([fails(403)]);
    await open(denied.origin).refused(
      'SERVER_UNREACHABLE',
      /answers 403; see that the job has the permission id-token: write/,
    );
    assert.equal(denied.asked.length, 1);
    await using empty = await openGithub([fails(200)]);
    await open(empty.origin).refused('SERVER_UNREACHABLE', /answers without one/);
  });

  test('is not asked for where others could read the secret', async () => {
    await open({ kind: 'github', url: 'http://192.0.2.1/x', secret: 's3cret' }).refused(
      'CONFIG_INVALID',
      /begins with http:, and a secret is sent by https alone/,
    );
    await open({ kind: 'github', url: 'x', secret: 's3cret' }).refused(
      'CONFIG_INVALID',
      /which is not a URL/,
    );
  });
});

describe('the token of another job', () => {
  test('is that of the variable, which is told once', async () => {
    const { clock, tokens, sent } = open({
      kind: 'text',
      name: 'LOOKASIDE_ID_TOKEN',
      text: `${tokenOf({ aud: ['a', 'b'] })}\n`,
    });
    await tokens.get();
    clock.pass(86_400_000);
    await tokens.get();
    assert.deepEqual(
      sent.map(({ audience }) => audience),
      ['a, b'],
    );
  });

  test('is read from its file again each minute', async () => {
    let content = tokenOf({ sub: 'one' });
    const { clock, tokens, sent } = open({ kind: 'file', path: '/t', read: () => content });
    assert.equal(await tokens.get(), content);
    content = tokenOf({ sub: 'two' });
    assert.notEqual(await tokens.get(), content);
    clock.pass(60_000);
    assert.equal(await tokens.get(), content);
    assert.equal(sent.length, 2);
  });

  test('that is no token of OIDC is not sent', async () => {
    for (const text of ['', `lookaside_${'0'.repeat(64)}`, 'a.b.c', 'x y z'])
      await open({ kind: 'text', name: 'LOOKASIDE_ID_TOKEN', text }).refused(
        'CONFIG_INVALID',
        /LOOKASIDE_ID_TOKEN has no OIDC token/,
      );
  });
});
