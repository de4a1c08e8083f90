// The pages as a browser gets them: who sees what, what they may load, and where their links lead.
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { LookasideError } from '../../src/domain/errors.ts';
import { FINGERPRINT, HEX, IMAGE, key, servePages, signature, UNKNOWN } from './scene.ts';

const hrefs = (text: string) =>
  [...text.matchAll(/(?:href|action|src)="([^"]*)"/g)].map(([, href = '']) => href);

describe('the frame of the web pages', () => {
  test('the policy allows the style and the script of this server, and nothing inline', async () => {
    await using pages = await servePages({ signatures: [signature()], keys: [key()] });
    for (const path of ['', 'keys', `keys/${FINGERPRINT}`, `images/${IMAGE}`, 'nothing']) {
      const { headers, text } = await pages.get(path);
      assert.match(
        headers.get('content-security-policy') ?? '',
        /^default-src 'none'; style-src 'self'; script-src 'self';/,
      );
      assert.doesNotMatch(headers.get('content-security-policy') ?? '', /unsafe/);
      assert.doesNotMatch(text, /<style|\sstyle=|\son[a-z]+=|javascript:|<script>/i, path);
      assert.equal(
        headers.get('referrer-policy'),
        'same-origin',
        'a form would be sent with the origin null',
      );
    }
  });

  test('links name neither host nor prefix, so that they lead right behind a proxy that cuts one off', async () => {
    await using pages = await servePages({
      signatures: [signature()],
      keys: [key()],
      settings: { prefix: '/sig' },
    });
    const { text } = await pages.get(`images/${IMAGE}`);
    for (const href of hrefs(text)) assert.match(href, /^(?:\.\.?\/|#)/, href);
    const page = new URL(`https://proxy.example/cut/ui/images/${IMAGE}`);
    const links = hrefs(text).map((href) => new URL(href, page).href);
    assert.ok(links.includes(`https://proxy.example/cut/team/app@sha256=${HEX}/signature-1`), String(links));
    assert.ok(links.includes('https://proxy.example/cut/ui/keys'));
  });

  test('a path with more slashes than it has gets links that begin at the top', async () => {
    await using pages = await servePages({ keys: [key()], settings: { prefix: '/sig' } });
    const { text } = await pages.get('/keys');
    assert.ok(hrefs(text).includes('/sig/ui/repositories'), String(hrefs(text)));
  });

  test('style and script may be kept for ever, since their addresses name their content', async () => {
    await using pages = await servePages();
    const { text } = await pages.get('');
    const [style = ''] = hrefs(text).filter((href) => href.endsWith('page.css'));
    const kept = await pages.get(style);
    assert.equal(kept.status, 200);
    assert.match(kept.headers.get('content-type') ?? '', /^text\/css/);
    assert.match(kept.headers.get('cache-control') ?? '', /immutable/);
    const old = await pages.get('assets/000000000000/page.css');
    assert.equal(
      old.headers.get('cache-control'),
      'no-cache',
      'nobody may keep it under an address of other content',
    );
  });

  test('/ui leads to /ui/, and with LOOKASIDE_UI=off neither is there', async () => {
    await using pages = await servePages();
    const answer = await fetch(`${pages.url}/ui`, { redirect: 'manual' });
    assert.equal(answer.status, 303);
    assert.equal(answer.headers.get('location'), 'ui/');
    await using without = await servePages({ settings: { ui: false } });
    for (const path of ['/ui', '/ui/', '/ui/keys', '/ui/assets/000000000000/page.css']) {
      assert.equal((await fetch(`${without.url}${path}`, { redirect: 'manual' })).status, 404, path);
    }
  });

  test('on a closed server a visitor gets nothing but the log-in', async () => {
    await using pages = await servePages({
      signatures: [signature()],
      keys: [key()],
      settings: { read: 'token' },
    });
    for (const path of [
      '',
      'keys',
      `keys/${FINGERPRINT}`,
      `images/${IMAGE}`,
      'repositories',
      'repositories/team',
    ]) {
      const { status, headers, text } = await pages.get(path);
      assert.equal(status, 303, path);
      assert.match(headers.get('location') ?? '', /^(?:\.\.?\/)+log-in/);
      assert.equal(text, '');
    }
    const { text } = await pages.get('nothing');
    assert.doesNotMatch(text, /team|Release|<nav|search/, 'not even what there is');
  });

  test('with LOOKASIDE_LISTING=off a visitor sees what he names, and no list', async () => {
    await using pages = await servePages({
      signatures: [signature()],
      settings: { listing: false },
      folders: ['team'],
    });
    for (const path of ['', 'repositories', 'repositories/team'])
      assert.equal((await pages.get(path)).status, 403, path);
    assert.equal((await pages.get(`images/${IMAGE}`)).status, 200);
  });

  test('with LOOKASIDE_LISTING=off the page of a key lists nothing either', async () => {
    const stored = { signatures: [signature()], keys: [key()] };
    await using pages = await servePages({ ...stored, settings: { listing: false } });
    assert.doesNotMatch((await pages.get(`keys/${FINGERPRINT}`)).text, /team\/app|What it signed/);
    await using listing = await servePages(stored);
    assert.match((await listing.get(`keys/${FINGERPRINT}`)).text, /team\/app/);
  });

  test('who revoked a key here, and why, is for auditors', async () => {
    const at = new Date('2026-11-02T00:00:00Z');
    const revocation = { at, by: 'the-admin', reason: 'a laptop is gone', auditSeq: 9, withdraws: false };
    const revoked = key({ revokedAt: at, revocation: { ...revocation, isInCertificate: false } });
    await using pages = await servePages({ keys: [revoked] });
    const { text } = await pages.get(`keys/${FINGERPRINT}`);
    assert.match(text, /Revoked/);
    assert.doesNotMatch(text, /the-admin|laptop/);
    const { cookie } = await pages.logIn('auditor');
    assert.match(
      (await pages.get(`keys/${FINGERPRINT}`, { cookie })).text,
      /the-admin<\/bdi>: <bdi>a laptop is gone/,
    );
  });
});

describe('the page of an image', () => {
  test('a verified signature says who signed it and what for, and never who uploaded it', async () => {
    await using pages = await servePages({ signatures: [signature()], keys: [key()] });
    const { status, text } = await pages.get(`images/${IMAGE}`);
    assert.equal(status, 200);
    assert.match(text, /class="state good"[^>]*>.*?verified/);
    assert.match(text, /Proven: who signed it/);
    assert.match(text, /Release &lt;release@example.com&gt;/);
    assert.match(text, /registry\.example\/team\/app:v1/);
    assert.match(text, /skopeo standalone-verify manifest\.json/);
    assert.doesNotMatch(text, /the-uploader-nobody-may-see/);
  });

  test('lines to copy hold no reference that a shell would run', async () => {
    const hostile = "x'; touch /tmp/run; '";
    await using pages = await servePages({
      signatures: [signature({ dockerReference: hostile })],
      keys: [key()],
    });
    const { text } = await pages.get(`images/${IMAGE}`);
    assert.match(text, /standalone-verify manifest\.json REGISTRY\/team\/app /);
    assert.match(text, /lookaside doctor REGISTRY\/team\/app/);
  });

  test('of a signature by an unknown key only the claim is shown, as a claim, with what to do', async () => {
    await using pages = await servePages({ signatures: [signature(UNKNOWN)] });
    const { text } = await pages.get(`images/${IMAGE}`);
    assert.match(text, /Claimed, not proven/);
    assert.doesNotMatch(text, /Proven: who/);
    assert.match(text, /lookaside key add/);
  });

  test('an image without a signature is a 404 that says what clients report and what to do', async () => {
    await using pages = await servePages();
    const { status, text } = await pages.get(`images/${IMAGE}`);
    assert.equal(status, 404);
    assert.match(text, /A signature was required, but no signature exists/);
    assert.match(text, /podman push --sign-by/);
  });

  test('an image of a mirror whose upstream is silent says so, what clients get, and what to do', async () => {
    const why = 'the upstream has not given them: <b>no answer</b>\u202e; try again';
    const silent = new LookasideError('UPSTREAM_UNAVAILABLE', why, { detail: { retryAfterSeconds: 70 } });
    const signatures = {
      ofImage: () => Promise.reject(silent),
      search: () => Promise.reject(silent),
      missing: () => Promise.reject(silent),
    };
    const place = { name: 'red-hat', prefix: '/rh' };
    await using pages = await servePages({ services: { signatures, places: () => [place] } });
    const { status, headers, text } = await pages.get(`images/${IMAGE}?site=red-hat`);
    assert.equal(status, 503);
    assert.equal(headers.get('retry-after'), '70');
    assert.match(text, /This server cannot tell now whether the image is signed/);
    assert.match(text, /The upstream has not given them: &lt;b&gt;no answer&lt;\/b&gt;/);
    assert.match(text, /A client that pulls the image now gets 503/);
    assert.match(text, /lookaside mirror show red-hat/);
    assert.match(text, /lookaside mirror sync red-hat --from-misses 7d/);
    assert.match(text, /href="\.\.\/[^"]*check\?image=team%2Fapp/);
    assert.match(text, /id="silent" data-refresh="15"/);
    assert.ok(!text.includes('\u202e') && !text.includes('>Mirrors</a>'));
  });

  test('hostile texts of any length break nothing', async () => {
    const hostile = `"><script>alert(1)</script>\u202e\u001b[2J${'x'.repeat(10_240)}`;
    await using pages = await servePages({
      signatures: [signature({ creator: hostile, dockerReference: hostile, reason: hostile })],
      keys: [key({ userIds: [hostile] })],
    });
    for (const path of [`images/${IMAGE}`, 'keys', `keys/${FINGERPRINT}`]) {
      const { status, text } = await pages.get(path);
      assert.equal(status, 200, path);
      assert.equal(text.match(/<script/g)?.length, 1, 'the one of the frame');
      assert.ok(!text.includes('\u202e') && !text.includes('\u001b'));
      assert.ok(text.length < 60_000, `${path}: ${text.length}`);
    }
  });
});

describe('the page of repositories', () => {
  test('repositories stand below their folders with numbers, and the filter works without a script', async () => {
    await using pages = await servePages({ folders: ['team/app', 'team/web', 'zoo'] });
    const { text } = await pages.get('repositories');
    assert.equal(text.match(/class="folder"/g)?.length, 1);
    assert.match(
      text,
      /href="\.\/repositories\/team\/web"><span class="quiet">team\/<\/span>web<\/a>.*?12 images/,
    );
    const page = await pages.get('repositories?filter=WEB');
    assert.match(page.text, /team\/web/);
    assert.doesNotMatch(page.text, /team\/app/);
    assert.match(page.text, /value="WEB"/);
    const nothing = await pages.get(`repositories?filter=${encodeURIComponent('"><script>\u202e')}`);
    assert.match(nothing.text, /No repository here holds that text/);
    assert.equal(nothing.text.match(/<script/g)?.length, 1);
    assert.match((await pages.get('repositories/team')).text, /href="\.\.\/repositories\/team\/app"/);
  });

  test('without a signature the page says what to do', async () => {
    await using pages = await servePages();
    assert.match(
      (await pages.get('')).text,
      /Nothing is stored here yet.*lookaside key add.*lookaside token create.*lookaside push/s,
    );
    assert.equal((await pages.get('repositories/team')).status, 404);
  });
});
