// A signature that expires, and the one that renews it, as gpg makes both.
import assert from 'node:assert/strict';
import path from 'node:path';
import { describe, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { needs } from './available.ts';
import { eventually } from './eventually.ts';
import { openGnupgHome } from './keys.ts';
import { createToken, runLookaside, startServer } from './server.ts';
import { openTempFolder } from './temp-folder.ts';

const PAYLOAD = fileURLToPath(new URL('../../../test/field/equivalent-expiring/p', import.meta.url));

const second = () => Math.floor(Date.now() / 1000);

describe('a renewed signature', needs('gpg'), () => {
  test('is stored beside the one that expires, and not the other way round', async () => {
    await using temp = await openTempFolder();
    await using gnupg = await openGnupgHome(temp.path);
    const { email, publicKeyFile } = await gnupg.makeKey('renews');
    const data = path.join(temp.path, 'data');
    const settings = { LOOKASIDE_TOKEN: await createToken(data, 'renews', 'uploader') };
    const added = await runLookaside(['key', 'add', publicKeyFile, '--data', data]);
    assert.equal(added.status, 0, added.stdout + added.stderr);
    await using server = await startServer({ data });
    let signedAt = 0;
    const push = async (name: string, ...expiry: readonly string[]) => {
      const file = path.join(temp.path, name);
      // two signatures of one second may be the same bytes
      await eventually(() => assert.ok(second() > signedAt));
      signedAt = second();
      await gnupg.gpg(...expiry, '--local-user', email, '--output', file, '--sign', PAYLOAD);
      const outcome = await runLookaside(['push', file, '--server', server.url], settings);
      assert.equal(outcome.status, 0, outcome.stdout + outcome.stderr);
      return outcome.stdout;
    };
    assert.match(await push('expiring', '--default-sig-expire', '1d'), /1 sent as signature-1/);
    assert.match(await push('renewed'), /1 sent as signature-2/);
    assert.match(await push('expiring-again', '--default-sig-expire', '1d'), /1 there as an equivalent/);
  });
});
