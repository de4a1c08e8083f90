// The log-in through a real OpenID provider, the npm package oidc-provider, in a real browser.
import assert from 'node:assert/strict';
import { writeFile } from 'node:fs/promises';
import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import path from 'node:path';
import { after, before, describe, test } from 'node:test';
import { exportJWK, generateKeyPair } from 'jose';
import Provider from 'oidc-provider';
import { type Browser, chromium } from 'playwright-core';
import { administered } from './administered.ts';
import { needs, programFile } from './available.ts';
import { type LookasideServer, startServer } from './server.ts';
import { openTempFolder, type TempFolder } from './temp-folder.ts';

const GROUPS: Readonly<Record<string, readonly string[]>> = { anna: ['x', 'auditors'], bert: [] };

describe('a log-in through an OpenID provider, in a browser', needs('chromium'), () => {
  let temp: TempFolder;
  let data: string;
  let provider: Server;
  let server: LookasideServer;
  let browser: Browser;

  before(async () => {
    temp = await openTempFolder();
    data = path.join(temp.path, 'data');
    await administered(data, async () => undefined);
    provider = createServer();
    await new Promise<void>((resolve) => provider.listen(0, '127.0.0.1', resolve));
    const issuer = `http://127.0.0.1:${(provider.address() as AddressInfo).port}`; // it listens on TCP
    const port = await freePort();
    const url = `http://localhost:${port}`; // another site than the provider's, as browsers see it
    await openProvider(provider, issuer, `${url}/ui/log-in/sso`);
    const file = path.join(temp.path, 'log-in.yaml');
    await writeFile(path.join(temp.path, 'secret'), 'the secret of this server\n');
    await writeFile(
      file,
      `providers:
  - id: sso
    name: Example
    issuer: ${issuer}
    client_id: lookaside
    client_secret_file: secret
    scope: openid groups
    roles:
      - role: auditor
        claims: { groups: auditors }
`,
    );
    const environment = { LOOKASIDE_OIDC_LOGIN: file, LOOKASIDE_PUBLIC_URL: url };
    server = await startServer({ data, listen: `127.0.0.1:${port}`, settings: environment });
    browser = await chromium.launch({
      executablePath: programFile('chromium'),
      args: ['--no-sandbox'], // which root has not
      env: { PATH: process.env.PATH ?? '', HOME: temp.path },
    });
  });

  after(async () => {
    await browser?.close();
    await server?.[Symbol.asyncDispose]();
    provider?.closeAllConnections();
    await new Promise((resolve) => provider?.close(resolve));
    await temp?.[Symbol.asyncDispose]();
  });

  for (const javaScriptEnabled of [true, false]) {
    const how = javaScriptEnabled ? 'with' : 'without';
    test(`${how} a script, who has a role there sees what it allows; who has none is told so`, async () => {
      const context = await browser.newContext({ javaScriptEnabled });
      const page = await context.newPage();
      page.setDefaultTimeout(20_000);
      const url = server.url.replace('127.0.0.1', 'localhost');
      const enter = async (login: string) => {
        await page.getByRole('button', { name: 'Log in with Example' }).click();
        await page.locator('input[name=login]').fill(login);
        await page.locator('input[name=password]').fill('any');
        await page.locator('button[type=submit]').click();
        await page.locator('button[type=submit]').click(); // consent
      };
      await page.goto(`${url}/ui/audit?action=log-in`);
      await enter('anna');
      await page.getByRole('heading', { name: 'Audit', exact: true }).waitFor();
      assert.match(page.url(), /\/ui\/audit\?action=log-in$/, 'the page that was wanted');
      await page.getByText(/anna/).first().waitFor();
      const cookies = await context.cookies(`${url}/ui/`);
      const session = cookies.find(({ name }) => name === 'lookaside_session');
      assert.deepEqual([session?.sameSite, session?.httpOnly, session?.path], ['Strict', true, '/ui']);
      const listed = await administered(data, ({ tokens }) => tokens.sessions());
      assert.deepEqual(
        listed.map(({ shownName, role }) => [shownName, role]),
        [['anna', 'auditor']],
      );
      await administered(data, ({ tokens }) => tokens.endSession(listed[0]?.id ?? 0));
      await page.reload();
      await page.getByText('Your session is over').waitFor();
      await context.clearCookies({ domain: '127.0.0.1' });

      await page.goto(`${url}/ui/log-in`);
      await enter('bert');
      await page.getByRole('alert').getByText('no rule here gives you a role').waitFor();
      await context.close();
    });
  }
});

async function freePort(): Promise<number> {
  const held = createServer();
  await new Promise<void>((resolve) => held.listen(0, '127.0.0.1', resolve));
  const { port } = held.address() as AddressInfo; // it listens on TCP
  await new Promise((resolve) => held.close(resolve));
  return port;
}

async function openProvider(server: Server, issuer: string, redirectUri: string): Promise<void> {
  const { privateKey } = await generateKeyPair('RS256', { extractable: true });
  const provider = new Provider(issuer, {
    jwks: { keys: [{ ...(await exportJWK(privateKey)), kid: 'one', alg: 'RS256', use: 'sig' }] },
    clients: [
      {
        client_id: 'lookaside',
        client_secret: 'the secret of this server',
        redirect_uris: [redirectUri],
        grant_types: ['authorization_code'],
        response_types: ['code'],
      },
    ],
    cookies: { keys: ['of the provider alone'] },
    claims: { openid: ['sub'], groups: ['groups'] },
    conformIdTokenClaims: false,
    pkce: { required: () => true },
    features: { devInteractions: { enabled: true } },
    findAccount: async (_, id) => ({
      accountId: id,
      claims: async () => ({ sub: id, groups: GROUPS[id] ?? [] }),
    }),
  });
  server.on('request', provider.callback());
}
