// A real browser for tests of the web pages: one process for a test file, a context of its own for each test.
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import path from 'node:path';
import { type Browser, type BrowserContextOptions, chromium, type Page } from 'playwright-core';
import { change } from '../sqlite/scratch.ts';
import { programFile } from './available.ts';
import { isByNodes } from './served-by.ts';
import type { LookasideServer } from './server.ts';

const AXE = readFileSync(createRequire(import.meta.url).resolve('axe-core/axe.min.js'), 'utf8');

interface AxeResults {
  readonly violations: readonly {
    readonly id: string;
    readonly nodes: readonly { readonly html: string }[];
  }[];
}

/** For what a test waits for: a bound for what never comes, and no measure of the machine's time. */
const COMES_MS = 60_000;

/** The smallest window that the pages are for. */
export const SMALL = { width: 360, height: 700 } as const;

/** `home`: a folder that the browser may write into. */
export function startBrowser(home: string): Promise<Browser> {
  return chromium.launch({
    executablePath: programFile('chromium'),
    args: ['--no-sandbox'], // which root has not
    env: { PATH: process.env.PATH ?? '', HOME: home },
  });
}

/** Ends every log-in at the server that has the data directory `data`, as time does. */
export async function endSessions(data: string): Promise<void> {
  const sql = 'UPDATE page_session SET expires_at_ms = 1';
  if (isByNodes) await (await import('./by-nodes.ts')).askInsteadOf(data, sql);
  else change(path.join(data, 'state.db'), sql);
}

/** A page for `act`. What the browser complains of fails the test: a policy that was broken, a script that failed, a 5xx. */
export async function inBrowser(
  browser: Browser,
  options: BrowserContextOptions,
  act: (page: Page) => Promise<void>,
): Promise<void> {
  const context = await browser.newContext(options);
  const complaints: string[] = [];
  const page = await context.newPage();
  page.setDefaultTimeout(COMES_MS);
  page.on('console', (message) => {
    if (message.type() === 'error' && !/status of 4\d\d/.test(message.text()))
      complaints.push(`${message.text()} at ${message.location().url.slice(0, 200)}`);
  });
  page.on('pageerror', (error) => complaints.push(String(error)));
  page.on('dialog', (dialog) => {
    complaints.push(`a dialog: ${dialog.message()}`);
    void dialog.dismiss();
  });
  await act(page);
  assert.deepEqual(complaints, []);
  await context.close();
}

/** Without the form, which other tests are about. */
export async function enter(page: Page, { url }: Pick<LookasideServer, 'url'>, token: string): Promise<void> {
  const body = new URLSearchParams({ token: token.trim() });
  const answer = await fetch(`${url}/ui/log-in`, { method: 'POST', body, redirect: 'manual' });
  const value = /lookaside_session=([^;]+)/.exec(answer.headers.get('set-cookie') ?? '')?.[1] ?? '';
  const cookie = { name: 'lookaside_session', value, domain: '127.0.0.1', path: '/ui' };
  await page.context().addCookies([{ ...cookie, httpOnly: true, sameSite: 'Strict' }]);
}

/** How many pixels the page is wider than the window, and what sticks out; null: it fits. */
export async function whatIsTooWide(page: Page): Promise<string | null> {
  return page.evaluate(`(() => {
    const over = document.documentElement.scrollWidth - innerWidth;
    if (over <= 0) return null;
    const wide = [...document.querySelectorAll('body *')].filter(
      (one) => one.getBoundingClientRect().right > innerWidth + 1,
    );
    return over + ' pixels: ' + wide.slice(-3).map((one) => one.outerHTML.slice(0, 160)).join(' | ');
  })()`);
}

/** What axe finds wrong with the page that is shown; in the dark theme only colours can differ. */
export async function faultsOf(page: Page): Promise<readonly string[]> {
  await page.evaluate(AXE);
  const inLight = (await page.evaluate('axe.run(document, { resultTypes: ["violations"] })')) as AxeResults;
  await page.emulateMedia({ colorScheme: 'dark' });
  const inDark = (await page.evaluate('axe.run(document, { runOnly: ["color-contrast"] })')) as AxeResults;
  await page.emulateMedia({ colorScheme: 'light' });
  return [...inLight.violations, ...inDark.violations].flatMap(({ id, nodes }) =>
    nodes.map(({ html }) => `${id}: ${html.slice(0, 200)}`),
  );
}
