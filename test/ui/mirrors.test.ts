// Mirrors, the system and the history of an image in pages: who may do what, and what is said while nothing is there.
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import type { SyncFollowing } from '../../src/domain/administration.ts';
import { LookasideError } from '../../src/domain/errors.ts';
import type { MirrorStatus, SyncAnswer, SyncRequest } from '../../src/domain/mirror.ts';
import { createSyncJobs } from '../../src/service/sync-jobs.ts';
import type { PageServices } from '../../src/ui/services.ts';
import { createClock, createLog } from '../service/hand-driven.ts';
import { HEX, IMAGE, servePages, signature } from './scene.ts';

const AT = new Date('2026-11-22T09:00:00.000Z');
const ACTOR = { name: 'me', address: null, requestId: null } as const;
const COUNTS = { new: 2, unchanged: 0, missing: 0, refused: 0, failed: 1 };
const ANSWER: SyncAnswer = { startedAt: AT, finishedAt: AT, counts: COUNTS, images: [], unrecorded: null };
const formTokenIn = (text: string) => /name="form-token" value="([0-9a-f]{64})"/.exec(text)?.[1] ?? 'none';

const MIRROR = {
  name: 'red-hat',
  upstreams: ['https://upstream.example/<script>'],
  layout: 'repository',
  views: [{ prefix: '/rh', strip: '', add: '' }],
  addedAt: AT,
  images: 12,
  signatures: 15,
  walks: { set: 3, empty: 1 },
  faults: { status: 4 },
  lastFault: { at: AT, upstream: 'https://upstream.example', message: 'it answered 500 <b>' },
  restingMs: 0,
  lastSync: { startedAt: AT, finishedAt: AT, counts: COUNTS },
  completeAt: new Date('2026-11-20T09:00:00.000Z'),
  goneUpstream: 1,
  leftOut: 0,
} as unknown as MirrorStatus;

/** A sync that a test lets go on. */
function heldSync() {
  const asked: (SyncRequest & SyncFollowing)[] = [];
  let end: (result: SyncAnswer | Error) => void = () => undefined;
  const sync = (_: string, request: SyncRequest & SyncFollowing) => {
    asked.push(request);
    request.onProgress?.({ done: 0, total: request.images.length });
    return new Promise<SyncAnswer>((resolve, reject) => {
      end = (result) => (result instanceof Error ? reject(result) : resolve(result));
    });
  };
  return { asked, sync, end: (result: SyncAnswer | Error) => end(result) };
}

const turn = () => new Promise((resolve) => setImmediate(resolve));

describe('syncs in the background', () => {
  test('one of a mirror at a time; its progress and its end can be asked for', async () => {
    const { asked, sync, end } = heldSync();
    const jobs = createSyncJobs({ mirrors: { sync }, clock: createClock(), log: createLog() });
    assert.equal(jobs.peek('red-hat'), null);
    await jobs.start('red-hat', ['a', 'b'], ACTOR);
    asked[0]?.onProgress?.({ done: 1, total: 2 });
    assert.deepEqual(jobs.peek('red-hat')?.progress, { done: 1, total: 2 });
    await assert.rejects(jobs.start('red-hat', ['c'], ACTOR), /runs already/);
    assert.equal(asked.length, 1);
    end(ANSWER);
    await turn();
    assert.deepEqual(jobs.peek('red-hat')?.ended, {
      report: { startedAt: AT, finishedAt: AT, counts: COUNTS },
      unrecorded: null,
    });
    await jobs.start('red-hat', ['c'], ACTOR);
    end(new Error('a secret of the disk'));
    await turn();
    assert.deepEqual(jobs.peek('red-hat')?.ended, { message: 'it failed; the log of the server says why' });
  });

  test('what cannot begin is refused to whoever asks', async () => {
    const sync = () => Promise.reject(new LookasideError('REQUEST_INVALID', 'no image'));
    const jobs = createSyncJobs({ mirrors: { sync }, clock: createClock(), log: createLog() });
    await assert.rejects(jobs.start('red-hat', ['a'], ACTOR), /no image/);
  });
});

describe('the page Mirrors', () => {
  const scene = (missed: readonly string[] = []) => {
    const held = heldSync();
    const services: Partial<PageServices> = {
      mirrors: {
        list: async () => [MIRROR],
        missed: async () => missed,
      } as unknown as PageServices['mirrors'],
      syncJobs: createSyncJobs({ mirrors: held, clock: createClock(), log: createLog() }),
    };
    return { ...held, services };
  };

  test('lag, failures by kind and what differs are told; only an administrator may start a sync', async () => {
    const { asked, services } = scene();
    await using pages = await servePages({ services });
    const auditor = await pages.logIn('auditor');
    const { text } = await pages.get('mirrors', auditor);
    assert.match(text, /complete 2 days ago|complete 49 hours ago/);
    assert.match(text, /status 4/);
    assert.match(text, /it answered 500 &lt;b&gt;/);
    assert.match(text, /1 signature served here and gone/);
    assert.equal(text.match(/<script/g)?.length, 1);
    assert.doesNotMatch(text, /Start a sync/);
    const refused = await pages.post('mirrors', { mirror: 'red-hat', images: IMAGE }, auditor);
    assert.equal(refused.status, 403);
    const admin = await pages.logIn('admin');
    const forged = await pages.post(
      'mirrors',
      { mirror: 'red-hat', images: IMAGE, 'form-token': 'x' },
      admin,
    );
    assert.equal(forged.status, 403);
    assert.equal(asked.length, 0);
  });

  test('a sync of what is named, or of what was missed, begins, and the page shows how far it is', async () => {
    const { asked, services, end } = scene(['missed@sha256:1']);
    await using pages = await servePages({ services });
    const admin = await pages.logIn('admin');
    const form = { mirror: 'red-hat', 'form-token': formTokenIn((await pages.get('mirrors', admin)).text) };
    const begun = await pages.post('mirrors', { ...form, images: ` ${IMAGE}\n${IMAGE}\n` }, admin);
    assert.deepEqual([begun.status, begun.headers.get('location')], [303, './mirrors']);
    assert.deepEqual(asked[0]?.images, [IMAGE]);
    assert.match((await pages.get('mirrors', admin)).text, /0 of 1 image.*<progress max="1" value="0"/s);
    end(ANSWER);
    await turn();
    assert.match((await pages.get('mirrors', admin)).text, /has ended/);
    await pages.post('mirrors', { ...form, images: '' }, admin);
    assert.deepEqual(asked[1]?.images, ['missed@sha256:1']);
  });

  test('with nothing to sync, and without a mirror, the page says what to do', async () => {
    await using pages = await servePages({ services: scene().services });
    const admin = await pages.logIn('admin');
    const form = { mirror: 'red-hat', 'form-token': formTokenIn((await pages.get('mirrors', admin)).text) };
    const refused = await pages.post('mirrors', { ...form, images: '' }, admin);
    assert.equal(refused.status, 400);
    assert.match(refused.text, /name images in the form/);
    const none = { list: async () => [] } as unknown as PageServices['mirrors'];
    await using without = await servePages({ services: { ...scene().services, mirrors: none } });
    assert.match(
      (await without.get('mirrors', await without.logIn('auditor'))).text,
      /lookaside mirror add red-hat/,
    );
  });
});

test('the system: checks in words, what it does by itself, settings that somebody set first, the key of the log', async () => {
  const checks = {
    space: { state: 'degraded', message: '5 bytes are free <b>' },
    tree: { state: 'ok', message: null },
  } as const;
  const held = heldSync();
  const syncJobs = createSyncJobs({ mirrors: held, clock: createClock(), log: createLog() });
  await syncJobs.start('red-hat', ['a', 'b'], ACTOR);
  held.asked[0]?.onProgress?.({ done: 1, total: 2 });
  await using pages = await servePages({
    services: {
      syncJobs,
      mirrors: { list: async () => [MIRROR] } as unknown as PageServices['mirrors'],
      keyRefresher: { sources: () => [], refreshNow: () => Promise.reject(new Error('unasked')) },
      health: async () => ({ status: 'degraded', reads: 'ok', writes: 'failed', checks }),
      auditLog: {
        identity: { origin: 'log.example', vkey: 'log.example+1a2b3c4d+AQ' },
        checkpoint: async () => ({ size: 1234, at: AT }),
      } as unknown as PageServices['auditLog'],
      shownSettings: () => [
        { name: 'LOOKASIDE_READ', value: 'anonymous', source: 'default' },
        { name: 'LOOKASIDE_DATA', value: '/data/<script>', source: 'environment' },
      ],
    },
  });
  const { text } = await pages.get('system', await pages.logIn('auditor'));
  assert.match(text, /The disk has room for uploads.*degraded.*5 bytes are free &lt;b&gt;/s);
  assert.match(text, /Background work.*Syncs of mirrors.*at work.*red-hat<\/a>: 1 of 2 images, started/s);
  assert.match(text, /Refresh of keys.*off; .*Audit log.*1,234 events in the checkpoint of/s);
  assert.ok(text.indexOf('LOOKASIDE_DATA') < text.indexOf('LOOKASIDE_READ'));
  assert.match(text, /log\.example\+1a2b3c4d\+AQ/);
  assert.equal(text.match(/<script/g)?.length, 1);
  assert.equal((await pages.get('system', await pages.logIn('uploader'))).status, 403);
});

test('an auditor sees on the page of an image what happened to it and who asked; others ask nothing', async () => {
  const asked: string[] = [];
  const services: Partial<PageServices> = {
    records: {
      page: async ({ record, filter }: Parameters<PageServices['records']['page']>[0]) => {
        asked.push(`${record} ${filter.image?.digest.hex} ${filter.image?.place?.path}`);
        if (record === 'access') throw new LookasideError('QUESTION_TOO_LONG', 'too long');
        return { record, rows: [], next: null, dropped: 0, gaps: [] };
      },
    } as unknown as PageServices['records'],
  };
  await using pages = await servePages({ signatures: [signature()], services });
  assert.doesNotMatch((await pages.get(`images/${IMAGE}`)).text, /What happened to it/);
  assert.deepEqual(asked, []);
  const { status, text } = await pages.get(`images/${IMAGE}`, await pages.logIn('auditor'));
  assert.equal(status, 200);
  assert.deepEqual(asked.sort(), [`access ${HEX} team/app`, `audit ${HEX} team/app`]);
  assert.match(text, /No upload, withdrawal or import of it is on record/);
  assert.match(text, /takes too long.*All of its reads/s);
});
