// Pushing: what is sent, in which batches, and what is told of each file.
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import fc from 'fast-check';
import { LookasideError } from '../../src/domain/errors.ts';
import { imageFolder } from '../../src/domain/image.ts';
import { parseRemap } from '../../src/domain/remap.ts';
import type { StagedFile } from '../../src/domain/staged.ts';
import type { PushEnd, PushedImage, PushOptions } from '../../src/service/push.ts';
import { imageOf } from './hand-driven.ts';
import { inTree, openPushScene, type PushScene, placed, signed, unreachable } from './push-scene.ts';

const OLD = new Date(0);

interface Pushed extends PushEnd {
  readonly images: readonly PushedImage[];
  /** `source` without its folders: what became of it. */
  readonly outcomes: Readonly<Record<string, string>>;
  readonly progress: readonly number[];
}

async function push(
  { pusher }: PushScene,
  files: readonly StagedFile[],
  options: Partial<PushOptions> = {},
): Promise<Pushed> {
  const images: PushedImage[] = [];
  const progress: number[] = [];
  const end = await pusher.push(
    files,
    { force: false, dryRun: false, signal: new AbortController().signal, ...options },
    { onImage: (pushed) => void images.push(pushed), onProgress: (now) => void progress.push(now.files) },
  );
  const outcomes = images.flatMap(({ files }) =>
    files.map(({ source, outcome }) => [
      source.replace(/^.*\/(.*@sha256=.)[^/]*\//, '$1/').replace('signature-', ''),
      outcome.result,
    ]),
  );
  return { ...end, images, progress, outcomes: Object.fromEntries(outcomes) };
}

function stage(scene: PushScene, path: string, digit: string, texts: Readonly<Record<number, string>>) {
  return Object.entries(texts).map(([number, text]) =>
    scene.staging.put(inTree(path, digit, Number(number)), text, OLD),
  );
}

describe('a push', () => {
  it('sends what the server lacks and nothing else, image by image, by number', async () => {
    const scene = openPushScene();
    const app = imageOf('team/app');
    scene.server.put(app, signed('team/app:v1'));
    const files = [
      ...stage(scene, 'team/app', 'a', {
        1: signed('team/app:v1'),
        10: signed('team/app:v10'),
        2: signed('team/app:v2'),
      }),
      ...stage(scene, 'team/other', 'b', { 1: signed('team/other:v1', 'b') }),
    ];
    const pushed = await push(scene, [...files].reverse());
    assert.deepEqual(
      scene.server.holds(app),
      ['v1', 'v2', 'v10'].map((tag) => signed(`team/app:${tag}`)),
    );
    assert.deepEqual(pushed.outcomes, {
      'app@sha256=a/1': 'there',
      'app@sha256=a/2': 'sent',
      'app@sha256=a/10': 'sent',
      'other@sha256=b/1': 'sent',
    });
    assert.deepEqual([pushed.stopped, pushed.unsent], [null, 0]);
    assert.equal(scene.server.batches.length, 1);
    assert.deepEqual(scene.server.batches[0]?.toSorted(), [
      `${imageFolder(app)}/signature-10`,
      `${imageFolder(app)}/signature-2`,
      `${imageFolder(imageOf('team/other', 'b'))}/signature-1`,
    ]);
    assert.equal(pushed.progress.at(-1), 4);
    assert.equal(
      pushed.sentBytes,
      [signed('team/app:v2'), signed('team/app:v10'), signed('team/other:v1')].join('').length,
    );

    const again = await push(scene, files);
    assert.deepEqual(Object.values(again.outcomes), ['there', 'there', 'there', 'there']);
    assert.equal(scene.server.batches.length, 1);
  });

  it('places what its path does not place by its own claim, and leaves single blobs to the server', async () => {
    const scene = openPushScene();
    const digest = { algorithm: 'sha256', hex: 'c'.repeat(64) } as const;
    const files = [
      scene.staging.put(
        placed('dir/signature-2', { kind: 'manifest', digest, number: 2 }),
        signed('team/app:v1', 'c'),
        OLD,
      ),
      scene.staging.put(placed('blob', { kind: 'payload' }), signed('team/blob:v1', 'd'), OLD),
      scene.staging.put(placed('junk', { kind: 'payload' }), 'no signature.', OLD),
    ];
    scene.server.refuse = (text) =>
      text.startsWith('no') ? { code: 'FIRST_BYTE', message: 'it begins with n' } : null;
    const pushed = await push(scene, files);
    const app = imageOf('team/app', 'c');
    assert.deepEqual(scene.server.batches, [[`${imageFolder(app)}/signature-2`, null, null]]);
    assert.equal(scene.server.holds(app).length, 1);
    assert.equal(scene.server.holds(imageOf('team/blob', 'd')).length, 1);
    assert.deepEqual(
      pushed.images.map(({ image }) => image?.path ?? null),
      ['team/app', 'team/blob', null],
    );
    assert.deepEqual(pushed.images[2]?.files[0]?.outcome, {
      result: 'refused',
      code: 'FIRST_BYTE',
      message: 'it begins with n',
      isMisrooted: false,
    });
    const asked = scene.server.questions[0] ?? [];
    assert.equal(asked.length, 2, 'what does not tell its image cannot be asked for');
  });

  it('asks for no image that no tree can hold, and leaves what names one to the server', async () => {
    const scene = openPushScene();
    const digest = { algorithm: 'sha256', hex: 'c'.repeat(64) } as const;
    const long = signed(`${'n'.repeat(200)}:v1`, 'c');
    const files = [
      scene.staging.put(placed('dir/signature-2', { kind: 'manifest', digest, number: 2 }), long, OLD),
      scene.staging.put(placed('blob', { kind: 'payload' }), long, OLD),
      scene.staging.put(placed('good', { kind: 'payload' }), signed('team/app:v1', 'c'), OLD),
    ];
    scene.server.refuse = (text) => (text === long ? { code: 'PATH_INVALID', message: 'too long' } : null);
    const { outcomes } = await push(scene, files);
    assert.deepEqual(
      scene.server.questions.flat().map(({ image }) => image.path),
      ['team/app'],
    );
    assert.deepEqual(Object.values(outcomes).sort(), ['refused', 'refused', 'sent']);
  });

  it('sends the same bytes of one image once, and tells of both files', async () => {
    const scene = openPushScene();
    const text = signed('team/app:v1');
    const files = stage(scene, 'team/app', 'a', { 1: text, 2: text });
    const pushed = await push(scene, files);
    assert.deepEqual(pushed.outcomes, { 'app@sha256=a/1': 'sent', 'app@sha256=a/2': 'there' });
    assert.deepEqual(scene.server.holds(imageOf('team/app')), [text]);
    scene.server.refuse = () => ({ code: 'KEY_UNKNOWN', message: 'no such key' });
    const other = await push(scene, stage(scene, 'team/app', 'b', { 1: text, 2: text }));
    assert.deepEqual(Object.values(other.outcomes), ['refused', 'refused']);
  });

  it('takes what the server has an equivalent of for there, unless it is forced', async () => {
    const scene = openPushScene();
    const image = imageOf('team/app');
    scene.server.put(image, signed('team/app:v1'));
    const files = stage(scene, 'team/app', 'a', { 1: signed('team/app:v1', 'a', 'later') });
    const pushed = await push(scene, files);
    assert.deepEqual(pushed.images[0]?.files[0]?.outcome, {
      result: 'equivalent',
      number: 1,
      path: `/${imageFolder(image)}/signature-1`,
    });
    assert.deepEqual(Object.values((await push(scene, files, { force: true })).outcomes), ['sent']);
    assert.deepEqual(scene.server.forced, [false, true]);
    assert.deepEqual(Object.values((await push(scene, files, { force: true })).outcomes), ['there']);
    assert.equal(scene.server.forced.length, 2);
  });

  it('sends nothing when it only asks', async () => {
    const scene = openPushScene();
    scene.server.put(imageOf('team/app'), signed('team/app:v1'));
    const files = stage(scene, 'team/app', 'a', { 1: signed('team/app:v1'), 2: signed('team/app:v2') });
    const pushed = await push(scene, files, { dryRun: true });
    assert.deepEqual(pushed.outcomes, { 'app@sha256=a/1': 'there', 'app@sha256=a/2': 'missing' });
    assert.deepEqual(scene.server.batches, []);
    assert.equal(pushed.stopped, null);
  });

  it('tells of what cannot be read, and sends the rest', async () => {
    const scene = openPushScene();
    const files = stage(scene, 'team/app', 'a', { 1: signed('team/app:v1'), 2: '' });
    const source = files[1]?.source ?? '';
    scene.staging.files.set(source, { source, kind: 'link', message: 'it is a link' });
    const { outcomes, images } = await push(scene, files);
    assert.deepEqual(outcomes, { 'app@sha256=a/1': 'sent', 'app@sha256=a/2': 'problem' });
    assert.equal(images.length, 1);
  });

  it('takes the folders above one of a staging folder from the signed name, when its end and the digest agree', async () => {
    const scene = openPushScene();
    const CASES = [
      ['app', 'team/app:v1', 'a', 'team/app@sha256=a/1'],
      ['app', 'team/app:v1', 'b', 'app@sha256=a/1'],
      ['pp', 'team/app:v1', 'a', 'pp@sha256=a/1'],
    ] as const;
    for (const [path, name, digit, sentTo] of CASES) {
      await push(scene, stage(scene, path, 'a', { 1: signed(name, digit) }));
      const fileName = scene.server.batches.at(-1)?.[0];
      assert.equal(fileName?.replace(/a{64}\/signature-/, 'a/'), sentTo);
    }
  });

  it('knows the folder above the one that should have been named', async () => {
    const scene = openPushScene();
    scene.server.refuse = () => ({ code: 'REPOSITORY_MISMATCH', message: 'another repository' });
    const CASES = [
      ['sigstore/team/app', 'team/app:v1', true],
      ['team/app', 'other/app:v1', false],
      ['team/app', 'team/app:v1', false],
    ] as const;
    for (const [path, name, isMisrooted] of CASES) {
      const { images } = await push(scene, stage(scene, path, 'a', { 1: signed(name) }));
      const outcome = images[0]?.files[0]?.outcome;
      assert.deepEqual(outcome, {
        result: 'refused',
        code: 'REPOSITORY_MISMATCH',
        message: 'another repository',
        isMisrooted,
      });
    }
  });

  it('sends what was signed for another name below that name, or where it lies by a remap, as it is told', async () => {
    const remap = parseRemap('mirror/quay=registry.example') ?? assert.fail();
    const CASES = [
      // how it is told, where the file lies, the signed name, where it goes
      [false, [], 'mirror/quay/team/app', 'team/app:v1', 'mirror/quay/team/app'],
      [true, [], 'mirror/quay/team/app', 'team/app:v1', 'team/app'],
      [true, [], 'build/x', 'prod/app:v1', 'prod/app'],
      [false, [remap], 'mirror/quay/team/app', 'team/app:v1', 'mirror/quay/team/app'],
      [true, [remap], 'mirror/quay/team/app', 'team/app:v1', 'mirror/quay/team/app'],
      [true, [remap], 'mirror/other/app', 'team/app:v1', 'team/app'],
    ] as const;
    for (const [asSigned, signedFor, path, name, sentTo] of CASES) {
      const scene = openPushScene({ asSigned, signedFor });
      await push(scene, stage(scene, path, 'a', { 1: signed(name) }));
      assert.match(scene.server.batches.at(-1)?.[0] ?? '', new RegExp(`^${sentTo}@sha256=`));
      assert.deepEqual(scene.server.remaps, signedFor.length === 0 ? [] : ['mirror/quay=registry.example']);
    }
  });

  it('gives a file that is being written a second, then sends it as it is', async () => {
    const scene = openPushScene();
    let looks = 0;
    const growing = scene.staging.put(
      inTree('team/app', 'a', 1),
      () => {
        looks += 1;
        return looks < 4 ? 'team/app:v1 a' : signed('team/app:v1');
      },
      OLD,
    );
    await push(scene, [growing]);
    assert.deepEqual(scene.server.holds(imageOf('team/app')), [signed('team/app:v1')]);
    assert.deepEqual(scene.waits, [100, 100, 100]);

    const cut = stage(scene, 'team/cut', 'b', { 1: 'team/cut:v1 b' });
    await push(scene, cut);
    assert.deepEqual(scene.server.holds(imageOf('team/cut', 'b')), ['team/cut:v1 b']);
    assert.equal(scene.waits.length, 3 + 10);
  });
});

describe('batches', () => {
  it('keep the images together and in order, whatever is pushed, two at a time at most', async () => {
    const image = fc.record({
      signatures: fc.integer({ min: 1, max: 127 }),
      largeBytes: fc.constantFrom(0, 0, 0, 0, 500_000, 1_000_000),
    });
    await fc.assert(
      fc.asyncProperty(fc.array(image, { minLength: 1, maxLength: 6 }), async (images) => {
        const scene = openPushScene();
        const files = images.flatMap(({ signatures, largeBytes }, position) =>
          Array.from({ length: signatures }, (_, index) => {
            const filling = index % 50 === 0 ? ' '.repeat(largeBytes) : '';
            return stage(scene, `team/app${position}`, 'a', {
              [index + 1]: signed(`team/app${position}:v${index}`, 'a', filling),
            });
          }).flat(),
        );
        const { outcomes } = await push(scene, files);
        assert.equal(Object.keys(outcomes).length, files.length);
        for (const [position, { signatures }] of images.entries()) {
          const tags = scene.server
            .holds(imageOf(`team/app${position}`))
            .map((text) => text.replace(/^.*?:v([0-9]+) .*$/s, '$1'));
          assert.deepEqual(
            tags,
            Array.from({ length: signatures }, (_, index) => `${index}`),
          );
        }
        assert.equal(scene.server.together.images.size, 0);
        assert.ok(scene.server.together.most <= 2);
        assert.ok(scene.server.batches.every(({ length }) => length <= 100));
      }),
      { numRuns: 8 },
    );
  });

  it('are sent two at a time', async () => {
    const scene = openPushScene();
    const files = Array.from({ length: 250 }, (_, index) =>
      stage(scene, `app${index}`, 'a', { 1: signed(`app${index}:v1`) }),
    ).flat();
    await push(scene, files);
    assert.deepEqual(
      scene.server.batches.map(({ length }) => length),
      [100, 100, 50],
    );
    assert.equal(scene.server.together.most, 2);
  });

  it('are halved when the server finds them too slow, too large or malformed', async () => {
    for (const code of ['TOO_SLOW', 'TOO_LARGE', 'REQUEST_INVALID'] as const) {
      const scene = openPushScene();
      const files = stage(scene, 'team/app', 'a', {
        1: signed('team/app:v1'),
        2: signed('team/app:v2', 'a', 'x'.repeat(100)),
        3: signed('team/app:v3'),
      });
      scene.server.onRequest = (_, parts) => {
        if (parts.some(({ bytes }) => bytes.length > 100)) throw new LookasideError(code, 'that much');
      };
      const pushed = await push(scene, files);
      assert.deepEqual(pushed.outcomes, {
        'app@sha256=a/1': 'sent',
        'app@sha256=a/2': 'refused',
        'app@sha256=a/3': 'sent',
      });
      assert.equal(pushed.stopped, null);
    }
  });

  it('are sent again for what the server could not do at that moment, for a minute at most', async () => {
    for (const code of ['BUSY', 'STORE_UNAVAILABLE', 'INDEX_UNUSABLE'] as const) {
      const scene = openPushScene();
      let refusals = 3;
      scene.server.refuse = (text) =>
        text.includes('v2') && refusals-- > 0 ? { code, message: 'later' } : null;
      const files = stage(scene, 'team/app', 'a', { 1: signed('team/app:v1'), 2: signed('team/app:v2') });
      const { outcomes } = await push(scene, files);
      assert.deepEqual(Object.values(outcomes), ['sent', 'sent']);
      assert.deepEqual(scene.waits, [250, 500, 1000]);
      assert.deepEqual(
        scene.server.batches.map(({ length }) => length),
        [2, 1, 1, 1],
      );
    }
    const scene = openPushScene();
    scene.server.refuse = () => ({ code: 'BUSY', message: 'too much waits' });
    const { outcomes } = await push(scene, stage(scene, 'app', 'a', { 1: signed('app:v1') }));
    assert.deepEqual(Object.values(outcomes), ['refused']);
    const waitedMs = scene.waits.reduce((sum, ms) => sum + ms, 0);
    assert.ok(waitedMs > 40_000 && waitedMs < 60_000, `${waitedMs}`);
  });
});

describe('a push that cannot go on', () => {
  function stageImages(scene: PushScene, count: number): readonly StagedFile[] {
    return Array.from({ length: count }, (_, index) =>
      stage(scene, `app${index}`, 'a', { 1: signed(`app${index}:v1`) }),
    ).flat();
  }

  it('tells what was done before the server failed, and counts the rest', async () => {
    const scene = openPushScene();
    let uploads = 0;
    scene.server.onRequest = (kind) => {
      if (kind === 'upload') uploads += 1;
      if (uploads === 3) throw unreachable();
    };
    const { stopped, unsent, images } = await push(scene, stageImages(scene, 1500));
    assert.equal(stopped?.failure?.code, 'SERVER_UNREACHABLE');
    const sent = images.filter(({ files }) => files[0]?.outcome.result === 'sent').length;
    assert.equal(sent, scene.server.batches.flat().length);
    assert.ok(sent >= 200 && sent < 1000);
    assert.equal(sent + unsent, 1500);
  });

  it('begins no batch once it is stopped, and ends those under way', async () => {
    const scene = openPushScene();
    const stop = new AbortController();
    scene.server.onRequest = (kind) => {
      if (kind === 'upload') stop.abort();
    };
    const { stopped, unsent, images } = await push(scene, stageImages(scene, 350), { signal: stop.signal });
    assert.deepEqual(stopped, { failure: null });
    assert.equal(scene.server.batches.length, 1);
    assert.deepEqual([images.length, unsent], [100, 250]);
  });

  it('tells of an image that was sent in part', async () => {
    const scene = openPushScene();
    const texts = Object.fromEntries(
      Array.from({ length: 127 }, (_, n) => [n + 1, signed(`team/app:v${n}`)]),
    );
    scene.server.onRequest = (kind) => {
      if (kind === 'upload' && scene.server.batches.length === 1) throw unreachable();
    };
    const { images, unsent, outcomes } = await push(scene, stage(scene, 'team/app', 'a', texts));
    assert.equal(images.length, 1);
    assert.equal(unsent, 0);
    assert.equal(Object.values(outcomes).filter((result) => result === 'sent').length, 100);
    assert.equal(Object.values(outcomes).filter((result) => result === 'unsent').length, 27);
  });
});

describe('of many files', () => {
  it('a thousand are read and asked for at a time, the files of an image together', async () => {
    const scene = openPushScene();
    const files = Array.from({ length: 700 }, (_, index) => {
      const texts = { 1: signed(`app${index}:v1`), 2: signed(`app${index}:v2`), 3: signed(`app${index}:v3`) };
      return stage(scene, `app${index}`, 'a', texts);
    }).flat();
    const { images, progress } = await push(scene, files, { dryRun: true });
    assert.equal(images.length, 700);
    assert.ok(images.every(({ files }) => files.length === 3));
    assert.deepEqual(
      scene.server.questions.map(({ length }) => length),
      [1002, 1002, 96],
    );
    assert.equal(progress.at(-1), 2100);
  });
});
