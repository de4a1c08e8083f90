// Threads that hang, die and are replaced; what waits for them, and for how long.
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { describe, test } from 'node:test';
import { isLookasideError } from '../../src/domain/errors.ts';
import type { Urgency, Verifier } from '../../src/domain/ports.ts';
import { openVerifier, type VerifierOptions } from '../../src/openpgp/pool.ts';
import { promise } from '../faults/promise.ts';
import { certificate, compressed, makeKey, message, SIGNED_AT } from './packet-writer.ts';

const NOW = new Date('2025-01-01T00:00:00Z');
const PAYLOAD = Buffer.from(
  JSON.stringify({
    critical: {
      identity: { 'docker-reference': 'registry.example/team/app:v1' },
      image: { 'docker-manifest-digest': `sha256:${'0f'.repeat(32)}` },
      type: 'atomic container signature',
    },
    optional: {},
  }),
);

const script = new URL('./scripted-worker.js', import.meta.url);
// for jobs that end by themselves, on however busy a machine
const PATIENT_MS = 60_000;

async function withVerifier(options: VerifierOptions, body: (verifier: Verifier) => Promise<void>) {
  const verifier = openVerifier({ script, examineLimitMs: PATIENT_MS, ...options });
  try {
    await body(verifier);
  } finally {
    await verifier.close();
  }
}

const order = (verifier: Verifier, what: string, urgency: Urgency = 'upload') =>
  verifier.examine(Buffer.from(what), NOW, urgency);

const isBusy = (error: unknown) => isLookasideError(error, 'BUSY');

describe('a verification thread', () => {
  test('that hangs is replaced, and its job is answered with BUSY', () =>
    withVerifier({ threads: 1, examineLimitMs: 100 }, async (verifier) => {
      verifier.setKeyring([Buffer.from('a')]);
      const jobs = [order(verifier, 'hang'), order(verifier, 'next')];
      await assert.rejects(jobs[0] ?? assert.fail(), isBusy);
      assert.equal(await jobs[1], 'next with 1 certificates');
    }));

  test('that does not answer is replaced', () =>
    withVerifier({ threads: 1, examineLimitMs: 100 }, async (verifier) => {
      await assert.rejects(order(verifier, 'wait'), isBusy);
      assert.equal(await order(verifier, 'next'), 'next with 0 certificates');
    }));

  for (const how of ['throw', 'exit', 'hoard']) {
    promise(
      {
        id: 'P15',
        what: `a verification thread that dies (${how}) is replaced, and no other job is lost`,
        wanted: '1 job refused, the next one done',
      },
      (see) =>
        withVerifier({ threads: 1 }, async (verifier) => {
          verifier.setKeyring([Buffer.from('a'), Buffer.from('b')]);
          const [dying, next] = [order(verifier, how), order(verifier, 'next')];
          await assert.rejects(dying, isBusy);
          assert.equal(await next, 'next with 2 certificates');
          see('1 job refused, the next one done');
        }),
    );
  }

  for (const how of ['hang', 'throw', 'exit', 'hoard']) {
    for (const urgency of ['background', 'upload'] as const) {
      test(`that fails (${how}) loses one of the jobs that it has (${urgency}), and the others are done`, () =>
        withVerifier({ threads: 2, examineLimitMs: how === 'hang' ? 500 : PATIENT_MS }, async (verifier) => {
          const names = Array.from({ length: 50 }, (_, number) => `job ${number}`);
          const orders = [...names.slice(0, 10), how, ...names.slice(10)];
          const outcomes = await Promise.allSettled(orders.map((what) => order(verifier, what, urgency)));
          const done = outcomes.flatMap((outcome) => (outcome.status === 'fulfilled' ? [outcome.value] : []));
          assert.deepEqual(
            done,
            names.map((what) => `${what} with 0 certificates`),
          );
          const lost = outcomes.flatMap((outcome) => (outcome.status === 'rejected' ? [outcome.reason] : []));
          assert.ok(lost.length === 1 && isBusy(lost[0]));
        }));
    }
  }

  test('that cannot be started answers each job with BUSY', () =>
    withVerifier(
      { threads: 1, script: new URL('./no-such-script.js', import.meta.url) },
      async (verifier) => {
        await assert.rejects(order(verifier, 'one'), isBusy);
        await assert.rejects(order(verifier, 'two'), isBusy);
      },
    ));

  test('hands on errors with their code and detail', () =>
    withVerifier({ threads: 1 }, async (verifier) => {
      await assert.rejects(verifier.cleanCertificates(Buffer.from('refuse'), NOW), (error: unknown) => {
        assert.ok(isLookasideError(error, 'TOO_LARGE'));
        assert.deepEqual(error.detail, { most: 64 });
        return true;
      });
      await assert.rejects(order(verifier, 'fail'), /^Error: a bug$/);
    }));
});

describe('the queue for verification', () => {
  test('lets uploads go ahead of what is done in the background', () =>
    withVerifier({ threads: 1 }, async (verifier) => {
      const done: string[] = [];
      const orders = [
        ['first', 'upload'],
        ['background 1', 'background'],
        ['background 2', 'background'],
        ['upload 1', 'upload'],
        ['upload 2', 'upload'],
      ] as const;
      await Promise.all(
        orders.map(([what, urgency]) => order(verifier, what, urgency).then(() => done.push(what))),
      );
      assert.deepEqual(done, ['first', 'upload 1', 'upload 2', 'background 1', 'background 2']);
    }));

  test('lets an upload wait for one background job where one thread has to do all', () =>
    withVerifier({ threads: 1 }, async (verifier) => {
      const done: unknown[] = [];
      const all = Array.from({ length: 20 }, (_, number) =>
        order(verifier, `background ${number}`, 'background').then((what) => done.push(what)),
      );
      await order(verifier, 'upload').then((what) => done.push(what));
      assert.equal(done[1], 'upload with 0 certificates');
      await Promise.all(all);
    }));

  test('gives an upload the thread of the background once that has done the jobs that it has', () =>
    withVerifier({ threads: 2 }, async (verifier) => {
      const done: unknown[] = [];
      const hanging = assert.rejects(order(verifier, 'hang'), isBusy);
      await order(verifier, 'first'); // by the other thread, once the first is known to take long
      const all = Array.from({ length: 100 }, (_, number) =>
        order(verifier, `background ${number}`, 'background').then((what) => done.push(what)),
      );
      await order(verifier, 'upload').then((what) => done.push(what));
      const before = done.indexOf('upload with 0 certificates');
      assert.ok(before <= 16, `${before} jobs of the background were done before`);
      await Promise.all(all);
      await verifier.close();
      await hanging;
    }));

  test('has one thread do all uploads as long as it suffices', () =>
    withVerifier({ threads: 2, helpAfterMs: PATIENT_MS }, async (verifier) => {
      const threads = new Set<unknown>();
      for (let round = 0; round < 5; round += 1) {
        const together = Array.from({ length: 8 }, () => order(verifier, 'which'));
        for (const thread of await Promise.all(together)) threads.add(thread);
      }
      assert.equal(threads.size, 1);
    }));

  test('has another thread help once uploads have waited', () =>
    withVerifier({ threads: 2, helpAfterMs: 0 }, async (verifier) => {
      const threads = await Promise.all(Array.from({ length: 1000 }, () => order(verifier, 'which')));
      assert.equal(new Set<unknown>(threads).size, 2);
    }));

  test('has uploads done by another thread while one of them takes long', () =>
    withVerifier({ threads: 2 }, async (verifier) => {
      const hanging = assert.rejects(order(verifier, 'hang'), isBusy);
      const behind = Array.from({ length: 20 }, (_, number) => order(verifier, `upload ${number}`));
      assert.deepEqual(
        await Promise.all(behind),
        behind.map((_, number) => `upload ${number} with 0 certificates`),
      );
      await verifier.close();
      await hanging;
    }));

  test('answers each upload once that two threads have', () =>
    withVerifier({ threads: 2 }, async (verifier) => {
      const orders = ['long', 'a', 'b', 'c', 'd', 'e'];
      const first = await Promise.all(orders.map((what) => order(verifier, what)));
      // those that the first thread had behind the long one, it does too
      const second = await Promise.all(orders.slice(1).map((what) => order(verifier, what)));
      assert.deepEqual(
        [...first, ...second],
        [...orders, ...orders.slice(1)].map((what) => `${what} with 0 certificates`),
      );
    }));

  test('takes the first answer of two threads that have the same upload', () =>
    withVerifier({ threads: 2, examineLimitMs: 20_000 }, async (verifier) => {
      const orders = ['long', 'behind long', 'behind long', 'last'];
      assert.deepEqual(
        await Promise.all(orders.map((what) => order(verifier, what))),
        orders.map((what) => `${what} with 0 certificates`),
      );
    }));

  test('answers each upload that a thread gets for the second time, also when that thread is replaced', () =>
    withVerifier({ threads: 2, examineLimitMs: 1000, helpAfterMs: 300 }, async (verifier) => {
      // both threads are there, so that the second one gives back what it has while the first is not yet slow again
      await Promise.allSettled(['long', 'up'].map((what) => order(verifier, what)));
      const orders = ['long', 'wait', 'a', 'b'];
      const outcomes = await Promise.allSettled(orders.map((what) => order(verifier, what)));
      // on a machine that stands still for a second, each may take too long
      for (const [position, outcome] of outcomes.entries()) {
        if (outcome.status === 'rejected') assert.ok(isBusy(outcome.reason));
        else assert.equal(outcome.value, `${orders[position]} with 0 certificates`);
      }
      assert.equal(outcomes[1]?.status, 'rejected');
    }));

  test('keeps one thread for uploads, however much is done in the background', () =>
    withVerifier({ threads: 2 }, async (verifier) => {
      const background = ['hang', 'hang', 'hang'].map((what) => order(verifier, what, 'background'));
      const refused = background.map((job) => assert.rejects(job, isBusy));
      assert.equal(await order(verifier, 'upload'), 'upload with 0 certificates');
      await verifier.close();
      await Promise.all(refused);
    }));

  test('has idle jobs done by a thread of their own, which neither uploads nor the background wait for', () =>
    withVerifier({ threads: 2 }, async (verifier) => {
      const idle = ['hang', 'behind it'].map((what) => assert.rejects(order(verifier, what, 'idle'), isBusy));
      const background = ['hang', 'hang'].map((what) =>
        assert.rejects(order(verifier, what, 'background'), isBusy),
      );
      assert.equal(await order(verifier, 'upload'), 'upload with 0 certificates');
      await verifier.close();
      await Promise.all([...idle, ...background]);
    }));

  test('has idle jobs done while uploads and the background have all of their threads', () =>
    withVerifier({ threads: 2 }, async (verifier) => {
      const held = [order(verifier, 'hang', 'background'), order(verifier, 'hang')].map((job) =>
        assert.rejects(job, isBusy),
      );
      verifier.setKeyring([Buffer.from('a')]);
      const orders = Array.from({ length: 40 }, (_, number) => `idle ${number}`);
      const done = await Promise.all(orders.map((what) => order(verifier, what, 'idle')));
      assert.deepEqual(
        done,
        orders.map((what) => `${what} with 1 certificates`),
      );
      await verifier.close();
      await Promise.all(held);
    }));

  test('gives an idle job four times as long, as its thread waits for all others', () =>
    withVerifier({ threads: 2, examineLimitMs: 150 }, async (verifier) => {
      const startedMs = performance.now();
      const lost = assert.rejects(order(verifier, 'hang', 'idle'), /longer than 600 ms/);
      const next = order(verifier, 'next', 'idle');
      await lost;
      assert.ok(performance.now() - startedMs >= 599);
      assert.equal(await next, 'next with 0 certificates');
    }));

  test('has one thread do idle jobs too where there is one, behind uploads', () =>
    withVerifier({ threads: 1 }, async (verifier) => {
      const done: unknown[] = [];
      const all = Array.from({ length: 5 }, (_, number) =>
        order(verifier, `idle ${number}`, 'idle').then((what) => done.push(what)),
      );
      await order(verifier, 'upload').then((what) => done.push(what));
      assert.equal(done[1], 'upload with 0 certificates');
      await Promise.all(all);
    }));

  test('takes so many jobs and no more', () =>
    withVerifier({ threads: 1, maxQueued: 2 }, async (verifier) => {
      const held = ['hang', 'second', 'third'].map((what) => assert.rejects(order(verifier, what), isBusy));
      await assert.rejects(order(verifier, 'fourth'), /2 signatures wait to be verified already/);
      // the other urgency has room of its own
      held.push(assert.rejects(order(verifier, 'background', 'background'), /closed/));
      await verifier.close();
      await Promise.all(held);
    }));

  test('takes so many bytes and no more, but always one job', () =>
    withVerifier({ threads: 1, maxQueuedBytes: 10 }, async (verifier) => {
      const held = ['hang', 'more than ten bytes'].map((what) =>
        assert.rejects(order(verifier, what), isBusy),
      );
      await assert.rejects(order(verifier, 'x'), (error: unknown) => {
        assert.ok(isLookasideError(error, 'BUSY'));
        assert.match(error.message, /wait to be verified already/);
        // who waits for its turn knows it by this
        assert.equal(typeof error.detail?.waiting, 'number');
        return true;
      });
      await verifier.close();
      await Promise.all(held);
    }));

  test('takes nothing once it is closed', () =>
    withVerifier({}, async (verifier) => {
      await verifier.close();
      await assert.rejects(order(verifier, 'late'), isBusy);
    }));
});

describe('a keyring', () => {
  test('holds for every job that is handed in after it, on every thread', () =>
    withVerifier({ threads: 2 }, async (verifier) => {
      await Promise.all([order(verifier, 'warm'), order(verifier, 'up')]);
      for (const count of [1, 3, 2]) {
        verifier.setKeyring(Array.from({ length: count }, () => Buffer.from('certificate')));
        const jobs = ['a', 'b', 'c', 'd'].map((what) => order(verifier, what));
        const expected = ['a', 'b', 'c', 'd'].map((what) => `${what} with ${count} certificates`);
        assert.deepEqual(await Promise.all(jobs), expected);
      }
    }));
});

describe('the verifier', () => {
  const key = makeKey('ed25519');

  test('judges in its threads, and the bytes stay the caller’s', async () => {
    await using verifier = disposable(openVerifier());
    const bytes = message(key, PAYLOAD);
    const before = Buffer.from(bytes);
    assert.equal((await verifier.examine(bytes, NOW, 'upload')).verdict, 'no-key');
    const own = certificate(key);
    const copy = Buffer.from(own);
    verifier.setKeyring([own]);
    const judged = await verifier.examine(bytes, NOW, 'background');
    assert.equal(judged.verdict, 'good', judged.refusal?.message);
    assert.deepEqual(judged.signedAt, SIGNED_AT);
    assert.deepEqual(bytes, before);
    assert.deepEqual(own, copy);
  });

  test('is through with many at once', async () => {
    await using verifier = disposable(openVerifier());
    verifier.setKeyring([certificate(key)]);
    const jobs = Array.from({ length: 100 }, (_, index) =>
      verifier.examine(compressed(message(key, PAYLOAD)), NOW, index % 2 === 0 ? 'upload' : 'background'),
    );
    for (const { verdict } of await Promise.all(jobs)) assert.equal(verdict, 'good');
  });

  test('does not keep a program alive that has nothing more to do', () => {
    const pool = new URL('../../src/openpgp/pool.js', import.meta.url);
    const program = `
      import { openVerifier } from ${JSON.stringify(pool.href)};
      const verifier = openVerifier();
      const { refusal } = await verifier.examine(Buffer.of(1), new Date(), 'upload');
      console.log(refusal.code);`;
    const { stdout, stderr, status } = spawnSync(
      process.execPath,
      ['--input-type=module', '--eval', program],
      { encoding: 'utf8', timeout: PATIENT_MS },
    );
    assert.deepEqual({ stdout, stderr, status }, { stdout: 'FIRST_BYTE\n', stderr: '', status: 0 });
  });
});

function disposable(verifier: Verifier): Verifier & AsyncDisposable {
  return Object.assign(verifier, { [Symbol.asyncDispose]: () => verifier.close() });
}
