// gpg fetches keys from the server as from any key server, and the keyring of a prefix is one that it imports.
import assert from 'node:assert/strict';
import { mkdir, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { describe, test } from 'node:test';
import { SIGNED_AT } from '../openpgp/packet-writer.ts';
import { administered } from './administered.ts';
import { needs } from './available.ts';
import { run, succeed } from './command.ts';
import { runLookaside, startServer } from './server.ts';
import { addKey, makeSigner } from './signer.ts';
import { openTempFolder } from './temp-folder.ts';

describe('a server of keys', needs('gpg'), () => {
  test('is asked by gpg for keys by fingerprint, by key id and by user id, and keeps answers fresh', async () => {
    await using temp = await openTempFolder();
    const data = path.join(temp.path, 'data');
    await mkdir(data);
    const [alice, bob, carol] = [makeSigner('alice'), makeSigner('bob'), makeSigner('carol')];
    await addKey(data, alice);
    await addKey(data, bob);
    await administered(data, async ({ keys, signers, grants }) => {
      await keys.add(carol.certifiedAs({ revoked: { at: SIGNED_AT, reason: 2 } }));
      await signers.add({ name: 'ci', description: '' });
      await grants.add({ signer: 'ci', repositories: ['team/*'], keys: [alice.fingerprint], tags: [] });
    });
    await using server = await startServer({ data });

    const home = path.join(temp.path, 'gnupg');
    await mkdir(home, { mode: 0o700 });
    const env = { PATH: process.env.PATH ?? '', LC_ALL: 'C', HOME: temp.path, GNUPGHOME: home };
    const gpg = (...args: readonly string[]) => succeed(['gpg', '--batch', '--no-tty', ...args], { env });
    try {
      const keyserver = ['--keyserver', `hkp://${server.host}`];
      const results = await gpg(...keyserver, '--with-colons', '--search-keys', 'bob@example');
      assert.match(results, new RegExp(`^pub:${bob.fingerprint}:22:`, 'm'));
      assert.doesNotMatch(results, new RegExp(alice.fingerprint));
      await gpg(...keyserver, '--recv-keys', bob.fingerprint);
      await gpg(...keyserver, '--recv-keys', `0x${carol.fingerprint.slice(-16)}`);
      const received = await gpg('--with-colons', '--list-keys');
      const fingerprints = [...received.matchAll(/^fpr:+([0-9A-F]{40}):/gm)].map(([, each]) => each);
      assert.deepEqual(fingerprints.sort(), [bob.fingerprint, carol.fingerprint].sort());
      assert.match(received, /^pub:r:/m); // its certificate says that it is revoked
      const get = (at: string, headers: Record<string, string> = {}) =>
        fetch(`${server.url}${at}`, { headers });
      const ring = await get('/keyrings/team.gpg');
      assert.deepEqual([ring.status, ring.headers.get('content-type')], [200, 'application/pgp-keys']);
      const file = path.join(temp.path, 'team.gpg');
      await writeFile(file, Buffer.from(await ring.arrayBuffer()));
      await gpg('--import', file);
      const listed = await gpg('--with-colons', '--list-keys');
      for (const { fingerprint } of [alice, bob])
        assert.match(listed, new RegExp(`^fpr:+${fingerprint}:`, 'm'));

      const tag = ring.headers.get('etag') ?? '';
      const same = await get('/keyrings/team.gpg', { 'If-None-Match': `W/"x", ${tag}` });
      assert.deepEqual([same.status, await same.text()], [304, '']);
      const armored = await (await get(`/keys/${alice.fingerprint}.asc`)).text();
      assert.match(armored, /^-----BEGIN PGP PUBLIC KEY BLOCK-----/);
      // as it is kept: cleaned, and so perhaps framed otherwise than it came
      const binary = await (await get(`/keys/${alice.fingerprint}.gpg`)).arrayBuffer();
      assert.ok(armored.replaceAll('\n', '').includes(Buffer.from(binary).toString('base64')));
      for (const at of [
        '/keyrings/team-evil.gpg',
        '/keyrings/..%2fteam.gpg',
        '/keyrings/TEAM.gpg',
        `/keys/${'0'.repeat(40)}.asc`,
        `/keys/${alice.fingerprint}`,
        '/pks/lookup?op=get&search=nobody',
        `/pks/lookup?op=get&search=0x${alice.fingerprint.slice(-8)}`,
      ]) {
        assert.equal((await get(at)).status, 404, at);
      }
      const indexed = async (op: string) => {
        const answer = await get(`/pks/lookup?op=${op}&options=mr&search=0x${bob.fingerprint.slice(-16)}`);
        assert.equal(answer.status, 200);
        return answer.text();
      };
      const verbose = await indexed('vindex');
      assert.match(verbose, new RegExp(`^info:1:1\\npub:${bob.fingerprint}:22:.*\\nuid:bob.*example`));
      assert.equal(verbose, await indexed('index'));
      assert.equal((await get('/pks/lookup?op=hget&search=x')).status, 400);
      // a repository may have the name of these pages, and its signatures are read and written all the same
      const shadowed = `/keys/app@sha256=${'ab'.repeat(32)}/signature-1`;
      assert.match(await (await get(shadowed)).text(), /no signature has this name/);

      // another lookaside, which has the key as it was, and asks this one as a key server
      const other = path.join(temp.path, 'other');
      await addKey(other, carol);
      const asked = ['--from', `hkp://${server.host}`, '--data', other, '--json'];
      const refreshed = await runLookaside(['key', 'refresh', carol.fingerprint, ...asked]);
      assert.equal(refreshed.status, 0, refreshed.stdout + refreshed.stderr);
      const refreshedKeys = await administered(other, ({ keys }) => keys.list());
      assert.deepEqual(
        refreshedKeys.map(({ fingerprint, state }) => [fingerprint, state]),
        [[carol.fingerprint, 'revoked']],
      );
    } finally {
      await run(['gpgconf', '--kill', 'all'], { env });
      await run(['gpgconf', '--remove-socketdir'], { env });
    }
  });
});
