// What every MirrorStore promises, run over each implementation.
import assert from 'node:assert/strict';
import { describe } from 'node:test';
import { imageFolder } from '../../src/domain/image.ts';
import { DEFAULT_MIRROR, type StoredMirror } from '../../src/domain/mirror.ts';
import { parseMirrorSettings } from '../../src/domain/mirror-settings.ts';
import type { CheckedSet, MirrorStore } from '../../src/domain/ports.ts';
import { auditEvent } from './audit-event.ts';
import { imageAt } from './signature-index.ts';
import { testOver } from './under-test.ts';

export interface MirrorStoreUnderTest {
  readonly mirrors: MirrorStore;
  /** The same as another start, or another node, finds it. */
  reopen(): Promise<MirrorStore>;
  /** The actions of all audit events, in their order. */
  recordedActions(): Promise<readonly string[]>;
  close(): Promise<void>;
}

const AT = new Date('2026-11-22T10:00:00.123Z');
const later = (ms: number) => new Date(AT.getTime() + ms);
const imageOf = (name: string) => imageAt(`team/${name}`, name, 'rh');
const UPSTREAM = 'https://one.example/s?token=x';

function mirrorOf(name: string, overrides: object = {}): StoredMirror {
  const views = [{ prefix: `/${name}`, strip: '', add: '' }];
  const settings = { ...DEFAULT_MIRROR, upstreams: [UPSTREAM], views, ...overrides };
  return { name, settings: parseMirrorSettings(settings), addedAt: AT };
}

function setOf(name: string, overrides: Partial<CheckedSet> = {}): CheckedSet {
  return {
    ...{ site: 'rh', image: imageFolder(imageOf(name)), checkedAt: AT, upstream: UPSTREAM },
    ...{ gone: [], leftOut: [], syncedAt: null, sizeBytes: 8192 },
    ...overrides,
  };
}

const releaseOf = (version: string, channels: readonly string[], more: object = {}) => {
  const digest = `sha256:${version.replaceAll('.', '').padStart(64, '0')}`;
  return { digest, version, arch: 'amd64', channels, ...more };
};

export function mirrorStoreContract(name: string, open: () => Promise<MirrorStoreUnderTest>): void {
  const test = testOver(open);

  describe(name, () => {
    test('mirrors are there as they were put, by name, and each change comes with its event', async (under) => {
      const { mirrors } = under;
      const event = (action: 'mirror-add' | 'mirror-edit' | 'mirror-remove') => auditEvent({ action });
      const [rh, okd] = [mirrorOf('rh', { maxBytes: 7, onDemand: ['ubi9/**'] }), mirrorOf('okd')];
      await mirrors.add(rh, event('mirror-add'));
      await mirrors.add(okd, event('mirror-add'));
      await assert.rejects(mirrors.add(mirrorOf('rh'), event('mirror-add')), { code: 'NAME_TAKEN' });
      assert.deepEqual(await (await under.reopen()).list(), [okd, rh]);
    });

    test('a mirror that is removed takes its runs and releases with it, and no others', async (under) => {
      const { mirrors } = under;
      const counts = { new: 1, unchanged: 0, missing: 0, refused: 0, failed: 0 };
      for (const site of ['rh', 'okd']) {
        await mirrors.add(mirrorOf(site), auditEvent({ action: 'mirror-add' }));
        await mirrors.ran(site, { startedAt: AT, finishedAt: later(5), counts });
        await mirrors.putReleases(site, {
          releases: [releaseOf('4.1.1', ['stable-4.1'])],
          wholeChannels: [],
        });
      }
      const edited = mirrorOf('rh', { maxAgeMs: 5000 });
      await mirrors.edit(edited, auditEvent({ action: 'mirror-edit' }));
      assert.deepEqual((await mirrors.list())[1], edited);
      await mirrors.remove('rh', auditEvent({ action: 'mirror-remove' }));
      assert.deepEqual(
        (await mirrors.list()).map((mirror) => mirror.name),
        ['okd'],
      );
      assert.equal(await mirrors.lastRun('rh'), null);
      assert.deepEqual((await mirrors.lastRun('okd'))?.completeAt, later(5));
      assert.equal((await mirrors.releases('4.1.1', 10)).length, 1);
      assert.equal((await mirrors.releases('stable-4.1', 10)).length, 1);
      const actions = ['mirror-add', 'mirror-add', 'mirror-edit', 'mirror-remove'];
      assert.deepEqual(await under.recordedActions(), actions);
    });

    test('what the last whole walk has found replaces what was known, but for the time of a sync', async (under) => {
      const { mirrors } = under;
      const image = imageOf('app');
      assert.equal(await mirrors.setOf(image), null);
      const leftOut = [{ sha256: 'ab'.repeat(32), code: 'SIGNATURE_BAD' }];
      await mirrors.checked([
        setOf('app', { syncedAt: AT, gone: ['cd'.repeat(32)], leftOut }),
        setOf('other'),
      ]);
      assert.deepEqual(await mirrors.notedCounts('rh'), { gone: 1, leftOut: 1 });
      assert.deepEqual(await mirrors.notedCounts('okd'), { gone: 0, leftOut: 0 });
      const noted = {
        ...setOf('app', { syncedAt: AT, gone: ['cd'.repeat(32)], leftOut }),
        failingSince: null,
      };
      assert.deepEqual(await mirrors.noted('rh', 10), [noted]);
      const next = setOf('app', { checkedAt: later(9), upstream: null, sizeBytes: null });
      // of two in one batch the later counts
      await mirrors.checked([setOf('app'), next]);
      const wanted = { ...next, syncedAt: AT, failingSince: null };
      const after = await under.reopen();
      assert.deepEqual(await after.setOf(image), wanted);
      const other = { ...setOf('other'), failingSince: null };
      const images = ['other', 'never', 'app', 'other'].map(imageOf);
      assert.deepEqual(await after.setsOf(images), [other, null, wanted, other]);
      assert.deepEqual(await after.setsOf([]), []);
    });

    test('walks have failed since the first that did, unless another has ended well since it began', async ({
      mirrors,
    }) => {
      const image = imageOf('app');
      await mirrors.failed([{ image, begunAt: AT }], later(1));
      assert.equal(await mirrors.setOf(image), null);
      await mirrors.checked([setOf('app', { checkedAt: later(10) })]);
      const failing = async () => (await mirrors.setOf(image))?.failingSince;
      await mirrors.failed([{ image, begunAt: later(5) }], later(20));
      assert.equal(await failing(), null);
      await mirrors.failed([{ image, begunAt: later(30) }], later(40));
      await mirrors.failed([{ image, begunAt: later(50) }], later(60));
      assert.deepEqual(await failing(), later(40));
      await mirrors.checked([setOf('app', { checkedAt: later(70) })]);
      assert.equal(await failing(), null);
    });

    test('the sets that reads alone have brought go from the one that was asked for longest ago', async ({
      mirrors,
    }) => {
      const names = ['a', 'b', 'c', 'd'];
      await mirrors.checked([
        ...names.map((one, position) => setOf(one, { checkedAt: later(position) })),
        setOf('synced', { syncedAt: AT }),
        setOf('gone', { gone: ['ab'.repeat(32)] }),
        setOf('empty', { upstream: null, sizeBytes: null }),
      ]);
      assert.equal(await mirrors.beyond('rh', 4 * 8192), null);
      await mirrors.asked([
        { image: imageOf('a'), askedAt: later(100) },
        { image: imageOf('d'), askedAt: later(1) },
      ]);
      const last = await mirrors.beyond('rh', 2 * 8192);
      const place = (one: string, ms: number) => ({ askedAt: later(ms), image: imageFolder(imageOf(one)) });
      assert.deepEqual(last, place('c', 2));
      assert.ok(last !== null);
      const all = [place('b', 1), place('c', 2)];
      assert.deepEqual(await mirrors.onDemand('rh', { after: null, last }, 10), all);
      assert.deepEqual(await mirrors.onDemand('rh', { after: null, last }, 1), all.slice(0, 1));
      assert.deepEqual(await mirrors.onDemand('rh', { after: place('b', 1), last }, 10), all.slice(1));
      await mirrors.forget([imageOf('b'), imageOf('nobody')]);
      assert.equal(await mirrors.setOf(imageOf('b')), null);
      assert.deepEqual(await mirrors.onDemand('rh', { after: null, last }, 10), all.slice(1));
    });

    test('releases are known by version and channel, and leave a channel that no longer names them', async ({
      mirrors,
    }) => {
      const put = (
        releases: readonly ReturnType<typeof releaseOf>[],
        wholeChannels: readonly object[] = [],
      ) => mirrors.putReleases('rh', { releases, wholeChannels: wholeChannels as never });
      const versions = async (channel: string) =>
        (await mirrors.releases(channel, 10)).map(({ version }) => version);
      await put([releaseOf('4.1.1', ['a', 'b']), releaseOf('4.1.2', ['a']), releaseOf('4.1.3', ['a', 'b'])]);
      assert.deepEqual(await versions('a'), ['4.1.1', '4.1.2', '4.1.3']);
      assert.deepEqual(await mirrors.releases('a', 2), [
        { digest: releaseOf('4.1.1', []).digest, version: '4.1.1', arch: 'amd64' },
        { digest: releaseOf('4.1.2', []).digest, version: '4.1.2', arch: 'amd64' },
      ]);
      // the same one twice, and without its architecture: what is known of it stays
      const unnamed = releaseOf('4.1.2', ['c'], { arch: null, hasAllChannels: true });
      await put([unnamed, unnamed], [{ channel: 'b', arch: 'amd64' }]);
      assert.deepEqual([await versions('a'), await versions('b')], [['4.1.1', '4.1.3'], []]);
      assert.deepEqual(
        (await mirrors.releases('c', 10)).map(({ arch }) => arch),
        ['amd64'],
      );
      await put([]);
    });

    test('of runs the last one is known, and when one last ended in which nothing failed', async (under) => {
      const { mirrors } = under;
      const counts = { new: 2, unchanged: 1, missing: 0, refused: 0, failed: 0 };
      await mirrors.ran('rh', { startedAt: AT, finishedAt: later(5), counts });
      const run = { startedAt: later(6), finishedAt: later(9), counts: { ...counts, failed: 1 } };
      await mirrors.ran('rh', run);
      assert.deepEqual(await (await under.reopen()).lastRun('rh'), { ...run, completeAt: later(5) });
    });
  });
}
