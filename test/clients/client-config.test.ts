// What lookaside client-config installs, by the clients that read it: a fresh machine, and policies that are there already.
import assert from 'node:assert/strict';
import { mkdir, readFile, writeFile } from 'node:fs/promises';
import path from 'node:path';
import process from 'node:process';
import { after, before, describe, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { install, planInstall } from '../../src/compose/client-config.ts';
import { planKind } from '../../src/domain/client-config/kinds.ts';
import { withMirrors } from '../../src/domain/client-config/mirrored-scopes.ts';
import { PLATFORM_POLICY } from '../../src/domain/client-config/openshift.ts';
import type { TrustedScope } from '../../src/domain/client-config/wanted.ts';
import { isLookasideError } from '../../src/domain/errors.ts';
import { count, isFull } from '../faults/promise.ts';
import { MANIFEST, type Machine, openMachine, SIGNATURES } from '../service/broken-machine.ts';
import { needs } from './available.ts';
import { assertAccepted, assertRefused, podmanStorage } from './client-home.ts';
import { describeOutcome, run } from './command.ts';
import { writeImage } from './image.ts';
import { openScene } from './scene.ts';
import { startServer } from './server.ts';
import { addKey, makeSigner, type Signer } from './signer.ts';
import { openTempFolder } from './temp-folder.ts';

const MAIN = fileURLToPath(new URL('../../src/main.js', import.meta.url));

describe('a fresh machine', needs('podman', 'skopeo', 'docker-registry', 'gpg', 'private host'), () => {
  test('accepts a signed image and refuses an unsigned one after client-config --install alone', async () => {
    await using scene = await openScene();
    const data = path.join(scene.folder, 'data');
    await mkdir(data);
    const certificate = await readFile(scene.alice.publicKeyFile);
    await addKey(data, { name: 'alice', certificate });
    await using server = await startServer({ data, root: scene.tree, on: scene.on });
    const publisher = await scene.publisher('publisher', server.url);
    const oci = await writeImage(path.join(scene.folder, 'image'), 'app');
    await scene.push(publisher, oci, 'team/signed:v1', '--sign-by', scene.alice.email);
    await scene.push(publisher, oci, 'team/unsigned:v1');

    const home = path.join(scene.folder, 'fresh');
    await mkdir(path.join(home, 'tmp'), { recursive: true });
    const env = {
      ...{ PATH: process.env.PATH ?? '', LC_ALL: 'C', HOME: home, TMPDIR: path.join(home, 'tmp') },
      PODMAN_IGNORE_CGROUPSV1_WARNING: '1',
    };
    const lookaside = (...args: readonly string[]) =>
      run(scene.on([process.execPath, MAIN, 'client-config', ...args]), { env });
    const pull = (image: string) =>
      run(
        scene.on([
          ...(['podman', ...podmanStorage(home)] as const),
          ...['pull', '--tls-verify=false', `${scene.registry}/${image}`],
        ]),
        { env },
      );
    const wanted = ['--server', server.url, '--registry', scene.registry, '--key', scene.alice.fingerprint];
    assertAccepted(await lookaside(...wanted, '--install', '--json'));
    assertAccepted(await pull('team/signed:v1'));
    assertRefused(await pull('team/unsigned:v1'), 125, 'A signature was required, but no signature exists');
    // as podman reads both files, and says who is trusted where, and from where signatures come
    const trusts = await run(
      scene.on(['podman', ...podmanStorage(home), 'image', 'trust', 'show', '--json']),
      { env },
    );
    assertAccepted(trusts);
    const entries: readonly Readonly<Record<string, string>>[] = JSON.parse(trusts.stdout);
    const entry = entries.find(({ name, repo_name }) => [name, repo_name].includes(scene.registry));
    assert.equal(entry?.type, 'signed', trusts.stdout);
    assert.equal(entry?.sigstore, server.url, trusts.stdout);
    const same = await lookaside(...wanted, '--diff');
    assert.deepEqual([same.status, same.stdout], [0, 'nothing has to be changed: everything is there\n']);
    assertAccepted(await lookaside('--undo'));
    assertRefused(await pull('team/signed:v1'), 125, 'policy.json');
  });
});

/** In `npm test` some policies of each kind; what is refused: test/domain/client-config. */
const ONE_IN = count(1, 3);

const ACCEPT = { type: 'insecureAcceptAnything' };
const REJECT = { type: 'reject' };

/** Policies as people have them, each with what is then asked for: a registry or a part of it. */
function policiesFor(m: Machine): readonly (readonly [policy: unknown, registry: string])[] {
  const [host, team, app] = [m.host, `${m.host}/team`, `${m.host}/team/app`];
  const ours = m.signedBy();
  const theirs = m.signedBy({ keyData: Buffer.from(m.mallory.certificate).toString('base64') });
  const both = m.signedBy({
    keyData: Buffer.concat([m.alice.certificate, m.mallory.certificate]).toString('base64'),
  });
  const as = (identity: object, requirement: object = ours) => ({ ...requirement, signedIdentity: identity });
  const docker = (sections: object, ...standard: readonly object[]) => ({
    default: standard.length === 0 ? [REJECT] : standard,
    transports: { docker: sections },
  });
  const lists: readonly (readonly object[])[] = [
    [ACCEPT],
    [REJECT],
    [ours],
    [theirs],
    [both],
    [ACCEPT, theirs],
    [ours, theirs],
    [ours, REJECT],
    [as({ type: 'matchExact' })],
    [as({ type: 'matchRepository' })],
    [as({ type: 'exactReference', dockerReference: `${app}:v1` })],
    [as({ type: 'exactRepository', dockerRepository: `${host}/other` })],
    [as({ type: 'remapIdentity', prefix: host, signedPrefix: 'elsewhere.example' })],
    [m.signedBy({ keyPath: '/nowhere' })],
    [m.signedBy({ keyPaths: [path.join(m.folder, 'alice.gpg'), '/nowhere'] })],
    [m.signedBy({ keyPath: path.join(m.folder, 'alice.gpg'), keyType: 'X509Certificates' })],
    [{ type: 'signedBaseLayer', baseLayerIdentity: { type: 'matchExact' } }],
  ];
  return [
    ...lists.flatMap((list) => [
      [docker({}, ...list), host] as const,
      [docker({ [app]: list }, ACCEPT), host] as const,
    ]),
    [docker({ [host]: [theirs] }, ACCEPT), app],
    [docker({ [host]: [theirs], [team]: [ACCEPT] }), team],
    [docker({ [host]: [ACCEPT], [team]: [theirs] }), host],
    [docker({ '': [theirs] }, ACCEPT), team],
    [docker({ [`${app}:v1`]: [theirs] }, ACCEPT), app],
    [docker({ '*.0.0.1': [theirs] }, ACCEPT), host],
    [docker({ [`${host}/tea`]: [ACCEPT] }), team],
    [{ default: [ACCEPT] }, host],
    [JSON.parse(PLATFORM_POLICY), team],
    [{ default: [REJECT], transports: { 'docker-daemon': { '': [ACCEPT] }, atomic: {} } }, host],
  ];
}

describe('a policy that is there', needs('skopeo', 'gpg'), () => {
  let m: Machine;
  before(async () => {
    m = await openMachine();
  });
  after(() => m?.[Symbol.asyncDispose]());

  test('accepts nothing after a merge that it refused before, by our judgement and by that of skopeo', async () => {
    const policies = policiesFor(m);
    assert.ok(policies.length >= 40, String(policies.length));
    const opened: string[] = [];
    let merged = 0;
    let refused = 0;
    for (const [index, [policy, registry]] of policies.entries()) {
      if (index % ONE_IN !== 0) continue;
      const states = [...STATES];
      await m.heal();
      await m.write('etc/containers/policy.json', JSON.stringify(policy));
      const before = new Map<string, boolean>();
      for (const state of states) before.set(state, await isPulled(m, state));
      const registries = await readFile(
        path.join(m.folder, 'etc/containers/registries.d/lookaside.yaml'),
        'utf8',
      );
      try {
        await merge(m, registry, index % 2 === 0);
        merged += 1;
      } catch (error) {
        if (!isLookasideError(error, 'CONFIG_INVALID')) throw error;
        assert.match(error.message, /--widen/);
        assert.throws(() => nodePolicyOf(m, policy, registry, index % 2 === 0), /--widen/);
        refused += 1;
        continue;
      }
      // what is shown here of machines holds of OpenShift's nodes too, because it is the same policy
      assert.deepEqual(
        nodePolicyOf(m, policy, registry, index % 2 === 0),
        JSON.parse(await readFile(path.join(m.folder, 'etc/containers/policy.json'), 'utf8')),
      );
      // where signatures lie is the same before and after: it is the policy that is judged
      await m.write('etc/containers/registries.d/lookaside.yaml', registries);
      const shut = states.filter((state) => before.get(state) !== true);
      for (const state of shut)
        if (await isPulled(m, state))
          opened.push(`${JSON.stringify(policy)} with ${registry}, ${state}: by us`);
      // in `npm test` one of them in turn: that skopeo judges as we do is tested elsewhere
      const inTurn = index % Math.max(shut.length, 1);
      for (const state of isFull ? shut : shut.slice(inTurn, inTurn + 1)) {
        lay(m, state);
        if (await isCopied(m, `${index}-${state}`))
          opened.push(`${JSON.stringify(policy)} with ${registry}, ${state}: by skopeo`);
      }
    }
    assert.deepEqual(opened, []);
    // five of them reject the whole registry
    if (isFull) assert.deepEqual([merged, refused], [policies.length - 5, 5]);
    else assert.ok(merged > 10, `${merged} merged`);
  });

  test('that accepts everything accepts the signed image alone after a merge', async () => {
    await m.heal();
    await m.write('etc/containers/policy.json', JSON.stringify({ default: [ACCEPT] }));
    await merge(m, m.host, false);
    const verdicts: boolean[] = [];
    for (const state of STATES) verdicts.push(await isPulled(m, state));
    assert.deepEqual(verdicts, [true, false, false, false]);
    assert.ok(!(await isCopied(m, 'last')));
  });
});

describe('a mirror', needs('skopeo', 'gpg'), () => {
  test('that is pulled by its own name accepts what was signed for the registry that it mirrors, and nothing else', async () => {
    await using m = await openMachine();
    await m.write('etc/containers/policy.json', JSON.stringify({ default: [ACCEPT] }));
    const sources = [{ source: 'upstream.example', mirrors: [m.host] }];
    await mergeScopes(m, withMirrors([scopeOf('upstream.example/team', [m.alice])], sources).scopes);
    const copied: boolean[] = [];
    for (const registry of ['upstream.example', m.host]) {
      const what = { registry, repository: 'team/app', manifest: MANIFEST, tag: 'v1' };
      m.answers.set(`${SIGNATURES}/signature-1`, m.alice.sign(what));
      copied.push(await isCopied(m, registry));
    }
    assert.deepEqual(copied, [true, false]);
  });
});

const STATES = ['alice', 'mallory', 'alice-v2', 'unsigned'] as const;

async function merge(m: Machine, registry: string, hasBoth: boolean): Promise<void> {
  const signers = hasBoth ? [m.alice, m.mallory] : [m.alice];
  await mergeScopes(m, [scopeOf(registry, signers)]);
}

/** The policy in the MachineConfig that is made from this policy of a node. */
function nodePolicyOf(m: Machine, policy: unknown, registry: string, hasBoth: boolean): unknown {
  const { files } = planKind('openshift', {
    wanted: {
      scopes: [scopeOf(registry, hasBoth ? [m.alice, m.mallory] : [m.alice])],
      ...{ lookaside: `http://${m.host}/sigstore`, staging: null, keysIn: 'inline' },
    },
    ...{ policy: Buffer.from(JSON.stringify(policy)), mayWiden: false, namespaces: [] },
    ...{ sha256: () => '0'.repeat(64), armor: () => '', server: null, image: null },
  });
  const text = Buffer.from(files.find(({ path: name }) => name.endsWith('.yaml'))?.content ?? []).toString();
  const [, base64 = ''] = /base64,(\S+)\n.*\n.*\n {10}path: \/etc\/containers\/policy\.json/.exec(text) ?? [];
  return JSON.parse(Buffer.from(base64, 'base64').toString());
}

function scopeOf(registry: string, signers: readonly Signer[]): TrustedScope {
  const keys = signers.map(({ fingerprint, certificate }) => ({ fingerprint, userIds: [], certificate }));
  return { registry, keys, identity: null };
}

async function mergeScopes(m: Machine, scopes: readonly TrustedScope[]): Promise<void> {
  const plan = await planInstall({
    target: { kind: 'system', root: m.folder, home: m.folder },
    wanted: {
      scopes,
      ...{ lookaside: `http://${m.host}/sigstore`, staging: null, keysIn: 'inline' },
    },
    isStagingChosen: true,
    mayWiden: false,
    namespaces: [],
  });
  if (plan.changes.length > 0) await install(plan);
}

function lay(m: Machine, state: (typeof STATES)[number]): void {
  if (state === 'unsigned') m.answers.delete(`${SIGNATURES}/signature-1`);
  else {
    const signature = m.sign(state === 'mallory' ? m.mallory : m.alice, state === 'alice-v2' ? 'v2' : 'v1');
    m.answers.set(`${SIGNATURES}/signature-1`, signature);
  }
}

async function isPulled(m: Machine, state: (typeof STATES)[number]): Promise<boolean> {
  lay(m, state);
  return (await m.diagnose({ image: `${m.host}/team/app:v1` })).verdict === 'pulled';
}

/** By skopeo, with the signatures that were laid last. */
async function isCopied(m: Machine, name: string): Promise<boolean> {
  const temporary = path.join(m.folder, 'tmp');
  await mkdir(temporary, { recursive: true });
  const etc = path.join(m.folder, 'etc/containers');
  const outcome = await run(
    [
      ...(['skopeo', '--policy', `${etc}/policy.json`, '--registries.d', `${etc}/registries.d`] as const),
      ...['copy', '--src-tls-verify=false', `docker://${m.host}/team/app:v1`, `dir:${m.folder}/copy-${name}`],
    ],
    { env: { PATH: process.env.PATH ?? '', HOME: m.folder, TMPDIR: temporary } },
  );
  assert.ok(
    outcome.status === 0 || /Source image rejected|rejected by policy/.test(outcome.stderr),
    describeOutcome(outcome),
  );
  return outcome.status === 0;
}

describe('a disk that is full or read-only', needs('private host'), () => {
  test('leaves the policy as it was, and says what to do', async () => {
    await using temp = await openTempFolder();
    const [alice, mount] = [makeSigner('alice'), path.join(temp.path, 'mnt')];
    await mkdir(mount);
    const ring = path.join(temp.path, 'alice.gpg');
    await writeFile(ring, alice.certificate);
    const policy = JSON.stringify({ default: [ACCEPT] });
    const command = [
      ...[process.execPath, MAIN, 'client-config', '--keyring', ring, '--lookaside', 'https://sig.example'],
      ...['--registry', 'r.example', '--install', '--root', mount],
    ];
    const script = [
      `mount -t tmpfs -o size=64k tmpfs '${mount}'`,
      `mkdir -p '${mount}/etc/containers'`,
      `printf %s '${policy}' > '${mount}/etc/containers/policy.json'`,
      `head -c 100000 /dev/zero > '${mount}/full' 2>/dev/null || true`,
      `"$@" 2>&1 || echo "status $?"`,
      `rm '${mount}/full'; mount -o remount,ro '${mount}'`,
      `"$@" 2>&1 || echo "status $?"`,
      `cat '${mount}/etc/containers/policy.json'; echo; find '${mount}' -type f`,
    ];
    const { stdout } = await run(
      ['unshare', '--mount', '--propagation', 'private', 'sh', '-ec', script.join('\n'), 'sh', ...command],
      { env: { PATH: process.env.PATH ?? '', HOME: temp.path } },
    );
    const [full, first, readOnly, second, ...rest] = stdout.trimEnd().split('\n');
    assert.match(full ?? '', /ENOSPC.*no space is left/);
    assert.match(readOnly ?? '', /EROFS.*read-only/);
    assert.deepEqual([first, second], ['status 1', 'status 1']);
    assert.deepEqual(rest, [policy, `${mount}/etc/containers/policy.json`]);
  });
});
