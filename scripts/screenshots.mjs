// `npm run screenshots`: pictures of the web pages in docs/screenshots, by chromium, of a server with a few signatures, reads and a mirror.
import { execFileSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import './node-version.mjs';
import { makeReady, ROOT } from './ready.mjs';
import { Refusal, runMain, whereIs } from './run.mjs';
import { smallPng } from './small-png.mjs';

const WIDTHS = [360, 1280, 2560];
/** These in the dark theme, too. */
const DARK = ['image', 'overview'];
const HEIGHT = 800;

runMain(async () => {
  const chromiumFile = whereIs('chromium');
  if (chromiumFile === null)
    throw new Refusal('there is no chromium on the PATH; on Debian: apt-get install chromium');
  await makeReady();
  const { chromium } = await import('playwright-core');
  const { startServer } = await import('../dist/test/clients/server.js');

  const temp = mkdtempSync(join(tmpdir(), 'lookaside-screenshots-'));
  const target = join(ROOT, 'docs/screenshots');
  mkdirSync(target, { recursive: true });
  const upstream = await startServer({
    data: join(temp, 'upstream'),
    root: laySigned(join(temp, 'upstream-root'), []),
  });
  try {
    const scene = await makeScene(temp, upstream.url);
    const server = await startServer({
      data: scene.data,
      root: scene.root,
      settings: { LOOKASIDE_KEY_REFRESH: '1d,wkd,hkps://keys.example.com' },
    });
    const browser = await chromium.launch({
      executablePath: chromiumFile,
      args: ['--no-sandbox'],
      ignoreDefaultArgs: ['--hide-scrollbars'], // their room is kept free, and would look like a fault
    });
    try {
      await untilJudged(`${server.url}/ui/${scene.image}`);
      await read(server.url, scene);
      const cookie = await logIn(server.url, scene.token);
      for (const { name, path, isVisitor = false } of viewsOf(scene)) {
        for (const [width, scheme] of looksOf(name)) {
          const viewport = { width, height: HEIGHT };
          const context = await browser.newContext({ viewport, colorScheme: scheme, timezoneId: 'UTC' });
          if (!isVisitor) await context.addCookies([{ ...cookie, domain: '127.0.0.1', path: '/ui' }]);
          const page = await context.newPage();
          await page.goto(`${server.url}/ui/${path}`);
          // a part that is asked for again is not done yet
          while ((await page.locator('[data-refresh]').count()) > 0) await page.reload();
          const file = `${name}-${width}-${scheme}.png`;
          writeFileSync(join(target, file), smallPng(await page.screenshot()));
          await context.close();
        }
      }
    } finally {
      await browser.close();
      await server.stop();
    }
  } finally {
    await upstream.stop();
    rmSync(temp, { recursive: true, force: true });
  }
});

function looksOf(name) {
  return [...WIDTHS.map((width) => [width, 'light']), ...(DARK.includes(name) ? [[1280, 'dark']] : [])];
}

function viewsOf({ image, fingerprint }) {
  return [
    { name: 'image', path: image, isVisitor: true },
    { name: 'log-in', path: 'log-in', isVisitor: true },
    { name: 'repositories', path: '', isVisitor: true },
    { name: 'key', path: `keys/${fingerprint}` },
    { name: 'overview', path: 'overview' },
    { name: 'audit', path: 'audit' },
    { name: 'access', path: 'access' },
    { name: 'never-signed', path: 'never-signed' },
    { name: 'proof', path: 'audit/events/1' },
    { name: 'keys', path: 'keys' },
    { name: 'key-revoke', path: `keys/${fingerprint}/revoke` },
    { name: 'key-refresh', path: `keys/${fingerprint}/refresh` },
    { name: 'signers', path: 'signers' },
    { name: 'sessions', path: 'tokens' },
    { name: 'upload', path: 'upload' },
    { name: 'mirrors', path: 'mirrors' },
    { name: 'doctor', path: 'check?image=registry.example.com/team/app:v1' },
    { name: 'set-up', path: 'set-up' },
    { name: 'system', path: 'system' },
  ];
}

/** A tree with these files, by their paths. */
function laySigned(root, files) {
  mkdirSync(root, { recursive: true });
  for (const [folder, number, bytes] of files) {
    mkdirSync(join(root, folder), { recursive: true });
    writeFileSync(join(root, folder, `signature-${number}`), bytes);
  }
  return root;
}

async function makeScene(temp, upstreamUrl) {
  const { makeSigner, addKey } = await import('../dist/test/clients/signer.js');
  const { administered } = await import('../dist/test/clients/administered.js');
  const { folderOf } = await import('../dist/test/store/lay.js');
  const data = join(temp, 'data');
  const [release, stranger] = [makeSigner('release'), makeSigner('stranger')];
  const signable = { registry: 'registry.example.com', repository: 'team/app', tag: 'v1' };
  const folder = folderOf('team/app');
  const root = laySigned(join(temp, 'root'), [
    [folder, 1, release.sign(signable)],
    [folder, 2, stranger.sign(signable)],
  ]);
  const token = await administered(data, async ({ tokens }) => {
    await tokens.create({ name: 'ci', role: 'uploader', lifeMs: 90 * 86_400_000 });
    return (await tokens.create({ name: 'anna', role: 'admin', lifeMs: null })).text;
  });
  await addKey(data, release);
  for (const command of [
    ['signer', 'add', 'release-pipeline'],
    ['mirror', 'add', 'partner', '--upstream', upstreamUrl, '--prefix', '/partner'],
  ])
    execFileSync(process.execPath, [join(ROOT, 'dist/src/main.js'), ...command, '--data', data], {
      stdio: 'pipe',
    });
  return {
    data,
    root,
    token,
    folder,
    image: `images/${folder.replace('=', ':')}`,
    fingerprint: release.fingerprint,
  };
}

async function untilJudged(url) {
  for (let text = ''; !text.includes('unknown-key'); ) text = await (await fetch(url)).text();
}

/** As clients do, who find the end of the list; and an image that nobody has signed. */
async function read(url, { folder }) {
  const missing = folder.replace('team/app', 'team/web');
  for (let round = 0; round < 12; round += 1) {
    for (const path of [
      `${folder}/signature-1`,
      `${folder}/signature-2`,
      `${folder}/signature-3`,
      `${missing}/signature-1`,
    ])
      await fetch(`${url}/${path}`, {
        headers: { 'user-agent': 'containers/5.36.2 (github.com/containers/image)' },
      });
  }
}

async function logIn(url, token) {
  const body = new URLSearchParams({ token });
  const answer = await fetch(`${url}/ui/log-in`, { method: 'POST', body, redirect: 'manual' });
  const value = /lookaside_session=([^;]+)/.exec(answer.headers.get('set-cookie') ?? '')?.[1];
  if (value === undefined) throw new Error(`the log-in answered ${answer.status}`);
  return { name: 'lookaside_session', value, httpOnly: true, sameSite: 'Strict' };
}
