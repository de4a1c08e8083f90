// A real browser that has logged in by Basic, on a page of another site that wants to use it. Another port of the same host
// is another site too, though browsers call it `same-site`.
import assert from 'node:assert/strict';
import { readdir } from 'node:fs/promises';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import path from 'node:path';
import { after, before, describe, test } from 'node:test';
import { type BrowserContext, chromium, type Page } from 'playwright-core';
import { escapeHtml } from '../../src/domain/text.ts';
import { requestRaw } from '../http/raw-request.ts';
import { folderOf } from '../store/lay.ts';
import { needs, programFile } from './available.ts';
import { eventually } from './eventually.ts';
import { isByNodes } from './served-by.ts';
import { createToken, type LookasideServer, startServer } from './server.ts';
import { addKey, makeSigner } from './signer.ts';
import { openTempFolder, type TempFolder } from './temp-folder.ts';

const FOLDER = folderOf('team/app');

interface Attack {
  readonly method: string;
  readonly target: string;
  readonly type: string;
  /** In base64: what a page's script sends. */
  readonly body: string;
}

/** A form puts `=` between a name and its value; of a member that is there twice, the last counts. */
const TOKEN_IN_A_FORM = { name: '{"role":"', value: '","name":"mallory","role":"admin"}' };

describe('another site in a browser that is logged in', needs('chromium'), () => {
  let temp: TempFolder;
  let data: string;
  let server: LookasideServer;
  let token: string;
  let browser: BrowserContext;
  let attacks: readonly Attack[];
  const theirs = createServer((_, res) => {
    res.setHeader('Content-Type', 'text/html; charset=utf-8').end(pageOfTheirs(server.url));
  });

  before(async () => {
    temp = await openTempFolder();
    data = path.join(temp.path, 'data');
    // with open reads, a browser sends the token only below the path where it was asked for it
    const settings = { LOOKASIDE_ACCESS_LOG: 'json', LOOKASIDE_READ: 'token' };
    server = await startServer({ data, settings });
    const [alice, mallory] = [makeSigner('alice'), makeSigner('mallory')];
    await addKey(data, alice);
    token = await createToken(data, 'root', 'admin');
    await createToken(data, 'other', 'uploader');
    attacks = attacksWith(mallory.certificate, alice.sign({ repository: 'team/app', tag: 'v1' }));
    await new Promise<void>((resolve) => theirs.listen(0, '127.0.0.1', resolve));
    browser = await chromium.launchPersistentContext(path.join(temp.path, 'profile'), {
      executablePath: programFile('chromium'),
      args: ['--no-sandbox'], // which root has not
      env: { PATH: process.env.PATH ?? '', HOME: temp.path },
      bypassCSP: true, // the policy of our pages would forbid a script to send anything, and so hide what the server does
    });
    const page = await browser.newPage();
    const answer = await page.goto(server.url.replace('//', `//root:${token}@`).concat('/'));
    assert.equal(answer?.status(), 200, 'the browser is logged in');
    await page.close();
  });

  after(async () => {
    await browser?.close();
    theirs.close();
    theirs.closeAllConnections();
    await server?.[Symbol.asyncDispose]();
    await temp?.[Symbol.asyncDispose]();
  });

  const ask = async (target: string) => {
    const { status, body } = await requestRaw(server.port, `GET ${target}`, [
      `Authorization: Bearer ${token}`,
    ]);
    assert.equal(status, 200, target);
    return body.toString();
  };

  /** All that an attack could change. */
  const state = async () => ({
    tokens: await ask('/api/v1/tokens'),
    keys: await ask('/api/v1/keys'),
    signatures: await ask('/api/v1/signatures'),
    files: isByNodes ? [] : (await readdir(path.join(data, 'sigstore'), { recursive: true })).sort(),
  });

  /** What the server has answered to all but reads: `method path status token`. */
  const answers = () =>
    server
      .output()
      .split('\n')
      .filter((line) => line.includes('"method":'))
      .map((line) => JSON.parse(line))
      .filter(({ method }) => method !== 'GET')
      .map(({ method, target, status, token: by }) => `${method} ${target} ${status} ${by}`);

  /** Nothing has changed by what `act` does, and it was answered so. */
  const changesNothing = async (act: () => Promise<void>, answered: readonly string[]) => {
    const [stateBefore, answersBefore] = [await state(), answers()];
    await act();
    await eventually(() => assert.deepEqual(answers().slice(answersBefore.length), answered));
    assert.deepEqual(await state(), stateBefore);
  };

  const pageAt = async (url: string): Promise<Page> => {
    const page = await browser.newPage();
    await page.goto(url);
    return page;
  };

  for (const host of ['127.0.0.1', 'localhost']) {
    const their = () => `http://${host}:${(theirs.address() as AddressInfo).port}/`; // it listens

    const onTheirPage = async (act: (page: Page) => Promise<void>) => {
      const page = await pageAt(their());
      await act(page);
      await page.close();
    };

    test(`changes nothing by a script, from another port of ${host}`, async () => {
      const sent = attacks.filter(({ method }) => method === 'POST'); // a script sends no other without asking first
      await changesNothing(
        () =>
          onTheirPage(async (page) => {
            for (const attack of attacks) await page.evaluate(sendFrom(server.url, attack, 'no-cors'));
          }),
        // Chromium keeps the token from scripts of another site, not from those of another port, nor from forms
        sent.map(({ target }) => `POST ${target} 403 ${host === '127.0.0.1' ? 'root' : 'null'}`),
      );
    });

    test(`is not let to send what it has to ask for first, from another port of ${host}`, async () => {
      const asking = [
        ...attacks.filter(({ method }) => method !== 'POST'),
        ...attacks.map((attack) => ({ ...attack, type: 'application/json' })),
      ];
      await changesNothing(
        () =>
          onTheirPage(async (page) => {
            for (const attack of asking)
              assert.equal(await page.evaluate(sendFrom(server.url, attack, 'cors')), 'not sent');
          }),
        asking.map(({ target }) => `OPTIONS ${target} 403 null`),
      );
    });

    for (const [form, target] of [
      ['a token', '/api/v1/tokens'],
      ['a key', '/api/v1/keys'],
      ['an upload', '/api/v1/signatures'],
    ] as const) {
      test(`changes nothing by a form, ${form}, from another port of ${host}`, async () => {
        await changesNothing(
          () =>
            onTheirPage(async (page) => {
              const answered = page.waitForResponse((answer) => answer.request().method() === 'POST');
              await page.click(`form[action$="${target}"] button`);
              assert.equal((await answered).status(), 403);
              await page.waitForURL(server.url + target); // Chromium forgets to close a page that is on its way to another
            }),
          [`POST ${target} 403 root`],
        );
      });
    }
  }

  test('our own page changes what the one who is logged in may change', async () => {
    const page = await pageAt(`${server.url}/`);
    const statuses: unknown[] = [];
    for (const attack of attacks) {
      const type = attack.target === '/api/v1/tokens' ? 'application/json' : attack.type;
      statuses.push(await page.evaluate(sendFrom(server.url, { ...attack, type }, 'same-origin')));
    }
    await page.close();
    assert.deepEqual(statuses, [200, 201, 201, 200, 200]);
  });
});

function attacksWith(certificate: Uint8Array, signature: Buffer): readonly Attack[] {
  const attack = (method: string, target: string, body: Uint8Array | string = '') => ({
    method,
    target,
    type: 'text/plain',
    body: Buffer.from(body).toString('base64'),
  });
  return [
    attack('POST', '/api/v1/keys', certificate),
    attack('POST', '/api/v1/tokens', '{"name":"mallory","role":"admin"}'),
    attack('POST', `/${FOLDER}`, signature),
    attack('PUT', `/${FOLDER}/signature-1`, signature),
    attack('DELETE', '/api/v1/tokens/other'),
  ];
}

/** For Page.evaluate: the status of the answer, 0 where the page may not see it, or `not sent`. */
function sendFrom(url: string, { method, target, type, body }: Attack, mode: string): string {
  const bytes = `Uint8Array.from(atob(${JSON.stringify(body)}), (each) => each.charCodeAt(0))`;
  const init = `{
    method: ${JSON.stringify(method)}, mode: ${JSON.stringify(mode)}, credentials: 'include',
    headers: { 'Content-Type': ${JSON.stringify(type)} }, body: ${bytes},
  }`;
  return `fetch(${JSON.stringify(url + target)}, ${init}).then(({ status }) => status, () => 'not sent')`;
}

function pageOfTheirs(url: string): string {
  const { name, value } = TOKEN_IN_A_FORM;
  const form = (type: string, target: string, fields: string) =>
    `<form method="post" enctype="${type}" action="${url}${target}">${fields}<button>x</button></form>`;
  return `<!doctype html><title>another site</title>
${form('text/plain', '/api/v1/tokens', `<input name="${escapeHtml(name)}" value="${escapeHtml(value)}">`)}
${form('text/plain', '/api/v1/keys', '<input name="key" value="-----BEGIN PGP PUBLIC KEY BLOCK-----">')}
${form('multipart/form-data', '/api/v1/signatures', '<input type="file" name="signature">')}
<script>
  const files = new DataTransfer();
  files.items.add(new File(['bytes'], 'signature-1'));
  document.querySelector('input[type=file]').files = files.files;
</script>`;
}
