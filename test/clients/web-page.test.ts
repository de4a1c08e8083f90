// The web pages in a real browser: what somebody does whose pull was refused, and what pages do to a browser. One server, one browser.
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { mkdir, writeFile } from 'node:fs/promises';
import { createRequire } from 'node:module';
import path from 'node:path';
import { after, before, describe, test } from 'node:test';
import { type Browser, type BrowserContextOptions, chromium, type Page } from 'playwright-core';
import { isFull } from '../faults/promise.ts';
import { folderOf } from '../store/lay.ts';
import { needs, programFile } from './available.ts';
import { makeDataDirectory } from './data-directory.ts';
import { eventually } from './eventually.ts';
import { createToken, type LookasideServer, startServer } from './server.ts';
import { addKey, makeSigner } from './signer.ts';
import { openTempFolder, type TempFolder } from './temp-folder.ts';

const AXE = readFileSync(createRequire(import.meta.url).resolve('axe-core/axe.min.js'), 'utf8');
interface AxeResults {
  readonly violations: readonly {
    readonly id: string;
    readonly nodes: readonly { readonly html: string }[];
  }[];
}

describe('the web pages in a browser', needs('chromium'), () => {
  const [alice, mallory] = [makeSigner('alice'), makeSigner('mallory')];
  const folder = folderOf('team/app');
  const image = folder.replace('=', ':');
  let temp: TempFolder;
  let server: LookasideServer;
  let browser: Browser;
  let token: string;

  before(async () => {
    temp = await openTempFolder();
    const [data, root] = [path.join(temp.path, 'data'), path.join(temp.path, 'root')];
    await mkdir(path.join(root, folder), { recursive: true });
    for (const [position, signer] of [alice, mallory].entries()) {
      const bytes = signer.sign({ repository: 'team/app', tag: 'v1' });
      await writeFile(path.join(root, folder, `signature-${position + 1}`), bytes);
    }
    await makeDataDirectory(data);
    await addKey(data, alice);
    token = await createToken(data, 'boss', 'admin');
    server = await startServer({ data, root });
    browser = await chromium.launch({
      executablePath: programFile('chromium'),
      args: ['--no-sandbox'], // which root has not
      env: { PATH: process.env.PATH ?? '', HOME: temp.path },
    });
    await eventually(async () => {
      const page = await (await fetch(`${server.url}/ui/images/${image}`)).text();
      assert.match(page, /unknown-key/, 'both are verified');
    });
  });

  after(async () => {
    await browser?.close();
    await server?.[Symbol.asyncDispose]();
    await temp?.[Symbol.asyncDispose]();
  });

  /** A page, and what the browser complained of: a policy that was broken, a script that failed. */
  const open = async (options: BrowserContextOptions, act: (page: Page) => Promise<void>) => {
    const context = await browser.newContext(options);
    const complaints: string[] = [];
    const page = await context.newPage();
    page.on('console', (message) => {
      if (message.type() === 'error' && !/status of 40[04]/.test(message.text()))
        complaints.push(message.text());
    });
    page.on('pageerror', (error) => complaints.push(String(error)));
    await act(page);
    assert.deepEqual(complaints, []);
    await context.close();
  };

  for (const javaScriptEnabled of [true, false]) {
    const how = javaScriptEnabled ? 'with' : 'without';

    test(`${how} a script, who was refused finds from the first page why, and what to change`, async () => {
      const permissions = javaScriptEnabled ? ['clipboard-read', 'clipboard-write'] : [];
      await open({ javaScriptEnabled, permissions, timezoneId: 'Asia/Kolkata' }, async (page) => {
        await page.goto(server.url);
        await page.getByRole('link', { name: 'search, keys and states' }).click();
        await page.waitForURL(/\/ui\//); // with its script, which listens to the keyboard
        const box = page.getByRole('searchbox', { name: /Reference, digest/ });
        if (javaScriptEnabled) await page.keyboard.press('/');
        else await box.focus();
        await page.keyboard.type('registry.example/team/app:v2');
        await page.keyboard.press('Enter');
        await page.getByText('no signature says this name').waitFor();
        await box.fill(image.slice(image.indexOf('@') + 1));
        await page.keyboard.press('Enter');
        await page.getByRole('heading', { name: 'signature-2' }).waitFor();
        assert.match(page.url(), /\/ui\/images\/team\/app@sha256:/);
        await page.getByText('It must be pulled under a name that a signature says').waitFor();
        await page.getByText('Claimed, not proven').waitFor();
        await page.getByText('Check it yourself').first().click();
        const lines = (await page.locator('details pre').first().innerText()).trim();
        assert.match(lines, /^curl .*\ncurl .*\nskopeo inspect .*\nskopeo standalone-verify /);
        if (javaScriptEnabled) {
          await page.getByRole('button', { name: 'Copy these lines' }).first().click();
          await page.getByText('Copied').waitFor();
          assert.equal(await page.evaluate('navigator.clipboard.readText()'), lines, 'each line as a line');
        }
        const [first] = await page.locator('time').allTextContents();
        assert.match(first ?? '', javaScriptEnabled ? /GMT\+5:30|IST/ : / UTC$/, 'local where a script can');
        await page.getByRole('link', { name: 'alice <alice@example.invalid>' }).click();
        await page.getByRole('heading', { name: 'What it signed' }).waitFor();
        const download = page.waitForEvent('download');
        await page.getByRole('link', { name: 'Download, armoured' }).click();
        assert.equal((await download).suggestedFilename(), `${alice.fingerprint}.asc`);
      });
    });
  }

  /** What axe finds wrong with the page that is shown; in the dark theme only colours can differ. */
  const faultsOf = async (page: Page): Promise<readonly string[]> => {
    await page.evaluate(AXE);
    const inLight = (await page.evaluate('axe.run(document, { resultTypes: ["violations"] })')) as AxeResults;
    await page.emulateMedia({ colorScheme: 'dark' });
    const inDark = (await page.evaluate('axe.run(document, { runOnly: ["color-contrast"] })')) as AxeResults;
    await page.emulateMedia({ colorScheme: 'light' });
    return [...inLight.violations, ...inDark.violations].flatMap(({ id, nodes }) =>
      nodes.map(({ html }) => `${id}: ${html.slice(0, 200)}`),
    );
  };

  /** Each in the smallest window. */
  const checkPages = async (page: Page, paths: readonly string[]) => {
    for (const below of paths) {
      await page.goto(`${server.url}/ui/${below}`);
      const over = await page.evaluate('document.documentElement.scrollWidth - innerWidth');
      assert.ok(Number(over) <= 0, `${below} is ${over} pixels wider than the window`);
      assert.deepEqual(await faultsOf(page), [], below);
    }
  };

  test('no page is wider than the smallest window or has a fault that axe finds, in either theme, and a filter hides what it does not find', async () => {
    const paths = [
      '',
      `images/${image}`,
      'set-up?registry=registry.example/team&trust=all',
      ...(isFull ? ['repositories/team/app', 'keys', `keys/${alice.fingerprint}`, 'search'] : []),
      ...(isFull ? ['search?q=nothing', 'check?image=registry.example/team/app:v1', 'nothing-here'] : []),
    ];
    await open({ colorScheme: 'light', viewport: { width: 360, height: 700 } }, async (page) => {
      await checkPages(page, paths);
      await page.goto(`${server.url}/ui/`);
      await page.getByLabel('Filter').fill('nothing like it');
      await page.getByText('No repository on this page holds that text').waitFor();
      assert.equal(await page.locator('#repositories tbody tr:visible').count(), 0);
      const box = await page.getByRole('link', { name: 'Log in' }).boundingBox();
      assert.ok(box !== null && box.x + box.width > 320, `the link to log in is at the right: ${box?.x}`);
    });
  });

  const logIn = async (page: Page) => {
    await page.goto(`${server.url}/ui/log-in`);
    await page.getByLabel('Token').fill(token.trim());
    await page.keyboard.press('Enter');
    await page.getByText('boss').first().waitFor();
  };

  test('an administrator sees what happened, a new event by itself, and its proof checked by the browser', async () => {
    const wanted = `/never/there@sha256=${'ab'.repeat(32)}/signature-1`;
    await fetch(`${server.url}${wanted}`);
    await open({}, async (page) => {
      await logIn(page);
      await page.goto(`${server.url}/ui/audit`);
      await page.getByText('Live: new rows appear here').waitFor();
      await page.getByRole('button', { name: 'Stop' }).click();
      await page.getByText('Stopped.').waitFor();
      await page.getByRole('button', { name: 'Follow' }).click();
      await page.getByText('Live: new rows appear here').waitFor();
      const headers = { authorization: `Bearer ${token.trim()}`, 'content-type': 'application/json' };
      const body = JSON.stringify({ name: 'made-meanwhile', role: 'reader' });
      await fetch(`${server.url}/api/v1/tokens`, { method: 'POST', headers, body });
      await page
        .getByRole('row', { name: /token-create.*made-meanwhile/ })
        .getByRole('link', { name: /^#/ })
        .click();
      await page.getByText('Checked in this browser: the leaf and its path give the root').waitFor();
      await page.goto(`${server.url}/ui/never-signed`);
      await page
        .getByRole('link', { name: /^never\/there/ })
        .first()
        .waitFor();
      const download = page.waitForEvent('download');
      await page.goto(`${server.url}/ui/audit?action=token-create`);
      await page.getByRole('link', { name: 'Export as CSV' }).click();
      assert.equal((await download).suggestedFilename(), 'audit.csv');
    });
  });

  test('pages for who is logged in fit the smallest window, and axe finds nothing, in either theme', async () => {
    const paths = [
      'overview',
      'audit',
      'access',
      ...(isFull ? ['audit?action=nope', 'audit/events/1', 'never-signed', 'mirrors', 'system'] : []),
      ...(isFull ? [`images/${image}`] : []),
    ];
    await open({ colorScheme: 'light', viewport: { width: 360, height: 700 } }, async (page) => {
      await logIn(page);
      await checkPages(page, paths);
      await page.goto(`${server.url}/ui/system`);
      const box = await page.locator('nav.main [aria-current]').boundingBox();
      assert.ok(box !== null && box.x >= 0 && box.x + box.width <= 360, `the open section shows: ${box?.x}`);
      // what lies behind an edge is hinted at there, in the row above the words
      const nav = page.locator('nav.main');
      const edges = async () => {
        const { x, y, width } = (await nav.boundingBox()) ?? assert.fail('there is no navigation');
        const clip = { y: y + 1, width: 4, height: 4 };
        const [left, right] = [x, x + width - 4];
        const shot = async (at: number) =>
          (await page.screenshot({ clip: { ...clip, x: at } })).toString('hex');
        return [await shot(left), await shot(right)] as const;
      };
      for (const colorScheme of ['light', 'dark'] as const) {
        await page.emulateMedia({ colorScheme });
        await page.evaluate("document.querySelector('nav.main').scrollTo({ left: 0 })");
        const [leftAtStart, rightAtStart] = await edges();
        await page.evaluate("document.querySelector('nav.main').scrollTo({ left: 9999 })");
        const [leftAtEnd, rightAtEnd] = await edges();
        assert.equal(leftAtStart, rightAtEnd, 'nothing is behind them');
        assert.notEqual(rightAtStart, rightAtEnd, `more is to the right, ${colorScheme}`);
        assert.notEqual(leftAtEnd, leftAtStart, `more is to the left, ${colorScheme}`);
      }
    });
  });

  // the last one: the key stays revoked
  test('an administrator revokes a key, is told ahead of it what nobody accepts any more, and sees that it is so', async () => {
    await open({}, async (page) => {
      await logIn(page);
      await page.goto(`${server.url}/ui/keys/${alice.fingerprint}`);
      await page.getByRole('link', { name: 'Revoke…' }).click();
      await page.getByText('1 signature of 1 image verified by it').waitFor();
      await page.getByText('1 image has no other verified signature').waitFor();
      await page.getByLabel('Reason, which is kept and shown').fill('its laptop was stolen');
      await page.getByRole('button', { name: 'Revoke it' }).click();
      await page.getByRole('heading', { name: 'The key is revoked' }).waitFor();
      await page.getByRole('link', { name: 'To the key' }).click();
      await page.getByText('here by boss: its laptop was stolen').waitFor();
      await page.goto(`${server.url}/ui/images/${image}`);
      await page.getByText('revoked', { exact: false }).first().waitFor();
      await page.goto(`${server.url}/ui/audit?action=key-revoke`);
      await page.getByRole('row', { name: /key-revoke/ }).waitFor();
    });
  });
});
