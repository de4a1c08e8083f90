// The files that lookaside client-config hands to others, by the programs that read them.
import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { mkdir, readFile, writeFile } from 'node:fs/promises';
import path from 'node:path';
import process from 'node:process';
import { describe, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { parse } from 'yaml';
import { planKind } from '../../src/domain/client-config/kinds.ts';
import type { RegisteredKey } from '../../src/domain/key.ts';
import { serveOver } from '../http/served.ts';
import { needs } from './available.ts';
import { assertAccepted } from './client-home.ts';
import { describeOutcome, run } from './command.ts';
import { makeSigner } from './signer.ts';
import { openTempFolder } from './temp-folder.ts';

const MAIN = fileURLToPath(new URL('../../src/main.js', import.meta.url));
const ACCEPT = { type: 'insecureAcceptAnything' };

/** What the command wrote below `out` in the folder. */
async function write(folder: string, kind: string, ...more: readonly string[]) {
  const alice = makeSigner('alice');
  await writeFile(path.join(folder, 'alice.gpg'), alice.certificate);
  const outcome = await run(
    [
      ...([process.execPath, MAIN, 'client-config', '--kind', kind] as const),
      ...['--keyring', path.join(folder, 'alice.gpg')],
      ...['--lookaside', 'https://sig.example', '--registry', 'r.example/team'],
      ...['-o', path.join(folder, 'out'), ...more],
    ],
    { env: { PATH: process.env.PATH ?? '', HOME: folder } },
  );
  assertAccepted(outcome);
  return { alice, outcome };
}

/** What CoreOS says of it at boot. */
async function assertIgnition(config: string): Promise<void> {
  const checked = await run(['ignition-validate', config], { env: { PATH: process.env.PATH ?? '' } });
  assert.deepEqual([checked.status, `${checked.stdout}${checked.stderr}`.trim()], [0, '']);
}

describe('CoreOS', needs('ignition-validate', 'gpg'), () => {
  test('a machine accepts the Ignition, and says nothing about it', async () => {
    await using temp = await openTempFolder();
    const policy = path.join(temp.path, 'machine.json');
    await writeFile(policy, JSON.stringify({ default: [ACCEPT] }));
    const { outcome } = await write(temp.path, 'butane', '--policy', policy);
    assert.match(outcome.stderr, /note: Ignition sets up a machine at its first boot/);
    await assertIgnition(path.join(temp.path, 'out/lookaside.ign'));
  });
});

describe('OpenShift', needs('ignition-validate', 'gpg'), () => {
  test('nodes accept the Ignition of the MachineConfig, and say nothing about it', async () => {
    await using temp = await openTempFolder();
    const policy = path.join(temp.path, 'node.json');
    await writeFile(policy, JSON.stringify({ default: [ACCEPT] }));
    const { outcome } = await write(temp.path, 'openshift', '--policy', policy);
    assert.match(outcome.stderr, /note: the policy\.json counts instead of what the cluster makes/);
    const text = await readFile(path.join(temp.path, 'out/99-master-lookaside.yaml'), 'utf8');
    const config = path.join(temp.path, 'config.ign');
    await writeFile(config, JSON.stringify(parse(text).spec.config));
    await assertIgnition(config);
  });
});

describe('flatpak', needs('flatpak', 'gpg'), () => {
  test('takes the remote with its keys, and verifies by them', async () => {
    await using temp = await openTempFolder();
    const { alice } = await write(temp.path, 'flatpak');
    const user = path.join(temp.path, 'flatpak');
    await mkdir(path.join(temp.path, 'home'));
    const env = {
      ...{ PATH: process.env.PATH ?? '', HOME: path.join(temp.path, 'home'), FLATPAK_USER_DIR: user },
      ...{ FLATPAK_CONFIG_DIR: path.join(temp.path, 'etc'), LC_ALL: 'C' },
    };
    const repo = path.join(temp.path, 'out/r.example_team.flatpakrepo');
    assertAccepted(await run(['flatpak', 'remote-add', '--user', 'r.example_team', repo], { env }));
    const config = await readFile(path.join(user, 'repo/config'), 'utf8');
    assert.match(config, /\[remote "r\.example_team"\][^[]*\nurl=oci\+https:\/\/r\.example\n/);
    assert.match(config, /\ngpg-verify=true\n/);
    const ring = path.join(user, 'repo/r.example_team.trustedkeys.gpg');
    const listed = await run(['gpg', '--show-keys', '--with-colons', ring], { env });
    assert.match(listed.stdout, new RegExp(`^fpr:::::::::${alice.fingerprint}:$`, 'm'));
  });
});

describe('ansible', needs('ansible-playbook', 'curl', 'gpg'), () => {
  test('applies the role, which merges the policy of the machine, and takes it back', async () => {
    await using temp = await openTempFolder();
    const alice = makeSigner('alice');
    const { fingerprint, certificate } = alice;
    const known: RegisteredKey = {
      ...{ fingerprint, certificate, algorithm: 'ed25519', createdAt: new Date(0), expiresAt: null },
      ...{ revokedAt: null, canSign: true, userIds: [], subkeys: [], addedAt: new Date(0) },
      ...{ changedAt: new Date(0), retiredAt: null },
    };
    await using served = await serveOver({
      keys: {
        ...({} as NonNullable<Parameters<typeof serveOver>[0]['keys']>), // of its methods the routes use two
        list: async () => [known],
        find: async () => known,
      },
    });
    const { files } = planKind('ansible', {
      wanted: {
        scopes: [
          { registry: 'r.example/team', keys: [{ fingerprint, userIds: [], certificate }], identity: null },
        ],
        ...{ lookaside: served.url, staging: null, keysIn: 'files' },
      },
      ...{ policy: null, mayWiden: false, namespaces: [], image: null, armor: () => '' },
      server: { url: served.url, isClosed: false },
      sha256: (bytes) => createHash('sha256').update(bytes).digest('hex'),
    });
    for (const { path: name, content } of files) {
      await mkdir(path.dirname(path.join(temp.path, name)), { recursive: true });
      await writeFile(path.join(temp.path, name), content);
    }
    const root = path.join(temp.path, 'the root');
    const policy = path.join(root, 'etc/containers/policy.json');
    await mkdir(path.dirname(policy), { recursive: true });
    const before = JSON.stringify({ default: [ACCEPT] });
    await writeFile(policy, before);
    const play = (...more: readonly string[]) =>
      run(
        [
          ...([
            'ansible-playbook',
            '-i',
            'localhost,',
            '-c',
            'local',
            path.join(temp.path, 'site.yml'),
          ] as const),
          ...['-e', JSON.stringify({ lookaside_root: root, ansible_become: false }), ...more],
        ],
        {
          env: {
            ...{ PATH: process.env.PATH ?? '', HOME: temp.path, LC_ALL: 'C.UTF-8', ANSIBLE_NOCOLOR: '1' },
            ANSIBLE_LOCAL_TEMP: path.join(temp.path, 'local'),
            ANSIBLE_REMOTE_TEMP: path.join(temp.path, 'remote'),
          },
        },
      );
    const checked = await play('--check');
    assert.match(checked.stdout, /changed=0 .*failed=0/, describeOutcome(checked));
    assert.equal(await readFile(policy, 'utf8'), before);
    const applied = await play();
    assert.match(applied.stdout, /changed=1 .*failed=0/, describeOutcome(applied));
    const keyPath = `/etc/containers/keys/${fingerprint}.gpg`;
    assert.deepEqual(JSON.parse(await readFile(policy, 'utf8')), {
      default: [ACCEPT],
      transports: { docker: { 'r.example/team': [{ type: 'signedBy', keyType: 'GPGKeys', keyPath }] } },
    });
    const back = await play('-e', 'lookaside_state=absent');
    assert.match(back.stdout, /changed=1 .*failed=0/, describeOutcome(back));
    assert.equal(await readFile(policy, 'utf8'), before);
  });
});
