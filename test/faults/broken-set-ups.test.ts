// Broken set-ups of more than one user or machine: a real client refuses the image, doctor says what to change, and the client pulls once
// exactly that has been done. As broken-machines.test.ts, which has those of one machine.
import assert from 'node:assert/strict';
import { chmod, cp, mkdir, rename, writeFile } from 'node:fs/promises';
import path from 'node:path';
import process from 'node:process';
import { test } from 'node:test';
import { setTimeout as wait } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { needs } from '../clients/available.ts';
import { assertAccepted, assertRefused } from '../clients/client-home.ts';
import { type Argv, describeOutcome, type Outcome, run } from '../clients/command.ts';
import { writeImage } from '../clients/image.ts';
import { openScene } from '../clients/scene.ts';
import { startServer } from '../clients/server.ts';
import { openMachine } from '../service/broken-machine.ts';
import { inOwnMounts } from './own-mounts.ts';
import { longSuite } from './promise.ts';
import { asNobody, needsNobody } from './unprivileged.ts';

const MAIN = fileURLToPath(new URL('../../src/main.js', import.meta.url));
/** What a shared tree lacked is answered from memory for a second. */
const ASKED_AGAIN_MS = 1100;
const CHECKED = ['--src-tls-verify=false', '--dest-tls-verify=false'];

/** What doctor says last, by its own command. */
async function complaintOf(argv: Argv, env: Readonly<Record<string, string>>) {
  const outcome = await run(argv, { env });
  assert.equal(outcome.status, 1, describeOutcome(outcome));
  return JSON.parse(outcome.stdout).complaint as { readonly code: string; readonly remedy: string };
}

longSuite('a user who reads what root has for itself', needs('skopeo', 'gpg', 'private host'), () => {
  test(
    'cannot enter the folder of its keys, and pulls once they lie where doctor says',
    needsNobody(),
    async () => {
      await using machine = await openMachine();
      const home = path.join(machine.folder, 'nobody');
      await mkdir(path.join(home, 'tmp'), { recursive: true });
      await chmod(path.join(home, 'tmp'), 0o777);
      await chmod(machine.folder, 0o755);
      const rootKey = await machine.write('root/keys/alice.gpg', machine.alice.certificate);
      await chmod(path.join(machine.folder, 'root'), 0o700);
      const etc = path.join(machine.folder, 'etc/containers');
      const policyFor = (keyPath: string) =>
        machine.write(
          'etc/containers/policy.json',
          JSON.stringify({ default: [machine.signedBy({ keyPath })] }),
        );
      await policyFor(rootKey);
      const image = `${machine.host}/team/app:v1`;
      // the files of root lie in the real place, in mounts of the test's own
      const there = inOwnMounts('mount --bind "$1" /etc/containers', etc);
      // root's podman may have closed /run/containers, where clients look for log-ins otherwise
      const temporary = path.join(home, 'tmp');
      const env = {
        ...{ PATH: process.env.PATH ?? '', HOME: home },
        ...{ TMPDIR: temporary, XDG_RUNTIME_DIR: temporary },
      };
      const copy = (): Promise<Outcome> =>
        run(
          there(
            asNobody([
              'skopeo',
              'copy',
              '--src-tls-verify=false',
              `docker://${image}`,
              `dir:${home}/tmp/copy`,
            ]),
          ),
          { env },
        );
      const doctor = there(
        asNobody([process.execPath, MAIN, 'doctor', image, '--tls-verify', 'false', '--json']),
      );
      assert.match((await copy()).stderr, /permission denied/);
      const { code, remedy } = await complaintOf(doctor, env);
      assert.equal(code, 'KEY_FILE_UNREADABLE');
      assert.match(remedy, /^move it to a folder that every user may enter, such as \/etc\/containers\/keys/);
      assert.ok(remedy.endsWith(`chmod a+x ${path.join(machine.folder, 'root')}`), remedy);

      await mkdir(path.join(etc, 'keys'));
      await rename(rootKey, path.join(etc, 'keys/alice.gpg'));
      await policyFor('/etc/containers/keys/alice.gpg');
      const after = await run(doctor, { env });
      assert.equal(after.status, 0, describeOutcome(after));
      assertAccepted(await copy());
    },
  );
});

longSuite(
  'a machine that signs without a staging folder',
  needs('skopeo', 'podman', 'docker-registry', 'gpg'),
  () => {
    test('loses the signature, and readers pull once it has staged and brought it as doctor says', async () => {
      await using scene = await openScene();
      await using server = await startServer({ root: scene.tree, data: path.join(scene.folder, 'data') });
      const publisher = await scene.publisher('publisher', server.url);
      const reader = await scene.reader('reader', server.url, scene.alice);
      const registriesD = path.join(publisher.folder, '.config/containers/registries.d');
      const file = path.join(registriesD, 'default.yaml');
      const section = (more: object) =>
        writeFile(file, JSON.stringify({ 'default-docker': { lookaside: server.url, ...more } }));
      await section({});
      const image = `docker://${scene.registry}/team/app:v1`;
      const layout = await writeImage(path.join(scene.folder, 'layout'), 'staged');
      const sign = () => publisher.skopeo('copy', ...CHECKED, '--sign-by', scene.alice.email, layout, image);
      assertRefused(await sign(), 1, 'Writing directly to a http lookaside');
      const pull = () => scene.pull(reader, 'team/app:v1');
      assertRefused(await pull(), 125, 'A signature was required, but no signature exists');

      const doctor: Argv = [
        ...([process.execPath, MAIN, 'doctor', image.replace('docker://', '')] as const),
        ...['--tls-verify', 'false', '--json', '--registries.d', registriesD],
        ...['--policy', path.join(reader.folder, '.config/containers/policy.json')],
      ];
      const env = { PATH: process.env.PATH ?? '', HOME: publisher.folder };
      const { code, remedy } = await complaintOf(doctor, env);
      assert.equal(code, 'NO_SIGNATURE');
      assert.match(
        remedy,
        /^sign the image where that section has lookaside-staging: and sigstore-staging: with file:\/\/\/FOLDER/,
      );

      const staging = path.join(scene.folder, 'staging');
      await mkdir(staging);
      await section({ 'lookaside-staging': `file://${staging}`, 'sigstore-staging': `file://${staging}` });
      assertAccepted(await sign());
      await cp(staging, scene.tree, { recursive: true }); // the tree is shared: push would do the same
      await wait(ASKED_AGAIN_MS);
      const after = await run(doctor, { env });
      assert.equal(after.status, 0, describeOutcome(after));
      assertAccepted(await pull());
    });
  },
);
