// A rotation between two keys that gpg made: what each has signed, before the new key signs and after.
import assert from 'node:assert/strict';
import { mkdir, readFile, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { describe, test } from 'node:test';
import { folderOf } from '../store/lay.ts';
import { needs } from './available.ts';
import { describeOutcome } from './command.ts';
import { openGnupgHome, type SigningKey } from './keys.ts';
import { createToken, runLookaside, startServer } from './server.ts';
import { openTempFolder } from './temp-folder.ts';
import { takenAs, uploadsTo } from './uploads.ts';

const IMAGES = ['team/one', 'team/two', 'team/three'];

describe('key rotation', needs('gpg'), () => {
  test('counts what two keys of gpg have signed, and lists what the new one has still to sign', async () => {
    await using temp = await openTempFolder();
    await using gnupg = await openGnupgHome(temp.path);
    const data = path.join(temp.path, 'data');
    await mkdir(data);
    const token = await createToken(data, 'pipeline', 'uploader');
    const old = await gnupg.makeKey('old', { algorithm: 'rsa2048' });
    const next = await gnupg.makeKey('next');
    for (const { publicKeyFile } of [old, next]) await lookaside('key', 'add', publicKeyFile);
    await using server = await startServer({ data });
    const uploads = uploadsTo(server.port, token);

    async function lookaside(...args: readonly string[]): Promise<string> {
      const outcome = await runLookaside([...args, '--data', data]);
      assert.equal(outcome.status, 0, describeOutcome(outcome));
      return outcome.stdout;
    }

    async function sign(repository: string, by: SigningKey): Promise<void> {
      const payload = path.join(temp.path, 'payload');
      const signed = path.join(temp.path, 'signature');
      await writeFile(payload, payloadOf(repository));
      await gnupg.gpg('--output', signed, '--local-user', by.fingerprint, '--sign', payload);
      takenAs(await uploads.post(folderOf(repository), await readFile(signed)), 201);
    }

    async function rotation() {
      const { images, work } = JSON.parse(
        await lookaside('key', 'rotation', old.fingerprint, next.fingerprint, '--json'),
      );
      return { images, work: work.map(({ reference }: { reference: string }) => reference) };
    }

    const references = (...names: readonly string[]) => names.map((name) => `registry.example/${name}:v1`);
    for (const repository of IMAGES) await sign(repository, old);
    await sign('team/new', next);
    const before = await rotation();
    assert.deepEqual(before.images, { old: 3, both: 0, new: 1 });
    assert.deepEqual(before.work.sort(), references('team/one', 'team/three', 'team/two'));

    for (const repository of IMAGES.slice(0, 2)) await sign(repository, next);
    assert.deepEqual(await rotation(), {
      images: { old: 1, both: 2, new: 1 },
      work: references('team/three'),
    });
    await sign('team/three', next);
    assert.deepEqual(await rotation(), { images: { old: 0, both: 3, new: 1 }, work: [] });
  });
});

/** What skopeo signs for the image that folderOf() names, under the tag `v1`. */
function payloadOf(repository: string): string {
  const digest = folderOf(repository).replace(/^.*@sha256=/, 'sha256:');
  return JSON.stringify({
    critical: {
      type: 'atomic container signature',
      image: { 'docker-manifest-digest': digest },
      identity: { 'docker-reference': `registry.example/${repository}:v1` },
    },
    optional: {},
  });
}
