// The installer that is piped into sh: what it writes, refuses and takes back, by the plainest shell of this machine.
import assert from 'node:assert/strict';
import { mkdir, readdir, readFile, symlink, unlink, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { describe, test } from 'node:test';
import { parse } from 'yaml';
import type { RegisteredKey } from '../../src/domain/key.ts';
import { parsePolicy } from '../../src/domain/policy/policy.ts';
import type { HttpSettings } from '../../src/http/services.ts';
import { SETTINGS, type Served, serveOver } from '../http/served.ts';
import { needs } from './available.ts';
import { describeOutcome, run } from './command.ts';
import { makeSigner } from './signer.ts';
import { openTempFolder } from './temp-folder.ts';

const ALICE = makeSigner('alice');
const ACCEPT = '{"default": [{"type": "insecureAcceptAnything"}]}';

const KEY: RegisteredKey = {
  ...{ fingerprint: ALICE.fingerprint, algorithm: 'ed25519', createdAt: new Date(0), expiresAt: null },
  ...{ revokedAt: null, canSign: true, userIds: ["O'Alice $(id) <a@x>"], subkeys: [] },
  ...{ addedAt: new Date(0), changedAt: new Date(0), retiredAt: null, certificate: ALICE.certificate },
};

async function openMachine(settings: Partial<HttpSettings> = {}) {
  const temp = await openTempFolder();
  let certificate = ALICE.certificate;
  const served: Served = await serveOver({
    keys: {
      ...({} as NonNullable<Parameters<typeof serveOver>[0]['keys']>), // of its methods the routes use two
      list: async () => [KEY],
      find: async () => ({ ...KEY, certificate }),
    },
    settings: () => ({ ...SETTINGS, ...settings }),
  });
  const root = path.join(temp.path, 'root');
  await mkdir(path.join(root, 'etc/containers'), { recursive: true });
  const script = path.join(temp.path, 'setup.sh');
  const url = `${served.url}/setup/r.example/team.sh?all-keys=1`;
  const headers = { authorization: `Bearer ${served.tokens.reader}` };
  const answer = await fetch(url, { headers });
  assert.equal(answer.status, 200);
  await writeFile(script, Buffer.from(await answer.arrayBuffer()));
  const file = (name: string) => path.join(root, 'etc/containers', name);
  return {
    ...{ root, script, url, file, token: served.tokens.reader },
    /** What is served of the key from now on. */
    forge: (bytes: Uint8Array) => {
      certificate = bytes;
    },
    sh: (...args: readonly string[]) =>
      run(['sh', script, '--root', root, ...args], {
        env: { PATH: process.env.PATH ?? '', HOME: temp.path, TMPDIR: temp.path },
      }),
    inTemp: (name: string) => path.join(temp.path, name),
    policy: async () => JSON.parse(await readFile(file('policy.json'), 'utf8')),
    tree: async () => (await readdir(root, { recursive: true })).sort(),
    async [Symbol.asyncDispose]() {
      await served[Symbol.asyncDispose]();
      await temp[Symbol.asyncDispose]();
    },
  };
}

const SECTION = [
  { type: 'signedBy', keyType: 'GPGKeys', keyPath: `/etc/containers/keys/${ALICE.fingerprint}.gpg` },
];

describe('the installer', needs('curl'), () => {
  test('says what it does, does it once, and takes it back', async () => {
    await using at = await openMachine();
    await writeFile(at.file('policy.json'), ACCEPT);
    const before = await at.tree();
    const dry = await at.sh('--dry-run');
    assert.equal(dry.status, 0, describeOutcome(dry));
    assert.match(
      dry.stdout,
      /demand signatures[\s\S]*r\.example\/team[\s\S]*O\?Alice \?\(id\) <a@x>[\s\S]*It writes:/,
    );
    assert.deepEqual(await at.tree(), before);

    const done = await at.sh();
    assert.equal(done.status, 0, describeOutcome(done));
    parsePolicy(await readFile(at.file('policy.json')));
    assert.deepEqual(await at.policy(), {
      ...JSON.parse(ACCEPT),
      transports: { docker: { 'r.example/team': SECTION } },
    });
    assert.deepEqual(
      await readFile(at.file(`keys/${ALICE.fingerprint}.gpg`)),
      Buffer.from(ALICE.certificate),
    );
    const yaml = parse(await readFile(at.file('registries.d/lookaside-r.example_team.yaml'), 'utf8'));
    assert.deepEqual(Object.keys(yaml.docker['r.example/team']), [
      ...['lookaside', 'sigstore', 'lookaside-staging', 'sigstore-staging'],
    ]);
    const tree = await at.tree();
    const again = await at.sh();
    assert.equal(again.status, 0, describeOutcome(again));
    assert.doesNotMatch(again.stdout, /^written/m);
    assert.deepEqual(await at.tree(), tree);

    const undone = await at.sh('--undo');
    assert.equal(undone.status, 0, describeOutcome(undone));
    assert.equal(await readFile(at.file('policy.json'), 'utf8'), ACCEPT);
    assert.deepEqual(
      (await at.tree()).filter((name) => !/\/(?:keys|registries\.d)$/.test(name)),
      before,
    );
    assert.notEqual((await at.sh('--undo')).status, 0);
  });

  test('makes a policy where there is none, which refuses all else', async () => {
    await using at = await openMachine();
    const done = await at.sh();
    assert.equal(done.status, 0, describeOutcome(done));
    assert.deepEqual(await at.policy(), {
      default: [{ type: 'reject' }],
      transports: { docker: { 'r.example/team': SECTION } },
    });
  });

  test('changes nothing when a check fails', async () => {
    await using at = await openMachine();
    const refused = async (said: RegExp, ...args: readonly string[]) => {
      const before = await at.tree();
      const outcome = await at.sh(...args);
      assert.notEqual(outcome.status, 0, describeOutcome(outcome));
      assert.match(outcome.stderr, said);
      assert.deepEqual(await at.tree(), before);
    };
    await writeFile(at.file('policy.json'), '{"default": [{"type": "reject"}]}');
    await refused(/--widen/);
    await writeFile(at.file('policy.json'), '{"default": [{"type": "reject"}],\n"defaults": 1}');
    await refused(/line 2, column 1/);
    await writeFile(at.file('policy.json'), ACCEPT);
    await mkdir(at.file('registries.d'));
    for (const yaml of [
      'docker:\n  r.example/team:\n    sigstore: x\n',
      '{"docker":{"r.example/team":{}}}',
    ]) {
      await writeFile(at.file('registries.d/other.yaml'), yaml);
      await refused(/other\.yaml has a section for r\.example\/team/);
    }
    await writeFile(
      at.file('registries.d/other.yaml'),
      '# r.example/team:\ndocker:\n  my.r.example/team: {}\n',
    );
    await symlink('/nowhere', at.file('keys'));
    await refused(/symbolic link/);
    await unlink(at.file('keys'));
    at.forge(makeSigner('mallory').certificate);
    await refused(/SHA-256/);
    await refused(/unknown option/, '--undoo');
    // a script that is cut anywhere does nothing
    const whole = await readFile(at.script, 'utf8');
    await writeFile(at.script, whole.slice(0, -12));
    const before = await at.tree();
    await at.sh();
    assert.deepEqual(await at.tree(), before);
  });

  test('passes on what the merge has to say, and asks a closed server by a token that it gives to clients', async () => {
    await using at = await openMachine({ read: 'token' });
    const team = 'r.example/team';
    const docker = { [`${team}/app`]: [{ type: 'insecureAcceptAnything' }] };
    await writeFile(
      at.file('policy.json'),
      JSON.stringify({ ...JSON.parse(ACCEPT), transports: { docker } }),
    );
    const before = await at.tree();
    const without = await at.sh();
    assert.notEqual(without.status, 0);
    assert.match(without.stderr, /answers only with a token; give it in LOOKASIDE_TOKEN/);
    assert.deepEqual(await at.tree(), before);
    await writeFile(at.inTemp('token'), `${at.token}\n`);
    const done = await at.sh('--token-file', at.inTemp('token'));
    assert.equal(done.status, 0, describeOutcome(done));
    assert.match(done.stderr, /^note: transports\.docker\["r\.example\/team\/app"\] is narrower/m);
    const yaml = parse(await readFile(at.file('registries.d/lookaside-r.example_team.yaml'), 'utf8'));
    const url = at.url.replace(/\/setup\/.*/, '').replace('://', `://lookaside:${at.token}@`);
    assert.equal(yaml.docker[team].lookaside, url);
  });

  test('refuses a section that podman 6 would find twice, below /usr/share', async () => {
    await using at = await openMachine();
    const vendor = path.join(at.root, 'usr/share/containers/registries.d');
    await mkdir(vendor, { recursive: true });
    await writeFile(path.join(vendor, 'vendor.yaml'), 'docker:\n  r.example/team:\n    sigstore: x\n');
    const refused = await at.sh();
    assert.notEqual(refused.status, 0);
    assert.match(refused.stderr, /vendor\.yaml has a section for r\.example\/team/);
    // a file of that name in /etc stands for it
    await mkdir(at.file('registries.d'));
    await writeFile(at.file('registries.d/vendor.yaml'), 'docker: {}\n');
    const done = await at.sh();
    assert.equal(done.status, 0, describeOutcome(done));
  });

  test('is not made for what is no registry, and holds nothing that a request put there', async () => {
    await using at = await openMachine();
    const base = at.url.replace(/\/setup\/.*/, '');
    for (const [place, status] of [
      ['/setup/nothing.sh', 404],
      ['/setup/r.example/team', 404],
      ['/setup/podman.sh', 400],
      ["/setup/podman.sh?registry=r.example';id;'&all-keys=1", 400],
      ['/setup/r.example.sh?all-keys=1&widen=1', 400],
      ['/setup/r.example.sh?all-keys=1&signer=x', 400],
    ] as const)
      assert.equal((await fetch(base + place)).status, status, place);
    const several = await fetch(`${base}/setup/podman.sh?registry=r.example,s.example&all-keys=1`);
    assert.match(await several.text(), /NAME='lookaside-r\.example_s\.example-[0-9a-f]{12}'/);
  });

  test('names files apart that differ only in what no file name has, and never longer than a file name may be', async () => {
    await using at = await openMachine();
    const base = at.url.replace(/\/setup\/.*/, '');
    const nameFor = async (registry: string) => {
      const script = await (await fetch(`${base}/setup/podman.sh?registry=${registry}&all-keys=1`)).text();
      return /^NAME='(.*)'$/m.exec(script)?.[1] ?? assert.fail(script);
    };
    const names = await Promise.all(['r.example:5000/a_b', 'r.example:5000/a/b'].map(nameFor));
    assert.notEqual(names[0], names[1]);
    const many = Array.from({ length: 33 }, (_, at) => `r${at}.example/team`).join(',');
    assert.ok((await nameFor(many)).length < 200);
  });
});

describe('the script of the installer', needs('shellcheck'), () => {
  test('is plain sh, as shellcheck reads it', async () => {
    await using at = await openMachine();
    const outcome = await run(['shellcheck', '--shell=sh', '--severity=style', at.script], {
      env: { PATH: process.env.PATH ?? '', LC_ALL: 'C.UTF-8' },
    });
    assert.equal(outcome.status, 0, describeOutcome(outcome));
  });
});
