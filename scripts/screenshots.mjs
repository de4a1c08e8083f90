// `npm run screenshots`: pictures of the web pages in docs/screenshots, by chromium, of a server with a few signatures.
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import './node-version.mjs';
import { makeReady, ROOT } from './ready.mjs';
import { Refusal, runMain, whereIs } from './run.mjs';

const VIEWS = [
  { name: 'image', width: 1280, scheme: 'light' },
  { name: 'image', width: 1280, scheme: 'dark' },
  { name: 'image', width: 360, scheme: 'light' },
  { name: 'key', width: 2560, scheme: 'light' },
];

runMain(async () => {
  const chromiumFile = whereIs('chromium');
  if (chromiumFile === null)
    throw new Refusal('there is no chromium on the PATH; on Debian: apt-get install chromium');
  await makeReady();
  const { chromium } = await import('playwright-core');
  const { makeSigner, addKey } = await import('../dist/test/clients/signer.js');
  const { startServer } = await import('../dist/test/clients/server.js');
  const { makeDataDirectory } = await import('../dist/test/clients/data-directory.js');
  const { folderOf } = await import('../dist/test/store/lay.js');

  const temp = mkdtempSync(join(tmpdir(), 'lookaside-screenshots-'));
  try {
    const [data, root] = [join(temp, 'data'), join(temp, 'root')];
    const [release, stranger] = [makeSigner('release'), makeSigner('stranger')];
    const signable = { registry: 'registry.example.com', repository: 'team/app', tag: 'v1' };
    const folder = folderOf('team/app');
    mkdirSync(join(root, folder), { recursive: true });
    writeFileSync(join(root, folder, 'signature-1'), release.sign(signable));
    writeFileSync(join(root, folder, 'signature-2'), stranger.sign(signable));
    await makeDataDirectory(data);
    await addKey(data, release);
    const server = await startServer({ data, root });
    const browser = await chromium.launch({ executablePath: chromiumFile, args: ['--no-sandbox'] });
    try {
      const image = `images/${folder.replace('=', ':')}`;
      await untilJudged(`${server.url}/ui/${image}`);
      const paths = { image, key: `keys/${release.fingerprint}` };
      const target = join(ROOT, 'docs/screenshots');
      mkdirSync(target, { recursive: true });
      for (const { name, width, scheme } of VIEWS) {
        const viewport = { width, height: 800 };
        const page = await browser.newPage({ viewport, colorScheme: scheme, timezoneId: 'UTC' });
        await page.goto(`${server.url}/ui/${paths[name]}`);
        await page.screenshot({ path: join(target, `${name}-${width}-${scheme}.png`) });
        await page.close();
      }
    } finally {
      await browser.close();
      await server.stop();
    }
  } finally {
    rmSync(temp, { recursive: true, force: true });
  }
});

async function untilJudged(url) {
  for (let text = ''; !text.includes('unknown-key'); ) text = await (await fetch(url)).text();
}
