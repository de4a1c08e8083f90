// Watching: a file is pushed once it is written to its end, and asked for no more until it changes.
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { LookasideError } from '../../src/domain/errors.ts';
import type { StagedFile } from '../../src/domain/staged.ts';
import { type WatchEvent, watchAndPush } from '../../src/service/push-watch.ts';
import { imageOf } from './hand-driven.ts';
import { inTree, isWhole, openPushScene, type PushScene, signed, unreachable } from './push-scene.ts';

const OLD = new Date(0);
const APP = imageOf('team/app');

interface Watched {
  readonly events: readonly WatchEvent[];
  /** The event, what it is about, and the results of a push. */
  readonly happened: readonly string[];
}

/** Runs the watch; each time that it has nothing to do but wait, the next step is taken. It ends after the last. */
async function watch(
  scene: PushScene,
  steps: readonly ((clockMs: number) => void)[],
  failure?: string,
): Promise<Watched> {
  const { pusher, staging, clock } = scene;
  const stop = new AbortController();
  const events: WatchEvent[] = [];
  let step = 0;
  const running = watchAndPush(
    {
      pusher,
      staging,
      isWhole,
      whyRefused: (bytes) => (bytes[0] === '-'.charCodeAt(0) ? 'it is armoured' : null),
      clock,
      random: () => 1,
      async wait(ms, signal) {
        await new Promise((resolve) => setImmediate(resolve));
        if (signal.aborted) return;
        scene.waits.push(ms);
        const next = steps[step];
        step += 1;
        if (next === undefined) stop.abort();
        else next(ms);
      },
    },
    { roots: ['st'], force: false, signal: stop.signal, onEvent: (event) => void events.push(event) },
  );
  if (failure === undefined) await running;
  else await assert.rejects(running, (error) => error instanceof LookasideError && error.code === failure);
  return { events, happened: events.map(textOf) };
}

function textOf(event: WatchEvent): string {
  switch (event.event) {
    case 'pushed':
      return `${event.pushed.image?.path}: ${event.pushed.files.map(({ outcome }) => outcome.result).join(' ')}`;
    case 'away':
    case 'root-away':
    case 'polling':
      return `${event.event}: ${event.message}`;
    case 'unfinished':
      return event.message === null ? event.event : `${event.event}: ${event.message}`;
    case 'problem':
      return `problem: ${event.problem.message}`;
    case 'gap':
      return `gap: ${event.gap.hidden.join()}`;
    default:
      return event.event;
  }
}

function put(scene: PushScene, number: number, text: string, modifiedAt = scene.clock.now()): StagedFile {
  return scene.staging.put(inTree('team/app', 'a', number), text, modifiedAt);
}

function change({ staging }: PushScene): void {
  staging.change(`team/app@sha256=${'a'.repeat(64)}`);
}

describe('a watch', () => {
  it('pushes what is there, then what appears, and asks for nothing twice', async () => {
    const scene = openPushScene();
    const { server, clock } = scene;
    server.put(APP, signed('team/app:v1'));
    put(scene, 1, signed('team/app:v1'), OLD);
    put(scene, 2, signed('team/app:v2'), OLD);
    const { happened } = await watch(scene, [
      () => {
        put(scene, 3, signed('team/app:v3'));
        change(scene);
      },
      (ms) => clock.pass(ms),
      () => change(scene),
      () => scene.staging.change(''),
    ]);
    assert.deepEqual(happened, ['team/app: there sent', 'watching', 'team/app: sent']);
    assert.deepEqual(
      server.holds(APP),
      ['v1', 'v2', 'v3'].map((tag) => signed(`team/app:${tag}`)),
    );
    assert.deepEqual(
      server.questions.map(({ length }) => length),
      [2, 1],
    );
  });

  it('does not bring back what was withdrawn: it is told of once, and asked for again only when it changes', async () => {
    const scene = openPushScene();
    const { server, clock } = scene;
    const leaked = signed('team/app:v1');
    const message = 'it was withdrawn: a leaked build';
    server.refuse = (text) => (text === leaked ? { code: 'WITHDRAWN', message } : null);
    put(scene, 1, leaked, OLD);
    const anHour = () => clock.pass(3_600_001);
    const { happened, events } = await watch(scene, [
      anHour,
      anHour,
      () => change(scene),
      anHour,
      () => scene.staging.change(''),
      anHour,
    ]);
    assert.deepEqual(happened, ['team/app: withdrawn', 'watching']);
    const [pushed] = events;
    assert.ok(pushed?.event === 'pushed');
    assert.deepEqual(
      pushed.pushed.files.map(({ outcome }) => outcome),
      [{ result: 'withdrawn', message }],
    );
    assert.deepEqual([server.questions.length, server.batches.length], [1, 1]);
    assert.deepEqual(server.holds(APP), []);

    const again = openPushScene();
    again.server.refuse = server.refuse;
    put(again, 1, leaked, OLD);
    const { happened: toldThen } = await watch(again, [
      () => {
        put(again, 1, signed('team/app:v2'), OLD);
        change(again);
      },
    ]);
    assert.deepEqual(toldThen, ['team/app: withdrawn', 'watching', 'team/app: sent']);
  });

  it('sends a file that was changed 200 ms ago, or that was found the same for as long', async () => {
    const scene = openPushScene();
    const { server, clock } = scene;
    put(scene, 1, signed('team/app:v1'), new Date(clock.now().getTime() - 150));
    const held: number[] = [];
    const hold = (ms: number) => {
      held.push(server.holds(APP).length);
      clock.pass(ms);
    };
    await watch(scene, [
      hold,
      () => {
        // the clock of who writes is an hour ahead
        put(scene, 2, signed('team/app:v2'), new Date(clock.now().getTime() + 3_600_000));
        change(scene);
      },
      hold,
      (ms) => void hold(ms),
    ]);
    assert.deepEqual(held, [0, 1, 2]);
    assert.ok(scene.waits.every((ms) => ms >= 0));
  });

  it('never sends a half-written file, however long that stays, and tells of it once', async () => {
    const scene = openPushScene();
    const { server, clock, waits } = scene;
    let at = 0;
    put(scene, 1, 'team/app:v1 a', OLD);
    const pass = (ms: number) => {
      clock.pass(ms);
      at += ms;
    };
    const { happened } = await watch(scene, [
      ...Array.from({ length: 40 }, () => pass),
      () => {
        put(scene, 1, signed('team/app:v1'));
        change(scene);
      },
      pass,
    ]);
    assert.deepEqual(happened, ['watching', 'unfinished', 'team/app: sent']);
    assert.deepEqual(server.batches.length, 1);
    const untilTold = waits.findIndex((ms) => ms > 1000);
    assert.ok(untilTold > 0 && untilTold < 20, 'it is looked at every second at first, then seldom');
    assert.ok(at > 60_000);
  });

  it('says what a file is that never becomes a signature', async () => {
    const scene = openPushScene();
    put(scene, 1, '-----BEGIN', OLD);
    const pass = (ms: number) => scene.clock.pass(ms);
    const { happened } = await watch(
      scene,
      Array.from({ length: 20 }, () => pass),
    );
    assert.deepEqual(happened, ['watching', 'unfinished: it is armoured']);
  });

  it('says when changes may go unnoticed', async () => {
    const scene = openPushScene();
    const { happened } = await watch(scene, [() => scene.staging.doubt('no more watches')]);
    assert.deepEqual(happened, ['watching', 'polling: no more watches']);
  });

  it('tells once what was refused, and tries it again when it changes and after an hour', async () => {
    const scene = openPushScene();
    const { server, clock } = scene;
    let isKeyKnown = false;
    server.refuse = () => (isKeyKnown ? null : { code: 'KEY_UNKNOWN', message: 'no such key' });
    put(scene, 1, signed('team/app:v1'), OLD);
    const { happened } = await watch(scene, [
      () => change(scene),
      (ms) => {
        assert.ok(ms > 3_500_000);
        clock.pass(ms);
      },
      () => {
        put(scene, 1, signed('team/app:v2'), new Date(1));
        change(scene);
      },
      (ms) => {
        isKeyKnown = true;
        clock.pass(ms);
      },
    ]);
    assert.deepEqual(happened, ['team/app: refused', 'watching', 'team/app: refused', 'team/app: sent']);
    assert.equal(server.batches.length, 4);
  });

  it('tries again after a minute what the server had no room for', async () => {
    const scene = openPushScene();
    let isFull = true;
    scene.server.refuse = () => (isFull ? { code: 'DISK_FULL', message: 'no room' } : null);
    put(scene, 1, signed('team/app:v1'), OLD);
    const { happened } = await watch(scene, [
      (ms) => {
        assert.equal(ms, 60_000);
        isFull = false;
        scene.clock.pass(ms);
      },
    ]);
    assert.deepEqual(happened, ['team/app: refused', 'watching', 'team/app: sent']);
  });

  it('tells of problems and gaps once each', async () => {
    const scene = openPushScene();
    scene.staging.problems = [{ source: 'st/x/signature-1', kind: 'link', message: 'it is a link' }];
    scene.staging.gaps = [{ source: 'st/y', hidden: [5] }];
    const gone = put(scene, 1, signed('team/app:v1'), OLD);
    const changeAll = () => scene.staging.change('');
    const { happened } = await watch(scene, [
      changeAll,
      () => {
        const findBelow = scene.staging.findBelow;
        scene.staging.findBelow = async (root, folders) => ({
          ...(await findBelow(root, folders)),
          files: [inTree('team/vanished', 'a', 1)],
        });
        scene.staging.files.delete(gone.source);
        changeAll();
      },
    ]);
    assert.deepEqual(happened, ['problem: it is a link', 'gap: 5', 'team/app: sent', 'watching']);
  });
});

describe('a watch whose server is away', () => {
  it('keeps trying without a word until it is back, and loses nothing', async () => {
    const scene = openPushScene();
    const { server, clock, waits } = scene;
    let isAway = true;
    server.onRequest = () => {
      if (isAway) throw unreachable();
    };
    put(scene, 1, signed('team/app:v1'), OLD);
    const pass = (ms: number) => clock.pass(ms);
    const { happened } = await watch(scene, [
      pass,
      pass,
      (ms) => {
        put(scene, 2, signed('team/app:v2'), OLD);
        change(scene);
        pass(ms);
      },
      pass,
      (ms) => {
        isAway = false;
        pass(ms);
      },
      () => {
        isAway = true;
        put(scene, 3, signed('team/app:v3'), OLD);
        change(scene);
      },
      (ms) => {
        isAway = false;
        pass(ms);
      },
    ]);
    const away = 'away: the server does not answer';
    assert.deepEqual(happened, [
      away,
      'team/app: sent sent',
      'back',
      'watching',
      away,
      'team/app: sent',
      'back',
    ]);
    assert.deepEqual(waits.slice(0, 5), [1000, 1000, 1000, 2000, 4000]);
    assert.deepEqual(
      server.holds(APP),
      ['v1', 'v2', 'v3'].map((tag) => signed(`team/app:${tag}`)),
    );
  });

  it('gathers nothing while all is told again and again', async () => {
    const scene = openPushScene();
    let isAway = true;
    scene.server.onRequest = () => {
      if (isAway) throw unreachable();
    };
    const files = Array.from({ length: 250 }, (_, i) => put(scene, i + 1, signed(`team/app:v${i}`), OLD));
    const tellAll = () => scene.staging.change('');
    await watch(scene, [
      ...Array.from({ length: 5 }, () => tellAll),
      () => {
        isAway = false;
      },
    ]);
    assert.equal(scene.server.holds(APP).length, files.length);
    // once to be sent, and once for all that was told since
    assert.equal(scene.staging.reads.filter((source) => source === files.at(-1)?.source).length, 2);
  });

  it('finds that it is back even when there is nothing to send', async () => {
    const scene = openPushScene();
    let tries = 0;
    scene.server.onRequest = () => {
      tries += 1;
      if (tries < 3) throw unreachable();
    };
    const pass = (ms: number) => scene.clock.pass(ms);
    assert.deepEqual((await watch(scene, [pass, pass])).happened, [
      'away: the server does not answer',
      'back',
      'watching',
    ]);
  });

  it('ends at once when the first thing it hears is that the token is wrong', async () => {
    const scene = openPushScene();
    const wrong = new LookasideError('UNAUTHORIZED', 'the token is not known');
    scene.server.onRequest = () => {
      throw wrong;
    };
    await watch(scene, [], 'UNAUTHORIZED');
    assert.deepEqual(scene.staging.closed, ['st']);

    const later = openPushScene();
    let tries = 0;
    later.server.onRequest = () => {
      tries += 1;
      throw tries === 1 ? unreachable() : wrong;
    };
    await watch(later, [() => undefined], 'UNAUTHORIZED');
  });

  it('tries each minute when the token was revoked', async () => {
    const scene = openPushScene();
    const { server, waits } = scene;
    let isRevoked = false;
    server.onRequest = () => {
      if (isRevoked) throw new LookasideError('UNAUTHORIZED', 'the token is not known');
    };
    const { happened } = await watch(scene, [
      () => {
        isRevoked = true;
        put(scene, 1, signed('team/app:v1'), OLD);
        change(scene);
      },
      () => undefined,
      () => {
        isRevoked = false;
      },
    ]);
    assert.deepEqual(happened, ['watching', 'away: the token is not known', 'team/app: sent', 'back']);
    assert.deepEqual(waits.slice(1, 3), [60_000, 60_000]);
  });
});

describe('a watched folder', () => {
  it('that is not there at the start ends the watch', async () => {
    const scene = openPushScene();
    scene.staging.failure = new LookasideError('CONFIG_INVALID', 'there is no folder st');
    await watch(scene, [], 'CONFIG_INVALID');
  });

  it('that goes is told of once, and watched again when it is back', async () => {
    const scene = openPushScene();
    const { staging, clock } = scene;
    const pass = (ms: number) => clock.pass(ms);
    const { happened } = await watch(scene, [
      () => {
        staging.failure = new LookasideError('CONFIG_INVALID', 'there is no folder st');
        staging.change('');
      },
      pass,
      pass,
      (ms) => {
        staging.failure = null;
        put(scene, 1, signed('team/app:v1'), OLD);
        pass(ms);
      },
    ]);
    assert.deepEqual(happened, [
      'watching',
      'root-away: there is no folder st',
      'root-back',
      'team/app: sent',
    ]);
    assert.deepEqual(staging.closed, ['st', 'st']);
  });
});
