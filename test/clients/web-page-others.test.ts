// What comes from others, on the web pages in a real browser: a sync of a mirror whose upstream answers when the test says, and
// hostile texts wherever a page shows what strangers have written, and many images. One server, one browser.
import assert from 'node:assert/strict';
import type { ServerResponse } from 'node:http';
import path from 'node:path';
import { after, before, describe, test } from 'node:test';
import type { Browser, Page } from 'playwright-core';
import { count, isFull } from '../faults/promise.ts';
import { certificate, makeKey, message, SIGNED_AT } from '../openpgp/packet-writer.ts';
import { folderOf, layFile, sha256Hex } from '../store/lay.ts';
import { type HostileSite, missing, openHostileSite } from '../upstream/hostile-site.ts';
import { administered } from './administered.ts';
import { needs } from './available.ts';
import { endSessions, enter, faultsOf, inBrowser, SMALL, startBrowser, whatIsTooWide } from './browser.ts';
import { eventually } from './eventually.ts';
import { fillMany, LARGE, repositoryOf } from './many-images.ts';
import { isByNodes } from './served-by.ts';
import { type LookasideServer, runLookaside, startServer } from './server.ts';
import { addKey, makeSigner } from './signer.ts';
import { openTempFolder, type TempFolder } from './temp-folder.ts';

/** The tree of many images is scanned and judged in that time, also on a busy machine. */
const INDEXED_MS = 300_000;

const REPOSITORIES = ['base/one', 'base/two', 'base/three'] as const;

/** Elements, terminal sequences, letters from right to left with and without their controls, and no place to break a line. */
const HOSTILE = `\u202e\u2067שלום "><img src=x onerror="document.title='run'"><script>document.title='run'</script></td></table><style>*{display:none}</style>\u001b[31m\u0007 ${'W'.repeat(10_240)}`;
/** As in test/faults/hostile.test.ts; a page has lines and columns. */
const STEERING = /(?![\n\t])[\p{Cc}\p{Cf}\p{Zl}\p{Zp}]/u;
const LONG = `${'a'.repeat(110)}/${'b'.repeat(110)}`;

/** The image of the many that has a real signature; the others are unreadable once the server has judged their bytes. */
const SIGNED = 7;
// a database gets them one by one
const MANY = isByNodes
  ? { images: 1000, repositories: 199 }
  : { images: count(100_000, 1000), repositories: count(4999, 199) };

describe('what comes from others, in a browser', needs('chromium'), () => {
  const vendor = makeSigner('vendor');
  const [mallory, stolen] = [makeSigner('mallory'), makeSigner('stolen')];
  const key = makeKey('ed25519');
  const hostileKey = {
    name: 'hostile',
    fingerprint: key.fingerprint,
    certificate: certificate(key, { userId: HOSTILE.slice(0, 900) }),
    sign: (payload: Uint8Array) => message(key, payload, { at: SIGNED_AT }),
  };
  const hostileFolder = folderOf(LONG);
  const hostileImage = hostileFolder.replace('=', ':');
  const digest = hostileImage.slice(hostileImage.indexOf('@') + 1);
  const waiting: { readonly path: string; readonly res: ServerResponse }[] = [];
  let wake = (): void => undefined;
  const tokens: Record<string, string> = {};
  let temp: TempFolder;
  let data: string;
  let upstream: HostileSite;
  let server: LookasideServer;
  let browser: Browser;

  before(async () => {
    temp = await openTempFolder();
    data = path.join(temp.path, 'data');
    upstream = await openHostileSite((req, res) => {
      waiting.push({ path: req.url ?? '', res });
      wake();
    });
    await administered(data, async ({ tokens: made }) => {
      for (const role of ['admin', 'auditor'] as const)
        tokens[role] = (await made.create({ name: `the-${role}`, role, lifeMs: null })).text;
    });
    for (const one of [vendor, hostileKey, stolen]) await addKey(data, one);
    const root = path.join(temp.path, 'root');
    for (const [position, bytes] of [
      hostileKey.sign(
        hostileClaim(digest, `registry.example/${LONG}:${'t'.repeat(128)}`, HOSTILE.slice(0, 900)),
      ),
      hostileKey.sign(hostileClaim(digest, HOSTILE)),
      mallory.signPayload(hostileClaim(digest, HOSTILE)),
      Buffer.from(HOSTILE),
    ].entries())
      await layFile(root, `${hostileFolder}/signature-${position + 1}`, bytes);
    await layFile(
      root,
      `${folderOf('team/gone')}/signature-1`,
      stolen.sign({ repository: 'team/gone', tag: 'v1' }),
    );
    await fillMany({
      ...{ ...MANY, data, root, fingerprint: vendor.fingerprint },
      signed: (k, repository) =>
        k === SIGNED ? vendor.sign({ repository, manifest: `image ${k}`, tag: `v${k}` }) : null,
    });
    for (const name of ['partner', 'other']) {
      const args = ['--upstream', `${upstream.url}/${name}`, '--prefix', `/${name}`, '--data', data];
      assert.equal((await runLookaside(['mirror', 'add', name, ...args])).status, 0);
    }
    server = await startServer({ data, root });
    await eventually(async () => assert.equal(await indexState(server), 'ok'), INDEXED_MS);
    await administered(data, ({ keys }) =>
      keys.revoke(stolen.fingerprint, {
        reason: HOSTILE.replace(/[\p{Cc}\p{Cf}]/gu, '').slice(0, 400),
        withdraw: true,
        certificate: null,
      }),
    );
    const [ansi, plain] = [HOSTILE, HOSTILE.replace(/[^\x20-\x7e]/g, '')];
    for (const agent of [
      Buffer.from(ansi)
        .toString('latin1')
        .replace(/[^\x20-\xff]/g, ''),
      plain,
    ])
      for (const folder of [hostileFolder, folderOf(`${LONG.slice(0, 220)}/c`)])
        await fetch(`${server.url}/${folder}/signature-1`, {
          headers: { 'user-agent': agent.slice(0, 7000) },
        });
    browser = await startBrowser(temp.path);
  });

  after(async () => {
    await browser?.close();
    await server?.[Symbol.asyncDispose]();
    await upstream?.[Symbol.asyncDispose]();
    await temp?.[Symbol.asyncDispose]();
  });

  /** Lets the upstream answer all that it is asked about the repository: its one signature, if it is signed, and then the end. */
  async function release(repository: string, isSigned: boolean): Promise<void> {
    const folder = folderOf(repository);
    for (const number of isSigned ? [1, 2] : [1]) {
      const held = await heldFor(`/${folder}/signature-${number}`);
      if (isSigned && number === 1) held.end(vendor.sign({ repository, tag: 'v1' }));
      else held.writeHead(404).end();
    }
  }

  /** The answer that the server waits for. */
  async function heldFor(end: string): Promise<ServerResponse> {
    for (;;) {
      const position = waiting.findIndex((one) => decodeURIComponent(one.path).endsWith(end));
      const [held] = position === -1 ? [] : waiting.splice(position, 1);
      if (held !== undefined) return held.res;
      await new Promise<void>((resolve) => {
        wake = resolve;
      });
    }
  }

  async function judged(image: string): Promise<void> {
    await eventually(async () => {
      const page = await (await fetch(`${server.url}/ui/images/${image}`)).text();
      assert.match(page, /Proven: who signed it/, `${image} has its verdict`);
    }, INDEXED_MS);
  }

  const images = REPOSITORIES.map((repository) => folderOf(repository).replace('=', ':')).join('\n');

  test('it is started on the page, how far it has come appears by itself, and so does its end', async () => {
    await inBrowser(browser, {}, async (page) => {
      await enter(page, server, tokens.admin ?? '');
      await page.goto(`${server.url}/ui/mirrors`);
      const partner = page.getByRole('region', { name: 'partner' });
      const other = page.getByRole('region', { name: 'other' });
      await partner.getByText('Start a sync').click();
      await partner.getByLabel(/^Images, one a line/).fill(images);
      await partner.getByRole('button', { name: 'Start the sync' }).click();
      await partner.getByText('0 of 3 images').waitFor();
      // what somebody writes beside it stays, so nothing has loaded the page again
      await other.getByText('Start a sync').click();
      await other.getByLabel(/^Images, one a line/).fill('half a na');
      await page.evaluate('window.isStillTheSame = true');
      await release('base/one', true);
      await partner.getByText('1 of 3 images').waitFor();
      assert.equal(await partner.locator('progress').getAttribute('value'), '1');
      assert.equal(await partner.getByRole('button', { name: 'Start the sync' }).count(), 0);
      await release('base/two', false);
      await partner.getByText('2 of 3 images').waitFor();
      await release('base/three', false);
      await partner.getByText(/started .* by the-admin has ended/).waitFor();
      await partner.getByText('new 1, missing 2').waitFor();
      await partner.getByRole('link', { name: '1 image', exact: true }).waitFor();
      assert.equal(await page.evaluate('window.isStillTheSame'), true);
      assert.equal(await other.getByLabel(/^Images, one a line/).inputValue(), 'half a na');
      await partner.getByText('Start a sync').waitFor(); // the next one can be started
    });
  });

  test('without a script the page says to load it again; who may not start one sees how far it is', async () => {
    await inBrowser(browser, { javaScriptEnabled: false }, async (page) => {
      await enter(page, server, tokens.admin ?? '');
      await page.goto(`${server.url}/ui/mirrors`);
      const partner = page.getByRole('region', { name: 'partner' });
      await partner.getByText('Start a sync').click();
      await partner.getByLabel(/^Images, one a line/).fill(images);
      await partner.getByRole('button', { name: 'Start the sync' }).click();
      await page.getByText('Load this page again to see how far it has come').waitFor();
      await inBrowser(browser, {}, async (auditing) => {
        await enter(auditing, server, tokens.auditor ?? '');
        await auditing.goto(`${server.url}/ui/mirrors`);
        await auditing.getByText('0 of 3 images').waitFor();
        assert.equal(await auditing.getByText('Start a sync').count(), 0);
        // the session ends on the way: the page leads to the log-in by itself
        await endSessions(data);
        await auditing.getByText('Your session is over').waitFor();
      });
      for (const repository of REPOSITORIES) await release(repository, repository === 'base/one');
    });
  });

  test('among many images, a repository is found while its name is typed, and an image by its digest and by its tag', async () => {
    const last = MANY.repositories - 1;
    const repository = `many-${last % 50}/app-${last}`;
    await inBrowser(browser, { viewport: SMALL }, async (page) => {
      await page.goto(`${server.url}/ui/`);
      const rows = page.locator('#repositories tbody tr:not(.folder):visible');
      assert.equal(await rows.count(), 100, 'a page of them');
      assert.equal(await page.getByRole('link', { name: repository, exact: true }).count(), 0);
      await page.evaluate('window.isStillTheSame = true');
      let isFirst = true;
      await page.route(/[?&]filter=/, async (route) => {
        if (isFirst) await route.fulfill({ status: 429, body: 'too many requests' });
        else await route.continue();
        isFirst = false;
      });
      await page.getByLabel('Filter').pressSequentially(`APP-${last}`);
      await page.getByRole('link', { name: repository, exact: true }).waitFor();
      assert.equal(await rows.count(), 1);
      await page.getByLabel('Filter').fill('');
      await rows.nth(99).waitFor();
      await page.getByLabel('Filter').fill('no such name');
      await page.getByText('No repository here holds that text').waitFor();
      assert.equal(await page.evaluate('window.isStillTheSame'), true);
      assert.equal(
        await page.locator('[aria-label="Filter"], input[name=filter]').inputValue(),
        'no such name',
      );

      await page.goto(`${server.url}/ui/repositories/${LARGE}`);
      assert.equal(await page.locator('main tbody tr').count(), 100);
      assert.equal(await whatIsTooWide(page), null);
      const [first] = await page.locator('main tbody a').allTextContents();
      await page.getByRole('link', { name: 'Older signatures' }).click();
      await page.waitForURL(/cursor=/);
      const further = await page.locator('main tbody a').allTextContents();
      assert.equal(further.length, 100);
      assert.ok(!further.includes(first ?? ''));

      const signed = `sha256:${sha256Hex(Buffer.from(`image ${SIGNED}`))}`;
      await judged(`${repositoryOf(SIGNED, MANY)}@${signed}`); // a page that is loaded before does not change
      const box = page.getByRole('searchbox', { name: /Reference, digest/ });
      await box.fill(signed);
      await page.keyboard.press('Enter');
      await page.getByRole('heading', { name: 'signature-1' }).waitFor();
      await page.getByRole('heading', { name: repositoryOf(SIGNED, MANY), exact: true }).waitFor();
      await page.getByText('Proven: who signed it').waitFor();

      await box.fill(`registry.example/${repositoryOf(SIGNED, MANY)}:v${SIGNED}`);
      await page.keyboard.press('Enter');
      await page.getByText('as a reference with a tag').waitFor();
      await page.getByRole('heading', { name: repositoryOf(SIGNED, MANY), exact: true }).waitFor();
    });
  });

  test('reads come in by themselves while they are followed, beside what is being typed, and only as long as the session lasts', async () => {
    const repository = repositoryOf(SIGNED, MANY);
    const wanted = `${repository}@sha256=${sha256Hex(Buffer.from(`image ${SIGNED}`))}`;
    const ask = () =>
      fetch(`${server.url}/${wanted}/signature-1`, { headers: { 'user-agent': 'follower/1' } });
    await inBrowser(browser, {}, async (page) => {
      await enter(page, server, tokens.auditor ?? '');
      await page.goto(`${server.url}/ui/access?agent=follower&repository=${repository}`);
      await page.getByText('No row has all of this').waitFor();
      await page.getByRole('button', { name: 'Follow' }).click();
      await page.getByText('Live: new rows appear here').waitFor();
      await page.getByLabel('Status').fill('40');
      for (const _ of 'two') await ask();
      const row = page.locator('#rows tbody tr').filter({ hasText: 'follower/1' });
      await row.first().waitFor();
      assert.equal(await page.getByLabel('Status').inputValue(), '40');
      assert.deepEqual(await faultsOf(page), []);
      await row
        .getByRole('link', { name: /^many-7/ })
        .first()
        .click();
      await page.getByRole('heading', { name: repository, exact: true }).waitFor();
      await page.goBack();
      await page.getByRole('button', { name: 'Follow' }).click();
      await page.getByText('Live: new rows appear here').waitFor();
      await endSessions(data);
      await page.getByText('Stopped: the session is over').waitFor();
    });
  });

  /** Every page, and what is hostile on it. */
  const PAGES = [
    '',
    'repositories',
    `repositories/${LONG}`,
    `repositories?filter=${encodeURIComponent(HOSTILE.slice(0, 3000))}`,
    `images/${hostileImage}`,
    `images/${folderOf('team/gone').replace('=', ':')}`,
    'keys',
    `keys/${hostileKey.fingerprint}`,
    `keys/${stolen.fingerprint}`,
    'keys/add',
    ...['retire', 'refresh', 'revoke', 'remove', 'rotation'].map(
      (verb) => `keys/${hostileKey.fingerprint}/${verb}`,
    ),
    `keys/${hostileKey.fingerprint}/rotation?to=${stolen.fingerprint}`,
    `search?q=${encodeURIComponent(HOSTILE.slice(0, 2000))}`,
    `search?q=${digest}`,
    'check',
    `check?image=${encodeURIComponent(HOSTILE.slice(0, 2000))}`,
    `check?image=${encodeURIComponent(`registry.example/${hostileImage}`)}`,
    'set-up',
    `set-up?registry=${encodeURIComponent(HOSTILE.slice(0, 200))}`,
    'set-up?registry=registry.example/team&trust=all',
    'overview',
    'audit',
    `audit?result=${encodeURIComponent(HOSTILE.slice(0, 500))}&actor=${encodeURIComponent(HOSTILE.slice(0, 500))}`,
    'audit/events/1',
    'access',
    `access?agent=${encodeURIComponent(HOSTILE.slice(0, 500))}`,
    'never-signed',
    'signers',
    'tokens',
    'mirrors',
    'system',
    'upload',
    'log-in',
    encodeURIComponent(HOSTILE.replace(/[\p{Cc}\p{Cf}/]/gu, '').slice(0, 500)),
  ];

  test('hostile texts run nothing, hide nothing, steer nothing and widen no page, with a script and without', async () => {
    upstream.answer = missing;
    await judged(hostileImage);
    const faults: string[] = [];
    for (const javaScriptEnabled of isFull ? [true, false] : [true]) {
      for (const viewport of isFull ? [SMALL, { width: 1280, height: 800 }] : [SMALL]) {
        await inBrowser(browser, { viewport, javaScriptEnabled }, async (page) => {
          await enter(page, server, tokens.admin ?? '');
          for (const below of PAGES) {
            await page.goto(`${server.url}/ui/${below}`);
            const what = `/ui/${below.slice(0, 80)} at ${viewport.width}`;
            assert.match(await page.title(), / · lookaside$/, what);
            assert.ok(await page.locator('footer').isVisible(), `${what}: something is hidden`);
            const strange = 'main img, main script, main style, main iframe, head style, [onerror]';
            assert.equal(await page.locator(strange).count(), 0, what);
            const text = await page.locator('body').innerText();
            assert.doesNotMatch(text, STEERING, what);
            const tooWide = await whatIsTooWide(page);
            if (tooWide !== null) faults.push(`${what} is too wide by ${tooWide}`);
            for (const one of await notIsolated(page))
              faults.push(`${what}: text from right to left turns its neighbours around: ${one}`);
          }
        });
      }
    }
    assert.deepEqual(faults, []);
  });

  test('the hostile texts are where they are looked for', async () => {
    await inBrowser(browser, {}, async (page) => {
      await enter(page, server, tokens.admin ?? '');
      for (const [below, wanted] of [
        [`images/${hostileImage}`, 2],
        [`keys/${hostileKey.fingerprint}`, 2],
        [`keys/${stolen.fingerprint}`, 1],
        ['keys', 1],
        ['access', 1],
        ['audit', 1],
        ['set-up', 1],
      ] as const) {
        await page.goto(`${server.url}/ui/${below}`);
        const count = (await page.locator('main').innerText()).split('<img').length - 1;
        assert.ok(count >= wanted, `/ui/${below} has it ${count} times`);
      }
      await page.goto(`${server.url}/ui/never-signed`);
      await page
        .getByRole('link', { name: new RegExp(`^${'a'.repeat(110)}`) })
        .first()
        .waitFor();
    });
  });
});

/** What somebody says of an image whom one should not trust; a reference that is none and a creator of 10 KiB are not read. */
function hostileClaim(digest: string, dockerReference: string, creator = HOSTILE): Buffer {
  return Buffer.from(
    JSON.stringify({
      critical: {
        type: 'atomic container signature',
        image: { 'docker-manifest-digest': digest },
        identity: { 'docker-reference': dockerReference },
      },
      optional: { creator },
    }),
  );
}

/** Elements whose own text is from right to left beside other content, without a boundary around it. */
function notIsolated(page: Page): Promise<readonly string[]> {
  return page.evaluate(`(() => {
    const faults = [];
    const walker = document.createTreeWalker(document.querySelector('main'), NodeFilter.SHOW_TEXT);
    for (let node = walker.nextNode(); node !== null; node = walker.nextNode()) {
      if (!/[\u0590-\u08ff]/.test(node.data)) continue;
      const { parentElement: element } = node;
      if (['OPTION', 'TEXTAREA', 'PRE'].includes(element.tagName)) continue;
      const style = getComputedStyle(element);
      const isAlone = [...element.childNodes].every((one) => one === node || one.textContent.trim() === '');
      const isBoundary = style.unicodeBidi.startsWith('isolate') || (style.display !== 'inline' && isAlone);
      if (!isBoundary) faults.push(element.outerHTML.slice(0, 120));
    }
    return faults;
  })()`);
}

async function indexState({ url }: LookasideServer): Promise<string> {
  const { checks } = (await (await fetch(`${url}/readyz`)).json()) as {
    readonly checks: { readonly index?: { readonly state: string } };
  };
  return checks.index?.state ?? 'ok'; // nodes have none: their database is asked itself
}
