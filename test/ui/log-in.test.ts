// The log-in: what a browser gets and keeps, what ends it, and which forms are taken.
import assert from 'node:assert/strict';
import { BlockList } from 'node:net';
import { describe, test } from 'node:test';
import { LookasideError } from '../../src/domain/errors.ts';
import type { LogIns } from '../../src/service/log-ins.ts';
import { FINGERPRINT, key, servePages } from './scene.ts';

const CLOSED = { keys: [key()], settings: { read: 'token' } } as const;
const KEY = `keys/${FINGERPRINT}`;
const formTokenIn = (text: string) => /name="form-token" value="([0-9a-f]{64})"/.exec(text)?.[1] ?? 'none';

describe('the log-in', () => {
  test('a token is typed once, and leads to the page that was wanted, with its query', async () => {
    await using pages = await servePages(CLOSED);
    const asked = await pages.get(`${KEY}?asked=x%20y&as=a%20key`);
    assert.equal(asked.status, 303);
    const form = await pages.get(`log-in?${(asked.headers.get('location') ?? '').split('?')[1]}`);
    assert.equal(form.status, 200);
    const next = /name="next" value="([^"]*)"/.exec(form.text)?.[1]?.replaceAll('&amp;', '&') ?? '';
    const { status, headers } = await pages.post('log-in', {
      token: `  ${pages.sessions.textOf('reader')}\n`,
      next,
    });
    assert.equal(status, 303);
    assert.equal(headers.get('location'), `./${KEY}?asked=x+y&as=a+key`);
    const given = headers.get('set-cookie') ?? '';
    assert.match(given, /^lookaside_session=[A-Za-z0-9_-]{43}; Max-Age=43200; HttpOnly; SameSite=Strict$/);
    const cookie = given.split(';', 1)[0] ?? '';
    const { text } = await pages.get(KEY, { cookie });
    assert.match(text, /Release &lt;release@example\.com&gt;/);
    assert.match(text, /the-reader/, 'the frame says who is logged in');
    assert.ok(!text.includes(pages.sessions.textOf('reader')) && !text.includes(cookie.split('=')[1] ?? ''));
    assert.ok(
      pages.sessions.hashes().every((hash) => /^[0-9a-f]{64}$/.test(hash)),
      'only hashes are stored',
    );
  });

  test('what is no page of this server is no place to go on to', async () => {
    await using pages = await servePages();
    const token = pages.sessions.textOf('reader');
    for (const next of [
      '//evil.example/',
      '/etc',
      '../../x',
      'a/../../b',
      'https://evil.example',
      'log-in',
      '',
    ]) {
      const { headers } = await pages.post('log-in', { token, next });
      const to = new URL(headers.get('location') ?? '', `${pages.url}/ui/log-in`);
      assert.ok(to.href.startsWith(`${pages.url}/ui/`), `${next}: ${to}`);
    }
  });

  test('the cookie is for TLS alone where the browser came by it, as far as the server can tell', async () => {
    const proxies = new BlockList();
    proxies.addAddress('127.0.0.1');
    await using behind = await servePages({ settings: { trustedProxies: proxies } });
    const ways: readonly (readonly [Record<string, string>, boolean])[] = [
      [{ 'x-forwarded-proto': 'https', origin: behind.url.replace('http:', 'https:') }, true],
      [{ origin: behind.url.replace('http:', 'https:') }, true],
      [{ origin: behind.url }, false],
    ];
    for (const [sent, isSecure] of ways) {
      const { headers } = await behind.post('log-in', { token: behind.sessions.textOf('admin') }, sent);
      assert.equal(/; Secure/.test(headers.get('set-cookie') ?? ''), isSecure, JSON.stringify(sent));
    }
  });

  test('a wrong, an expired and a disabled token are told apart, and no cookie is given', async () => {
    await using pages = await servePages(CLOSED);
    pages.sessions.change('auditor', { expiresAt: new Date('2026-01-01T00:00:00Z') });
    pages.sessions.change('uploader', { disabledAt: new Date('2026-01-01T00:00:00Z'), signer: 'ci' });
    pages.sessions.change('admin', { revokedAt: new Date('2026-01-01T00:00:00Z') });
    const cases = [
      ['<script>', /unknown or revoked/],
      [pages.sessions.textOf('admin'), /unknown or revoked/],
      [pages.sessions.textOf('auditor'), /expired at 2026-01-01/],
      [pages.sessions.textOf('uploader'), /lookaside signer enable ci/],
    ] as const;
    for (const [token, why] of cases) {
      const { status, headers, text } = await pages.post('log-in', { token, next: KEY });
      assert.equal(status, 401);
      assert.match(text, why);
      assert.equal(headers.get('set-cookie'), null);
      assert.match(text, new RegExp(`name="next" value="${KEY}"`), 'the next try leads there too');
      assert.ok(token === '<script>' || !text.includes(token), 'the token is not repeated');
    }
    assert.deepEqual(
      pages.sessions.refused.map(({ action, result, actor }) => [action, result, actor]),
      [
        ['log-in', 'UNAUTHORIZED', 'anonymous'],
        ['log-in', 'UNAUTHORIZED', 'anonymous'],
        ['log-in', 'UNAUTHORIZED', 'the-auditor'],
        ['log-in', 'UNAUTHORIZED', 'the-uploader'],
      ],
    );
  });

  test('after ten wrong tokens in a minute an address waits, and the right one still opens', async () => {
    await using pages = await servePages();
    for (let time = 0; time < 10; time += 1)
      assert.equal((await pages.post('log-in', { token: `wrong ${time}` })).status, 401);
    const slowed = await pages.post('log-in', { token: 'wrong again' });
    assert.equal(slowed.status, 429);
    assert.equal(slowed.headers.get('retry-after'), '60');
    assert.match(slowed.text, /try again in 60 seconds/);
    assert.equal(pages.sessions.refused.length, 10, 'who is slowed fills no record');
    assert.equal((await pages.post('log-in', { token: pages.sessions.textOf('admin') })).status, 303);
    pages.clock.pass(60_000);
    assert.equal((await pages.post('log-in', { token: 'wrong once more' })).status, 401);
  });

  test('sixty log-ins with one token an hour fill the record, and no more do', async () => {
    await using pages = await servePages();
    const token = pages.sessions.textOf('reader');
    for (let time = 0; time < 60; time += 1)
      assert.equal((await pages.post('log-in', { token })).status, 303);
    const slowed = await pages.post('log-in', { token });
    assert.equal(slowed.status, 429);
    assert.match(slowed.text, /stay logged in, or try again in 3600 seconds/);
    assert.equal(pages.sessions.events.length, 60);
    assert.equal((await pages.post('log-in', { token: pages.sessions.textOf('admin') })).status, 303);
    pages.clock.pass(3_600_000);
    assert.equal((await pages.post('log-in', { token })).status, 303);
  });

  test('log-ins and log-outs are audit events with the address, and never with the token', async () => {
    await using pages = await servePages();
    const { cookie } = await pages.logIn('auditor');
    const { text } = await pages.get('', { cookie });
    const out = await pages.post('log-out', { 'form-token': formTokenIn(text) }, { cookie });
    assert.equal(out.status, 303);
    assert.match(out.headers.get('set-cookie') ?? '', /^lookaside_session=; Max-Age=0;/);
    assert.deepEqual(
      pages.sessions.events.map(({ action, result, private: { actor, address } }) => [
        action,
        result,
        actor,
        address,
      ]),
      [
        ['log-in', 'created', 'the-auditor', '127.0.0.1'],
        ['log-out', 'removed', 'the-auditor', '127.0.0.1'],
      ],
    );
    assert.ok(!JSON.stringify(pages.sessions.events).includes(pages.sessions.textOf('auditor')));
    assert.match((await pages.get('log-in', { cookie })).text, /Your session is over/);
  });

  test('a form that is larger than any token is refused before it is read', async () => {
    await using pages = await servePages();
    const { status, headers } = await pages.post('log-in', { token: 'x'.repeat(5000) });
    assert.equal(status, 413);
    assert.match(headers.get('content-type') ?? '', /^text\/plain/);
  });
});

describe('a session', () => {
  test('ends after twelve hours, with its token, and with the token’s signer', async () => {
    const ends: readonly ((pages: Awaited<ReturnType<typeof servePages>>) => void)[] = [
      ({ clock }) => clock.pass(12 * 3_600_000),
      ({ sessions, clock }) => sessions.change('reader', { revokedAt: clock.now() }),
      ({ sessions, clock }) => sessions.change('reader', { expiresAt: clock.now() }),
      ({ sessions, clock }) => sessions.change('reader', { disabledAt: clock.now(), signer: 'ci' }),
    ];
    for (const end of ends) {
      await using pages = await servePages(CLOSED);
      const session = await pages.logIn('reader');
      pages.clock.pass(12 * 3_600_000 - 1);
      assert.equal((await pages.get('keys', session)).status, 200);
      end(pages);
      const { status, headers } = await pages.get('keys', session);
      assert.equal(status, 303);
      assert.equal(headers.get('location'), './log-in?next=keys');
      const { text } = await pages.get('log-in?next=keys', session);
      assert.match(text, /Your session is over/);
      assert.deepEqual(await pages.sessions.service.list(), []);
    }
  });

  test('lasts no longer than its token', async () => {
    await using pages = await servePages();
    pages.sessions.change('reader', { expiresAt: new Date(pages.clock.now().getTime() + 90_000) });
    const { headers } = await pages.post('log-in', { token: pages.sessions.textOf('reader') });
    assert.match(headers.get('set-cookie') ?? '', /Max-Age=90;/);
  });

  test('gives way to the one that the same browser begins after it', async () => {
    await using pages = await servePages();
    const { cookie } = await pages.logIn('reader');
    await pages.post('log-in', { token: pages.sessions.textOf('admin') }, { cookie });
    assert.deepEqual(
      (await pages.sessions.service.list()).map(({ token }) => token),
      ['the-admin'],
    );
  });

  test('a form without the token of its session changes nothing', async () => {
    await using pages = await servePages();
    const [own, other] = [await pages.logIn('reader'), await pages.logIn('reader')];
    const stranger = formTokenIn((await pages.get('', other)).text);
    for (const fields of [{}, { 'form-token': '' }, { 'form-token': stranger }] as Record<string, string>[]) {
      const { status, text } = await pages.post('log-out', fields, own);
      assert.equal(status, 403);
      assert.match(text, /not sent from a page of this session/);
    }
    const asText = await fetch(`${pages.url}/ui/log-out`, {
      method: 'POST',
      headers: { ...own, 'content-type': 'text/plain' },
      body: `form-token=${formTokenIn((await pages.get('', own)).text)}`,
    });
    assert.equal(asText.status, 403, 'nor one that another site may send unasked');
    assert.equal((await pages.sessions.service.list()).length, 2);
  });

  test('a form that a page of another site sends is refused, with or without a session', async () => {
    await using pages = await servePages();
    const session = await pages.logIn('reader');
    const fields = { 'form-token': formTokenIn((await pages.get('', session)).text) };
    for (const headers of [
      { ...session, 'sec-fetch-site': 'cross-site' },
      { ...session, origin: 'https://evil.example' },
      { ...session, origin: 'null' },
    ])
      assert.equal((await pages.post('log-out', fields, headers)).status, 403);
    const token = { token: pages.sessions.textOf('admin') };
    const { status, headers } = await pages.post('log-in', token, { origin: 'https://evil.example' });
    assert.equal(status, 403, 'nor does another site log anybody in');
    assert.equal(headers.get('set-cookie'), null);
    assert.equal((await pages.sessions.service.list()).length, 1);
  });

  test('a page that takes no form says so', async () => {
    await using pages = await servePages();
    const session = await pages.logIn('admin');
    const fields = { 'form-token': formTokenIn((await pages.get('', session)).text) };
    assert.equal((await pages.post('keys', fields, session)).status, 405);
  });

  test('a link on another site leads to the page, though the browser first keeps the cookie back', async () => {
    await using pages = await servePages(CLOSED);
    const session = await pages.logIn('reader');
    const from = { 'sec-fetch-site': 'cross-site' };
    const { status, text } = await pages.get(`${KEY}?as=a+key`, from);
    assert.equal(status, 200);
    const to = /http-equiv="refresh" content="0; url=\.\.\/([^"]*)"/.exec(text)?.[1] ?? '';
    assert.match(to, /^log-in\?next=/);
    const { headers } = await pages.get(to, session);
    assert.equal(headers.get('location'), `./${KEY}?as=a+key`);
  });
});

describe('the log-in through an OpenID provider', () => {
  const KEPT = 'A'.repeat(43);
  /** Providers that let in whoever comes with the code `good`; `ended` has what they were asked. */
  function providers(ended: { id: string; kept: string | null }[] = []): LogIns {
    return {
      providers: [{ id: 'sso', name: 'Example <b>' }],
      begin: async (id, next) => ({ url: `https://${id}.example/auth?a=1&next=${next}`, kept: KEPT }),
      async end(id, { answer, kept, ask }) {
        if (answer.get('code') === 'foreign') throw new LookasideError('UNAUTHORIZED', 'begun elsewhere');
        const succeed = ask();
        ended.push({ id, kept });
        if (answer.get('code') === 'good') succeed();
        if (answer.get('code') === 'good')
          return { text: 'S'.repeat(43), expiresAt: new Date(4e12), next: answer.get('next') ?? '' };
        throw new LookasideError('UNAUTHORIZED', 'the provider said no');
      },
    };
  }
  const settings = { publicUrl: 'https://signatures.example/sigs' };

  test('has a button, and leads there by a page, with a cookie for the way back alone', async () => {
    await using pages = await servePages({ settings, services: { logIns: providers() } });
    const { text } = await pages.get('log-in?next=keys');
    assert.match(text, /action="\.\/log-in\/sso"><input type="hidden" name="next" value="keys"/);
    assert.match(text, /Log in with Example &lt;b&gt;/);
    const origin = 'https://signatures.example';
    const away = await pages.post('log-in/sso', { next: 'keys' }, { origin });
    assert.equal(away.status, 200);
    assert.match(away.text, /content="0; url=https:\/\/sso\.example\/auth\?a=1&amp;next=keys"/);
    assert.equal(
      away.headers.get('set-cookie'),
      `lookaside_log_in=${KEPT}; Max-Age=600; Path=/sigs/ui/log-in/sso; HttpOnly; SameSite=Lax; Secure`,
    );
    assert.equal((await pages.post('log-in/sso', {}, { 'sec-fetch-site': 'cross-site' })).status, 403);
  });

  test('comes back to the page that was wanted, with a session, and forgets its way', async () => {
    const ended: { id: string; kept: string | null }[] = [];
    await using pages = await servePages({ settings, services: { logIns: providers(ended) } });
    const from = { 'sec-fetch-site': 'cross-site', cookie: `lookaside_log_in=${KEPT}` };
    const back = await pages.get('log-in/sso?code=good&next=keys', from);
    assert.equal(back.status, 200);
    assert.match(back.text, /content="0; url=\.\.\/keys"/);
    assert.deepEqual(ended, [{ id: 'sso', kept: KEPT }]);
    const [session, kept] = back.headers.getSetCookie();
    assert.match(
      session ?? '',
      /^lookaside_session=S{43}; Max-Age=\d+; HttpOnly; SameSite=Strict; Secure; Path=\/sigs\/ui$/,
    );
    assert.match(kept ?? '', /^lookaside_log_in=; Max-Age=0; Path=\/sigs\/ui\/log-in\/sso;/);
    for (const next of ['https://evil.example', '//evil.example', '../../x', 'log-in/sso']) {
      const { text } = await pages.get(`log-in/sso?code=good&next=${encodeURIComponent(next)}`, from);
      assert.match(text, /content="0; url=\.\.\/"/, next);
    }
  });

  test('says why it was refused, begins nothing for HEAD, and is slowed after thirty wrong answers, and by nothing else', async () => {
    const ended: { id: string; kept: string | null }[] = [];
    await using pages = await servePages({ settings, services: { logIns: providers(ended) } });
    const head = await fetch(`${pages.url}/ui/log-in/sso?code=good`, { method: 'HEAD', redirect: 'manual' });
    assert.equal(head.status, 303);
    assert.equal(head.headers.get('set-cookie'), null);
    assert.deepEqual(ended, []);
    const { status, text, headers } = await pages.get('log-in/sso?code=bad');
    assert.equal(status, 401);
    assert.match(text, /Not logged in.*The provider said no\./s);
    assert.equal(headers.get('set-cookie'), null);
    for (let n = 0; n < 31; n += 1) {
      assert.equal((await pages.get('log-in/sso?code=foreign')).status, 401, 'the provider is not asked');
      assert.equal((await pages.get('log-in/sso?code=good')).status, 200);
    }
    for (let n = 0; n < 10; n += 1) await pages.post('log-in', { token: `wrong ${n}` });
    assert.equal((await pages.get('log-in/sso?code=good')).status, 200, 'wrong tokens are counted apart');
    ended.length = 1;
    for (let n = 1; n < 30; n += 1) await pages.get('log-in/sso?code=bad');
    assert.equal((await pages.get('log-in/sso?code=bad')).status, 429);
    assert.equal((await pages.get('log-in/sso?code=good')).status, 429);
    assert.equal(ended.length, 30, 'the provider is asked no more');
  });

  test('ends the session that the browser had, where it sends its cookie', async () => {
    await using pages = await servePages({ settings, services: { logIns: providers() } });
    const { cookie } = await pages.logIn('reader');
    assert.equal((await pages.get('log-in/sso?code=bad', { cookie })).status, 401);
    assert.equal((await pages.sessions.service.list()).length, 1);
    assert.equal((await pages.get('log-in/sso?code=good', { cookie })).status, 200);
    assert.deepEqual(await pages.sessions.service.list(), []);
  });
});
