// A log and its witness in one process: what is cosigned, and that two histories are not.
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { toBase64 } from '../../src/domain/base64.ts';
import { parseCheckpoint } from '../../src/domain/checkpoint.ts';
import type { Witnessed } from '../../src/domain/log.ts';
import { COSIGNATURE_V1, type NoteKey, parseNoteKey, verdictOf } from '../../src/domain/signed-note.ts';
import { createCosigning, type WitnessClient } from '../../src/service/cosigning.ts';
import { makePrivateKey, noteSigner, sha256, verifySignature } from '../../src/service/note-keys.ts';
import { createWitness, type Witness } from '../../src/service/witness.ts';
import { openLogScene } from '../sqlite/log-scene.ts';
import { open, temporaryFolder } from '../sqlite/scratch.ts';
import { createClock, createLog } from './hand-driven.ts';

function clientOf(witness: Witness): WitnessClient {
  return {
    key: witness.key,
    async addCheckpoint(request) {
      const answer = await witness.addCheckpoint(request);
      if (answer.outcome === 'cosigned') return { lines: answer.lines };
      if (answer.outcome === 'conflict') return { size: answer.size };
      throw new Error(`${answer.outcome}: ${answer.why}`);
    },
  };
}

/** Each remembers for itself. */
function witnessNamed(name: string, logKey: NoteKey): Witness {
  const signer = noteSigner(makePrivateKey(), { name, type: COSIGNATURE_V1, file: 'witness.key' });
  const last = new Map<string, Witnessed>();
  const store = {
    witnessed: async (origin: string) => last.get(origin) ?? null,
    witness: async (origin: string, _from: number, head: Witnessed) => {
      last.set(origin, head);
      return { isRecorded: true, size: head.size };
    },
  };
  return createWitness({ store, signer, logs: [logKey], clock: createClock() });
}

const noRetry = () => undefined;

describe('a witness', () => {
  it('cosigns a head that goes on from its last, and no other history of the same log', async (t) => {
    const [dataDir, elsewhere, forked] = [temporaryFolder(t), temporaryFolder(t), temporaryFolder(t)];
    const scene = await openLogScene(dataDir);
    const { databases } = await open(elsewhere);
    t.after(() => databases.close());
    const logKey = parseNoteKey(sha256, scene.keeper.identity.vkey);
    assert.ok(logKey !== null);
    const clock = createClock();
    const signer = noteSigner(makePrivateKey(), {
      name: 'w.example',
      type: COSIGNATURE_V1,
      file: 'witness.key',
    });
    const witness = createWitness({ store: databases.log, signer, logs: [logKey], clock });
    const log = createLog();
    const cosigning = createCosigning({
      store: scene.databases.log,
      witnesses: [clientOf(witness)],
      quorum: 0,
      later: noRetry,
      log,
    });
    scene.keeper.onPublished((head) => cosigning.published(head));
    for (const count of [3, 300]) {
      await scene.add(count);
      await scene.keeper.publish();
      await cosigning.idle();
    }
    // as after a restart
    const last = await scene.keeper.checkpoint();
    assert.ok(last !== null);
    cosigning.published(last);
    await cosigning.idle();
    const newest = parseCheckpoint((await scene.keeper.checkpoint())?.note ?? '');
    assert.ok(newest !== null);
    assert.deepEqual(
      [
        verdictOf(newest.note, witness.key, verifySignature),
        verdictOf(newest.note, logKey, verifySignature).verdict,
      ],
      [{ verdict: 'good', atSeconds: clock.now().getTime() / 1000 }, 'good'],
    );
    assert.deepEqual(
      newest.note.signatures.map(({ name }) => name),
      ['log.example/test', 'w.example'],
    );
    assert.deepEqual(cosigning.state, { witnesses: 1, cosigned: 1 });
    const hash = Buffer.from(sha256(Buffer.from('log.example/test'))).toString('hex');
    assert.match((await witness.checkpoint(hash)) ?? '', /^log\.example\/test\n303\n/);
    await scene.close();

    // the same key signs another history, of the same length and of a greater one
    const fork = await openLogScene(forked);
    for (const count of [303, 5]) {
      await fork.add(count);
      await fork.keeper.publish();
      const head = await fork.keeper.checkpoint();
      assert.ok(head !== null);
      const lying = createCosigning({
        store: fork.databases.log,
        witnesses: [clientOf(witness)],
        quorum: 0,
        later: noRetry,
        log,
      });
      lying.published(head);
      await lying.idle();
      assert.equal(lying.state.cosigned, 0);
      assert.doesNotMatch((await fork.keeper.checkpoint())?.note ?? '', /w\.example/);
    }
    await fork.close();
    assert.ok(log.lines.some(({ fields }) => /inconsistent/.test(String(fields.err))));
    assert.match((await witness.checkpoint(hash)) ?? '', /^log\.example\/test\n303\n/);
  });

  it('has one cosignature on a head, however often the head is brought by a log that starts again', async (t) => {
    const scene = await openLogScene(temporaryFolder(t));
    t.after(() => scene.close());
    await scene.add(2);
    await scene.keeper.publish();
    const { vkey } = scene.keeper.identity;
    const logKey = parseNoteKey(sha256, vkey);
    assert.ok(logKey !== null);
    const [one, other] = [witnessNamed('w.example', logKey), witnessNamed('v.example', logKey)];
    const parsed = async () => parseCheckpoint((await scene.keeper.checkpoint())?.note ?? '');
    for (let start = 0; start < 70; start += 1) {
      const head = await scene.keeper.checkpoint();
      assert.ok(head !== null);
      const cosigning = createCosigning({
        store: scene.databases.log,
        witnesses: [one, other].slice(0, start === 69 ? 2 : 1).map(clientOf),
        quorum: 0,
        later: noRetry,
        log: createLog(),
      });
      cosigning.published(head);
      await cosigning.idle();
      assert.equal(cosigning.state.cosigned, start === 69 ? 2 : 1);
      assert.equal((await parsed())?.note.signatures.length, start === 69 ? 3 : 2);
    }
    const { note } = (await parsed()) ?? assert.fail('the head is a checkpoint');
    for (const key of [logKey, one.key, other.key])
      assert.equal(verdictOf(note, key, verifySignature).verdict, 'good');
  });

  it('that was away is asked again for the head of a quiet log, later each time, and nobody else is', async (t) => {
    const scene = await openLogScene(temporaryFolder(t));
    t.after(() => scene.close());
    await scene.add(2);
    await scene.keeper.publish();
    const logKey = parseNoteKey(sha256, scene.keeper.identity.vkey);
    assert.ok(logKey !== null);
    const [there, away] = [witnessNamed('w.example', logKey), witnessNamed('v.example', logKey)];
    const asked = { there: 0, away: 0 };
    let isBack = false;
    const clients: WitnessClient[] = [
      {
        ...clientOf(there),
        addCheckpoint: (request) => {
          asked.there += 1;
          return clientOf(there).addCheckpoint(request);
        },
      },
      {
        ...clientOf(away),
        addCheckpoint: async (request) => {
          asked.away += 1;
          if (!isBack) throw new Error('away');
          return clientOf(away).addCheckpoint(request);
        },
      },
    ];
    const waits: { ms: number; act: () => void }[] = [];
    const log = createLog();
    const cosigning = createCosigning({
      store: scene.databases.log,
      witnesses: clients,
      quorum: 2,
      later: (ms, act) => void waits.push({ ms, act }),
      log,
    });
    const again = async () => {
      const last = waits.at(-1);
      last?.act();
      await scene.databases.log.lastCheckpoint();
      await cosigning.idle();
    };
    const head = await scene.keeper.checkpoint();
    assert.ok(head !== null);
    cosigning.published(head);
    await cosigning.idle();
    await again();
    await again();
    assert.deepEqual(asked, { there: 1, away: 3 });
    assert.deepEqual(
      waits.map(({ ms }) => ms),
      [60_000, 120_000, 240_000],
    );
    assert.equal(log.lines.filter(({ message }) => /QUORUM/.test(message)).length, 3);
    isBack = true;
    await again();
    assert.deepEqual([asked, waits.length, cosigning.state.cosigned], [{ there: 1, away: 4 }, 3, 2]);
    const note = parseCheckpoint((await scene.keeper.checkpoint())?.note ?? '')?.note;
    assert.equal(note?.signatures.length, 3);
  });

  it('is asked again where its cosignature could not be kept, also for a head that came meanwhile', async (t) => {
    const scene = await openLogScene(temporaryFolder(t));
    t.after(() => scene.close());
    await scene.add(2);
    await scene.keeper.publish();
    const logKey = parseNoteKey(sha256, scene.keeper.identity.vkey);
    assert.ok(logKey !== null);
    const witness = witnessNamed('w.example', logKey);
    const log = createLog();
    const waits: (() => void)[] = [];
    const real = scene.databases.log;
    let isFull = true;
    const cosigning = createCosigning({
      store: {
        ...real,
        hashes: (...range) => real.hashes(...range),
        lastCheckpoint: () => real.lastCheckpoint(),
        cosign: async (id, note) => {
          if (isFull) throw new Error('the disk is full');
          await real.cosign(id, note);
        },
      },
      witnesses: [clientOf(witness)],
      quorum: 1,
      later: (_, act) => void waits.push(act),
      log,
    });
    const head = await scene.keeper.checkpoint();
    assert.ok(head !== null);
    cosigning.published(head);
    await cosigning.idle();
    assert.equal(waits.length, 1, 'a head without its cosignature waits for another try');
    assert.match(log.lines.map(({ message }) => message).join('\n'), /could not be kept\n.*QUORUM/);
    isFull = false;
    waits.at(-1)?.();
    await real.lastCheckpoint();
    await cosigning.idle();
    const { note } = parseCheckpoint((await scene.keeper.checkpoint())?.note ?? '') ?? assert.fail('no head');
    assert.equal(verdictOf(note, witness.key, verifySignature).verdict, 'good');
    assert.equal(waits.length, 1);
  });

  it('of which there are too many never makes a head that the next start cannot read', async (t) => {
    const scene = await openLogScene(temporaryFolder(t));
    t.after(() => scene.close());
    await scene.add(2);
    await scene.keeper.publish();
    const logKey = parseNoteKey(sha256, scene.keeper.identity.vkey);
    assert.ok(logKey !== null);
    const log = createLog();
    const cosigning = createCosigning({
      store: scene.databases.log,
      witnesses: Array.from({ length: 64 }, (_, k) => clientOf(witnessNamed(`w${k}.example`, logKey))),
      quorum: 0,
      later: noRetry,
      log,
    });
    const head = await scene.keeper.checkpoint();
    assert.ok(head !== null);
    cosigning.published(head);
    await cosigning.idle();
    const note = (await scene.keeper.checkpoint())?.note ?? '';
    assert.ok(parseCheckpoint(note) !== null, 'the last head can be read');
    assert.ok(log.lines.some(({ fields }) => /65 signatures/.test(String(fields.err))));
  });

  it('refuses what the specification tells it to refuse, each in its own way', async (t) => {
    const scene = await openLogScene(temporaryFolder(t));
    t.after(() => scene.close());
    await scene.add(2);
    await scene.keeper.publish();
    const note = (await scene.keeper.checkpoint())?.note ?? '';
    const logKey = parseNoteKey(sha256, scene.keeper.identity.vkey);
    assert.ok(logKey !== null);
    const signer = noteSigner(makePrivateKey(), {
      name: 'w.example',
      type: COSIGNATURE_V1,
      file: 'witness.key',
    });
    const of = (logs: readonly (typeof logKey)[]) =>
      createWitness({ store: scene.databases.log, signer, logs, clock: createClock() });
    const outcome = async (request: string, witness = of([logKey])) =>
      (await witness.addCheckpoint(request)).outcome;
    const hash = toBase64(new Uint8Array(32));
    assert.equal(await outcome(`old 0\n\n${note}`, of([])), 'unknown-log');
    assert.equal(await outcome(`old 3\n\n${note}`), 'malformed');
    assert.equal(await outcome(`old 1\n\n${note}`), 'conflict');
    assert.equal(await outcome(`old 0\n${hash}\n\n${note}`), 'inconsistent');
    assert.equal(await outcome(`old 0\n\n${note.replace('\n2\n', '\n1\n')}`), 'not-signed');
    for (const bad of [
      '',
      'old 0',
      `old 00\n\n${note}`,
      `old 0\n${hash.slice(4)}\n\n${note}`,
      `\n\n${note}`,
      `new 0\n\n${note}`,
    ]) {
      assert.equal(await outcome(bad), 'malformed', bad);
    }
    assert.equal(await outcome(`old 0\n\n${note}`), 'cosigned');
    assert.equal(await outcome(`old 2\n\n${note}`), 'cosigned', 'the same head again');
    assert.equal(await outcome(`old 0\n\n${note}`), 'conflict');
  });
});
