// The log-in and the forms of the web pages in a real browser: with a script and without. One server, one browser.
import assert from 'node:assert/strict';
import { mkdir, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { after, before, describe, test } from 'node:test';
import { type Browser, type BrowserContextOptions, chromium, type Page } from 'playwright-core';
import { isFull, longTest } from '../faults/promise.ts';
import { folderOf } from '../store/lay.ts';
import { administered } from './administered.ts';
import { needs, programFile } from './available.ts';
import { endSessions } from './browser.ts';
import { type LookasideServer, startServer } from './server.ts';
import { addKey, makeSigner } from './signer.ts';
import { openTempFolder, type TempFolder } from './temp-folder.ts';

describe('who is logged in, in a browser', needs('chromium'), () => {
  const [alice, bob] = [makeSigner('alice'), makeSigner('bob')];
  const tokens: Record<string, string> = {};
  let temp: TempFolder;
  let data: string;
  let server: LookasideServer;
  let browser: Browser;

  before(async () => {
    temp = await openTempFolder();
    data = path.join(temp.path, 'data');
    await administered(data, async ({ tokens: made }) => {
      for (const [name, role] of [
        ['root', 'admin'],
        ['reader', 'reader'],
        ['passing', 'reader'],
        ['ci', 'uploader'],
      ] as const)
        tokens[name] = (await made.create({ name, role, lifeMs: null })).text;
    });
    await addKey(data, alice);
    server = await startServer({ data });
    browser = await chromium.launch({
      executablePath: programFile('chromium'),
      args: ['--no-sandbox'], // which root has not
      env: { PATH: process.env.PATH ?? '', HOME: temp.path },
    });
  });

  after(async () => {
    await browser?.close();
    await server?.[Symbol.asyncDispose]();
    await temp?.[Symbol.asyncDispose]();
  });

  /** A page, and what the browser complained of beside the refusals that are wanted. */
  const open = async (options: BrowserContextOptions, act: (page: Page) => Promise<void>) => {
    const context = await browser.newContext(options);
    const complaints: string[] = [];
    const page = await context.newPage();
    page.setDefaultTimeout(20_000);
    page.on('console', (message) => {
      if (message.type() === 'error' && !/status of 4\d\d/.test(message.text()))
        complaints.push(message.text());
    });
    page.on('pageerror', (error) => complaints.push(String(error)));
    await act(page);
    assert.deepEqual(complaints, []);
    await context.close();
  };

  /** Without the form, which one test is about. */
  const logIn = async (page: Page, name: string, below = '') => {
    const answer = await fetch(`${server.url}/ui/log-in`, {
      method: 'POST',
      body: new URLSearchParams({ token: tokens[name] ?? '' }),
      redirect: 'manual',
    });
    const value = /lookaside_session=([^;]+)/.exec(answer.headers.get('set-cookie') ?? '')?.[1] ?? '';
    await page.context().addCookies([
      {
        name: 'lookaside_session',
        value,
        domain: '127.0.0.1',
        path: '/ui',
        httpOnly: true,
        sameSite: 'Strict',
      },
    ]);
    await page.goto(`${server.url}/ui/${below}`);
    await page.getByRole('button', { name: 'Log out' }).waitFor();
  };

  for (const javaScriptEnabled of [true, false]) {
    const how = javaScriptEnabled ? 'with' : 'without';

    // a script changes nothing of these forms; that of an upload is another with a script
    const testOfForms = javaScriptEnabled ? longTest : test;

    testOfForms(
      `${how} a script, an administrator makes a token and revokes it, and is told what that means`,
      async () => {
        await open({ javaScriptEnabled }, async (page) => {
          await page.goto(`${server.url}/ui/tokens`);
          await page.getByLabel('Token').fill('not the token');
          await page.getByRole('button', { name: 'Log in' }).click();
          await page.getByRole('alert').getByText('Not logged in').waitFor();
          await page.getByLabel('Token').fill(tokens.root ?? '');
          await page.getByRole('button', { name: 'Log in' }).click();
          await page.getByRole('heading', { name: 'Tokens', exact: true }).waitFor();
          const name = `made-${how}`;
          await page.getByLabel('Name').fill(name);
          await page.getByLabel('Role').selectOption('auditor');
          await page.getByRole('button', { name: 'Make the token' }).click();
          const text = await page.locator('#token').innerText();
          assert.match(text.trim(), /^lookaside_[0-9a-f]{64}$/);
          const asked = { headers: { authorization: `Bearer ${text.trim()}` } };
          assert.equal((await fetch(`${server.url}/api/v1/tokens`, asked)).status, 200);
          await page.getByRole('link', { name: 'Tokens' }).first().click();
          await page.getByRole('link', { name: `Revoke ${name}` }).click();
          await page.getByText('It has never been used').or(page.getByText('It was last used')).waitFor();
          await page.getByText('0 open sessions of these pages end with it').waitFor();
          await page.getByRole('button', { name: 'Revoke it' }).click();
          await page.getByRole('status').getByText('The token opens nothing any more').waitFor();
          assert.equal((await fetch(`${server.url}/api/v1/tokens`, asked)).status, 401);
          await page.getByRole('button', { name: 'Log out' }).click();
          await page.getByRole('link', { name: 'Log in' }).waitFor();
          await page.goto(`${server.url}/ui/tokens`);
          await page.getByRole('heading', { name: 'Log in' }).waitFor();
        });
      },
    );

    testOfForms(
      `${how} a script, a signer gets a key and a grant, and loses them with what that means`,
      async () => {
        await open({ javaScriptEnabled }, async (page) => {
          await logIn(page, 'root');
          await page.goto(`${server.url}/ui/keys/add`);
          const file = {
            name: 'bob.gpg',
            mimeType: 'application/octet-stream',
            buffer: Buffer.from(bob.certificate),
          };
          await page.getByLabel('From a file').setInputFiles(file);
          await page.getByRole('button', { name: 'Add from the file' }).click();
          await page.getByRole('link', { name: 'bob <bob@example.invalid>' }).waitFor();
          await page.goto(`${server.url}/ui/signers`);
          await page.getByLabel('Name').fill(`pipeline-${how}`);
          await page.getByRole('button', { name: 'Add the signer' }).click();
          await page.getByLabel('Repositories').fill('team/*');
          await page.getByLabel(/bob/).check();
          await page.getByRole('button', { name: 'Add the grant' }).click();
          await page.getByText('The grant is in force').waitFor();
          await page.goto(`${server.url}/ui/keys/${bob.fingerprint}`);
          await page.getByRole('link', { name: 'Retire…' }).click();
          await page.getByText(`of the signers pipeline-${how}: they can upload nothing by it`).waitFor();
          await page.getByRole('button', { name: 'Retire it' }).click();
          await page.getByText('The key is retired').waitFor();
          await page.getByRole('link', { name: 'Remove…' }).click();
          await page.getByText('0 signatures stored here will no longer count as verified').waitFor();
          await page.getByRole('button', { name: 'Remove it' }).click();
          await page.getByText('The key is removed').waitFor();
          await page.goto(`${server.url}/ui/signers/pipeline-${how}/remove`);
          await page.getByText('Removed with it: 1 grant').waitFor();
          await page.getByRole('button', { name: 'Remove it' }).click();
          await page.getByText('The signer is gone').waitFor();
        });
      },
    );

    test(`${how} a script, a file is uploaded, and its receipt says where it is`, async () => {
      await open({ javaScriptEnabled }, async (page) => {
        await logIn(page, 'ci');
        await page.getByRole('link', { name: 'Upload' }).click();
        const named = (name: string, buffer: Buffer) => ({
          name,
          mimeType: 'application/octet-stream',
          buffer,
        });
        await page
          .getByLabel('Files', { exact: true })
          .setInputFiles([
            named('signature-1', alice.sign({ repository: `team/${how}`, tag: 'v1' })),
            named('other', Buffer.from('no signature')),
          ]);
        await page.getByRole('button', { name: 'Upload the files' }).click();
        const row = page.locator('#receipts tr', { hasText: 'signature-1' }).first();
        await row.getByText('stored').waitFor();
        await page.locator('#receipts tr', { hasText: 'other' }).getByText('refused').waitFor();
        await row.getByRole('link').first().click();
        await page.getByRole('heading', { name: 'signature-1' }).waitFor();
      });
    });
  }

  test('a folder is uploaded with all below it, and files that are dropped on the page', async () => {
    const staging = path.join(temp.path, 'staging');
    const [first, second] = [folderOf('team/first'), folderOf('team/second')];
    for (const [folder, repository] of [
      [first, 'team/first'],
      [second, 'team/second'],
    ] as const) {
      await mkdir(path.join(staging, folder), { recursive: true });
      await writeFile(path.join(staging, folder, 'signature-1'), alice.sign({ repository, tag: 'v1' }));
    }
    await writeFile(path.join(staging, 'notes.txt'), 'beside them');
    await open({}, async (page) => {
      await logIn(page, 'ci', 'upload');
      await page.getByLabel('A staging folder').setInputFiles(staging);
      await page.getByRole('button', { name: 'Upload the folder' }).click();
      await page.getByText('2 of 2 files sent, and 1 left out that are no signatures; 0 refused').waitFor();
      for (const folder of [first, second])
        assert.equal((await fetch(`${server.url}/${folder}/signature-1`)).status, 200);
      const bytes = alice.sign({ repository: 'team/dropped', tag: 'v1' }).toString('base64');
      const dropped = await page.evaluateHandle(
        `(() => {
          const bytes = Uint8Array.from(atob('${bytes}'), (one) => one.charCodeAt(0));
          const transfer = new DataTransfer();
          transfer.items.add(new File([bytes], 'signature-1'));
          return transfer;
        })()`,
      );
      await page.locator('form.drop').dispatchEvent('drop', { dataTransfer: dropped });
      await page.getByText('1 of 1 files sent; 0 refused').waitFor();
      assert.equal((await fetch(`${server.url}/${folderOf('team/dropped')}/signature-1`)).status, 200);
    });
  });

  test('a session that is over says so and leads back, and a role that is not enough is told', async () => {
    await open({}, async (page) => {
      await logIn(page, 'passing', 'tokens');
      await page.goto(`${server.url}/ui/upload`);
      await page.getByText('has the role reader, and this page is for admin or uploader').waitFor();
      await endSessions(data);
      await page.goto(`${server.url}/ui/tokens`);
      await page.getByText('Your session is over').waitFor();
      await page.getByLabel('Token').fill(tokens.passing ?? '');
      await page.getByRole('button', { name: 'Log in' }).click();
      await page.getByRole('heading', { name: 'Tokens', exact: true }).waitFor();
      await administered(data, ({ tokens: all }) => all.revoke('passing'));
      await page.reload();
      await page.getByText('Your session is over').waitFor();
      await page.getByLabel('Token').fill(tokens.passing ?? '');
      await page.getByRole('button', { name: 'Log in' }).click();
      await page.getByText('unknown or revoked').waitFor();
    });
  });

  test('no page of another site acts as who is logged in, and a link there leads in all the same', async () => {
    await open({}, async (page) => {
      await logIn(page, 'root');
      await page.route('http://other.example/**', (route) =>
        route.fulfill({
          contentType: 'text/html',
          body: `<form method="post" action="${server.url}/ui/tokens/reader/revoke"><button>Win</button></form><a href="${server.url}/ui/tokens">Tokens there</a>`,
        }),
      );
      await page.goto('http://other.example/');
      const answer = page.waitForResponse((one) => one.request().method() === 'POST');
      await page.getByRole('button', { name: 'Win' }).click();
      assert.equal((await answer).status(), 403);
      await page.goto('http://other.example/');
      await page.getByRole('link', { name: 'Tokens there' }).click();
      await page.getByRole('heading', { name: 'Tokens', exact: true }).waitFor();
      await page.goto(`${server.url}/ui/tokens/reader/revoke`);
      await page.evaluate(
        `document.querySelector('main input[name="form-token"]').value = '${'0'.repeat(64)}'`,
      );
      await page.getByRole('button', { name: 'Revoke it' }).click();
      await page.getByText('was not sent from a page of this session').waitFor();
    });
    const listed = await administered(data, ({ tokens: all }) => all.list());
    assert.equal(listed.find(({ name }) => name === 'reader')?.revokedAt, null);
  });

  test('no form is wider than the smallest window, in either theme', async () => {
    const paths = ['log-in', 'tokens', 'tokens/reader/revoke', 'signers', 'keys/add', 'upload'];
    for (const colorScheme of isFull ? (['light', 'dark'] as const) : (['light'] as const)) {
      await open({ colorScheme, viewport: { width: 360, height: 700 } }, async (page) => {
        await logIn(page, 'root');
        for (const below of paths) {
          await page.goto(`${server.url}/ui/${below}`);
          const over = await page.evaluate('document.documentElement.scrollWidth - innerWidth');
          assert.ok(Number(over) <= 0, `${below} is ${over} pixels wider than the window`);
        }
      });
    }
  });
});
