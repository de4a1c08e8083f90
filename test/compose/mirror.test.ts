// A mirror in a running process, over a real tree and a site that does what the test says.
import assert from 'node:assert/strict';
import { chmod, mkdir, readdir, readFile, rm, statfs, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { after, before, describe, test } from 'node:test';
import fc from 'fast-check';
import { toServices } from '../../src/cli/serve.ts';
import { backUp, fsckReadOnly, restore, sitesWithMirrors } from '../../src/compose/offline.ts';
import { compose } from '../../src/compose/server.ts';
import { sitesOf } from '../../src/compose/site.ts';
import { type Config, loadConfig } from '../../src/config.ts';
import { DEFAULT_MIRROR, type MirrorSettings } from '../../src/domain/mirror.ts';
import { createHandler } from '../../src/http/app.ts';
import { type Listener, listen } from '../../src/http/listener.ts';
import { createAdministration } from '../../src/service/administration.ts';
import { ADMINISTRATOR } from '../../src/service/audit.ts';
import { eventually } from '../clients/eventually.ts';
import { addKey, makeSigner } from '../clients/signer.ts';
import { openTempFolder, type TempFolder } from '../clients/temp-folder.ts';
import { verifyRelease } from '../http/library-go.ts';
import { createLog } from '../service/hand-driven.ts';
import { folderOf, sha256Hex } from '../store/lay.ts';
import {
  type Answering,
  type HostileSite,
  missing,
  openHostileSite,
  serving,
} from '../upstream/hostile-site.ts';

const VENDOR = makeSigner('vendor');
const SECRET = 'SuperSecretQuery';

/** How much must be left free. */
const disk = { reserve: 0 };

interface Scene {
  readonly composed: Awaited<ReturnType<typeof compose>>;
  readonly url: string;
  close(): Promise<void>;
}

async function open(config: Config, log = createLog()): Promise<Scene> {
  const sites = [{ name: 'default', prefix: '', root: config.root, tree: 'owned' }] as const;
  const taker = { command: 'test', host: 'here' };
  const composed = await compose({
    config,
    current: () => ({ ...config, minFreeBytes: disk.reserve }),
    sites,
    log,
    taker,
  });
  const services = toServices({ composed, config: () => config, isDraining: () => false, log });
  const handler = createHandler({ services, isLocal: false });
  const server: Listener = await listen({ handler, host: '127.0.0.1', port: 0, tls: null });
  composed.upkeep.start();
  composed.judge.start();
  return {
    composed,
    url: server.url,
    async close() {
      server.abort();
      await server.drain();
      await composed[Symbol.asyncDispose]();
    },
  };
}

function configIn(data: string): Config {
  return loadConfig({ flags: { data }, environment: {}, workingFolder: '/', parseYaml: null }).config;
}

function settingsOf(upstreams: readonly string[], more: Partial<MirrorSettings> = {}): MirrorSettings {
  const views = [{ prefix: '/rh', strip: '', add: '' }];
  return { ...DEFAULT_MIRROR, missing: [404], redirects: [], upstreams: [...upstreams], views, ...more };
}

describe('a mirror', () => {
  const signed = (repository: string, tag = 'v1') => VENDOR.sign({ repository, tag });
  let temp: TempFolder;
  let site: HostileSite;
  let scene: Scene;
  let config: Config;
  const log = createLog();
  const files = new Map<string, Uint8Array>();
  const serve = serving(files);

  before(async () => {
    temp = await openTempFolder();
    site = await openHostileSite(serve);
    config = configIn(path.join(temp.path, 'data'));
    await addKey(config.data, VENDOR);
    scene = await open(config, log);
    const upstream = `${site.url}/sigstore?token=${SECRET}`;
    await mirrors().add('rh', settingsOf([upstream]));
  });
  after(async () => {
    await scene?.close();
    await site?.[Symbol.asyncDispose]();
    await temp?.[Symbol.asyncDispose]();
  });

  function mirrors() {
    return createAdministration(
      { ...scene.composed, clock: { now: () => new Date() }, about: config },
      ADMINISTRATOR,
    ).mirrors;
  }

  /** Puts these at the upstream. */
  function lay(folder: string, blobs: readonly Uint8Array[]): void {
    for (const file of [...files.keys()]) if (file.startsWith(`/sigstore/${folder}/`)) files.delete(file);
    for (const [i, bytes] of blobs.entries()) files.set(`/sigstore/${folder}/signature-${i + 1}`, bytes);
  }

  async function get(target: string, server = scene.url) {
    const response = await fetch(`${server}/${target}`);
    const body = Buffer.from(await response.arrayBuffer());
    return { status: response.status, body, retryAfter: response.headers.get('retry-after') };
  }

  async function walk(prefix: string): Promise<readonly string[]> {
    const paths: string[] = [];
    for (let number = 1; ; number += 1) {
      const { status, body } = await get(`${prefix}/signature-${number}`);
      if (status === 404) return paths;
      assert.equal(status, 200);
      paths.push(body.toString('base64'));
    }
  }

  const texts = (blobs: readonly Uint8Array[]) => blobs.map((bytes) => Buffer.from(bytes).toString('base64'));

  test('what it does not have is fetched when somebody asks, judged, and stored', async () => {
    const folder = folderOf('team/app');
    const blobs = [signed('team/app'), signed('team/app', 'v2')];
    lay(folder, blobs);
    assert.deepEqual(await walk(`rh/${folder}`), texts(blobs));
    const root = path.join(config.data, 'mirrors', 'rh');
    assert.deepEqual(await readFile(path.join(root, folder, 'signature-2')), blobs[1]);
    const [one] = await scene.composed.signatures.ofImage({
      ...imageAt('team/app'),
      site: 'rh',
    });
    assert.deepEqual([one?.state, one?.fingerprint], ['verified', VENDOR.fingerprint]);
    // nothing of another site
    assert.equal((await get(`${folder}/signature-1`)).status, 404);
  });

  test('what it has is served with the upstream gone', async () => {
    const folder = folderOf('team/app');
    site.answer = (req) => req.socket.destroy();
    assert.equal((await walk(`rh/${folder}`)).length, 2);
    site.answer = serve;
    // reads are answered from memory alone until it is to be asked for again, once the tree has been walked through
    await eventually(async () => {
      const set = await scene.composed.reader.readSet({ ...imageAt('team/app'), site: 'rh' });
      assert.equal(set.isSettled, true);
      assert.ok((set.askAgainMs ?? 0) > performance.now() + 60_000);
    });
  });

  test('many who ask at the same time share one walk', async () => {
    const folder = folderOf('team/shared');
    lay(folder, [signed('team/shared')]);
    const before = site.asked.length;
    const answers = await Promise.all(Array.from({ length: 20 }, () => get(`rh/${folder}/signature-1`)));
    assert.ok(answers.every(({ status }) => status === 200));
    assert.equal(site.asked.length - before, 2);
  });

  test('a fault is 503 with Retry-After, stores nothing, and tells no secret', async () => {
    const folder = folderOf('team/broken');
    const [first, third] = [signed('team/broken'), signed('team/broken', 'v3')];
    const breaking =
      (second: Answering): Answering =>
      (req, res) => {
        if (req.url?.includes('signature-2')) second(req, res);
        else serve(req, res);
      };
    lay(folder, [first, first, third]);
    for (const second of [
      (_: unknown, res: { writeHead(s: number): { end(): void } }) => res.writeHead(500).end(),
      (_: unknown, res: { end(text: string): void }) => res.end('<html>signature-2</html>'),
      (_: unknown, res: { end(bytes: Uint8Array): void }) => res.end(first.subarray(0, 40)),
    ] as readonly Answering[]) {
      site.answer = breaking(second);
      const { status, retryAfter, body } = await get(`rh/${folder}/signature-1`);
      assert.equal(status, 503);
      assert.ok(Number(retryAfter) > 0);
      assert.doesNotMatch(body.toString(), /Secret/);
    }
    const root = path.join(config.data, 'mirrors', 'rh', 'team');
    assert.ok(!(await readdir(root)).some((name) => name.startsWith('broken')));
    site.answer = serve;
    const metrics = (await get('metrics')).body.toString();
    assert.match(metrics, /lookaside_mirror_walks_total\{site="rh",result="status"\} [1-9]/);
    const details = await mirrors().show('rh');
    assert.ok((details.faults.status ?? 0) > 0);
    assert.doesNotMatch(JSON.stringify([details, log.lines]), new RegExp(SECRET));
  });

  test('an image without signatures is 404, and is not asked for again', async () => {
    const folder = folderOf('team/unsigned');
    const before = site.asked.length;
    assert.equal((await get(`rh/${folder}/signature-1`)).status, 404);
    scene.composed.reader.forget({ ...imageAt('team/unsigned'), site: 'rh' });
    assert.equal((await get(`rh/${folder}/signature-1`)).status, 404);
    assert.equal(site.asked.length - before, 1);
  });

  test('a blob that no client could use is left out, and told', async () => {
    const folder = folderOf('team/mixed');
    const other = signed('team/another');
    const good = signed('team/mixed');
    lay(folder, [other, good]);
    const { images } = await mirrors().sync('rh', { images: [nameOf('team/mixed')], maxAgeMs: null });
    assert.deepEqual(
      images.map(({ result, signatures }) => [result, signatures]),
      [['new', 1]],
    );
    assert.match(images[0]?.message ?? '', /1 left out.*DIGEST_MISMATCH/);
    assert.deepEqual(await walk(`rh/${folder}`), texts([good]));
    const details = await mirrors().show('rh');
    const leftOut = [{ sha256: sha256Hex(other), code: 'DIGEST_MISMATCH' }];
    assert.deepEqual(details.noted, [{ image: nameOf('team/mixed'), goneUpstream: [], leftOut }]);
    assert.equal(details.leftOut, 1);
    const { text } = await scene.composed.tokens.create(
      { name: 'asks', role: 'reader', lifeMs: null, signer: null },
      ADMINISTRATOR,
    );
    const authorization = `Bearer ${text}`;
    const image = await fetch(`${scene.url}/api/v1/images/${nameOf('team/mixed')}?site=rh`, {
      headers: { authorization },
    }).then((answer) => answer.json() as Promise<{ readonly mirror: { readonly leftOut: unknown } }>);
    assert.deepEqual(image.mirror.leftOut, leftOut);
    assert.doesNotMatch(JSON.stringify(image), new RegExp(SECRET));
  });

  test('what came stays, under its number, whatever the upstream does', async () => {
    const folder = folderOf('team/changing');
    const [a, b, c] = ['a', 'b', 'c'].map((tag) => signed('team/changing', tag)) as [Buffer, Buffer, Buffer];
    const sync = async (blobs: readonly Buffer[]) => {
      lay(folder, blobs);
      const { images } = await mirrors().sync('rh', { images: [nameOf('team/changing')], maxAgeMs: null });
      return images.map(({ result, signatures, added }) => [result, signatures, added]);
    };
    assert.deepEqual(await sync([a, b]), [['new', 2, 2]]);
    assert.deepEqual(await sync([c, b]), [['new', 3, 1]]);
    assert.deepEqual(await sync([]), [['unchanged', 3, 0]]);
    assert.deepEqual(await walk(`rh/${folder}`), texts([a, b, c]));
    assert.deepEqual(await sync([b]), [['unchanged', 3, 0]]);
    const { goneUpstream, noted, completeAt, lastSync } = await mirrors().show('rh');
    const gone = [sha256Hex(a), sha256Hex(c)];
    assert.deepEqual(noted.find(({ image }) => image === nameOf('team/changing'))?.goneUpstream, gone);
    assert.equal(goneUpstream, 2);
    assert.deepEqual(completeAt, lastSync?.finishedAt);
    const metrics = (await get('metrics')).body.toString();
    assert.match(metrics, /^lookaside_mirror_lag_seconds\{site="rh"\} [0-9.]+$/m);
    assert.match(metrics, /^lookaside_mirror_last_sync_images\{site="rh",result="unchanged"\} 1$/m);
    assert.match(metrics, /^lookaside_mirror_gone_upstream_signatures\{site="rh"\} 2$/m);
    assert.match(metrics, /^lookaside_mirror_left_out_signatures\{site="rh"\} 1$/m);
    assert.deepEqual(await sync([]), [['unchanged', 3, 0]]);
  });

  test('what is withdrawn stays out, though the upstream has it', async () => {
    const folder = folderOf('team/withdrawn');
    const blobs = [signed('team/withdrawn', 'a'), signed('team/withdrawn', 'b')];
    const sync = () => mirrors().sync('rh', { images: [nameOf('team/withdrawn')], maxAgeMs: null });
    lay(folder, blobs);
    await sync();
    const image = { ...imageAt('team/withdrawn'), site: 'rh' };
    const why = { reason: 'leaked', until: null };
    await scene.composed.withdrawals.withdrawAt({ image, number: 1 }, why, ADMINISTRATOR);
    const served = async () => new Set(await walk(`rh/${folder}`));
    assert.deepEqual(await served(), new Set(texts(blobs.slice(1))));
    await sync();
    assert.deepEqual(await served(), new Set(texts(blobs.slice(1))));
  });

  test('a sync tells of each image what became of it, and does not ask again for what is young', async () => {
    const folder = folderOf('team/synced');
    lay(folder, [signed('team/synced')]);
    const images = [nameOf('team/synced'), nameOf('team/none')];
    const progress: number[] = [];
    const onProgress = ({ done }: { done: number }) => void progress.push(done);
    const answer = await mirrors().sync('rh', { images, maxAgeMs: null, onProgress });
    assert.deepEqual(
      answer.images.map(({ result }) => result),
      ['new', 'missing'],
    );
    assert.deepEqual(progress, [0, 1, 2]);
    const before = site.asked.length;
    const again = await mirrors().sync('rh', { images, maxAgeMs: 60_000 });
    assert.deepEqual(
      again.images.map(({ result }) => result),
      ['unchanged', 'missing'],
    );
    assert.equal(site.asked.length, before);
    await assert.rejects(
      mirrors().sync('rh', { images: ['nonsense'], maxAgeMs: null }),
      /is not an image of the mirror/,
    );
  });

  test('sets of one sync are stored together: new ones, grown ones and those that cannot be', async () => {
    const names = Array.from({ length: 40 }, (_, number) => `many/app-${number}`);
    const both = (name: string) => [signed(name), signed(name, 'v2')];
    for (const name of names) lay(folderOf(name), both(name));
    const [grown = '', clashing = ''] = names;
    lay(folderOf(grown), [signed(grown)]);
    await mirrors().sync('rh', { images: [nameOf(grown)], maxAgeMs: null });
    lay(folderOf(grown), both(grown));
    // in the place of its folder: none can be made there
    await writeFile(path.join(config.data, 'mirrors/rh', folderOf(clashing)), 'no folder');
    const batch = path.join(config.data, 'mirrors/rh/.lookaside/batch');
    const { counts, images } = await mirrors().sync('rh', { images: names.map(nameOf), maxAgeMs: null });
    assert.deepEqual(counts, { new: 39, unchanged: 0, missing: 0, refused: 0, failed: 1 });
    assert.equal(images.find(({ result }) => result === 'failed')?.image, nameOf(clashing));
    assert.deepEqual(await readdir(batch), []);
    for (const name of names.filter((one) => one !== clashing)) {
      assert.deepEqual(await walk(`rh/${folderOf(name)}`), texts(both(name)));
      const files = await readdir(path.join(config.data, 'mirrors/rh', folderOf(name)));
      assert.deepEqual(files.sort(), ['signature-1', 'signature-2']);
    }
    await rm(path.join(config.data, 'mirrors/rh', folderOf(clashing)));
    const again = await mirrors().sync('rh', { images: names.map(nameOf), maxAgeMs: null });
    assert.deepEqual({ new: again.counts.new, unchanged: again.counts.unchanged }, { new: 1, unchanged: 39 });
  });

  test('what clients asked for in vain is told, and not what lies behind the end of a set', async () => {
    site.answer = (_, res) => void res.writeHead(500).end();
    assert.equal((await get(`rh/${folderOf('team/down')}/signature-1`)).status, 503);
    site.answer = serve;
    assert.equal((await get(`rh/${folderOf('team/absent')}/signature-1`)).status, 404);
    assert.equal((await walk(`rh/${folderOf('team/app')}`)).length, 2);
    const names = await mirrors().missed('rh', new Date(Date.now() - 60_000));
    for (const repository of ['team/down', 'team/absent'])
      assert.ok(names.includes(nameOf(repository)), repository);
    assert.ok(!names.includes(nameOf('team/app')));
  });

  test('an upload to a mirror is refused', async () => {
    const { mirrors: service, ...composed } = scene.composed;
    assert.ok(service);
    const rh = composed.sites.find(({ name }) => name === 'rh');
    await assert.rejects(async () => rh?.appender.append({} as never), /is a mirror/);
  });

  test('a prefix that others need is refused: of the server, of another mirror, of stored signatures', async () => {
    const at = (prefix: string) => settingsOf([site.url], { views: [{ prefix, strip: '', add: '' }] });
    await mkdir(path.join(config.root, folderOf('hosted/app')), { recursive: true });
    await writeFile(path.join(config.root, folderOf('hosted/app'), 'signature-1'), signed('hosted/app'));
    await scene.composed.upkeep.reindex({ acceptDamage: false });
    for (const [prefix, why] of [
      ['/api', /a path of the server itself/],
      ['/rh', /that of the mirror rh/],
      ['/hosted', /are stored below \/hosted\/ already/],
      ['/', /wanted one like/],
      ['/../x', /wanted one like/],
    ] as const) {
      await assert.rejects(mirrors().add('other', at(prefix)), why, prefix);
    }
    await assert.rejects(mirrors().add('Other', at('/other')), /cannot name a mirror/);
    await assert.rejects(mirrors().add('other', settingsOf(['https://u:p@x.example'])), /--credentials/);
    assert.deepEqual(
      (await mirrors().list()).map(({ name }) => name),
      ['rh'],
    );
  });

  test('views rewrite what is asked for, and a release is found under every name', async () => {
    const folder = folderOf('ubi9/ubi');
    const blobs = [signed('ubi9/ubi')];
    lay(folder, blobs);
    const views = [
      { prefix: '/rh', strip: '', add: '' },
      { prefix: '/m', strip: 'redhat', add: '' },
      { prefix: '/m', strip: 'mine/ubi', add: 'ubi9/ubi' },
    ];
    await mirrors().edit('rh', { views });
    const digest = folder.split('@')[1];
    for (const target of [`m/redhat/${folder}`, `m/mine/ubi@${digest}`]) {
      assert.deepEqual(await walk(target), texts(blobs), target);
    }
    assert.equal((await get(`m/ubi9/ubi@${digest}/signature-1`)).status, 404);
    const release = folderOf('release').split('@')[1] ?? '';
    files.set(`/rel/${release}/signature-1`, signed('release'));
    const layout = 'release';
    await mirrors().add(
      'ocp',
      settingsOf([`${site.url}/rel`], { layout, views: [{ prefix: '/ocp', strip: '', add: '' }] }),
    );
    for (const name of [`${release}`, `openshift/release-images@${release}`, `a/b/${release}`]) {
      assert.equal((await walk(`ocp/${name}`)).length, 1, name);
    }
    const keyrings = new Map([['vendor', VENDOR.certificate]]);
    const verified = await verifyRelease(`${scene.url}/ocp`, release.replace('=', ':'), keyrings);
    assert.deepEqual([verified.remaining, verified.asked.length, verified.errors], [[], 1, []]);
    await configMapIsServed(release.replace('=', ':'));
    await configMapsAreFoundByGraph(release.replace('=', ':'));
    await mirrors().remove('ocp');
    assert.equal((await get(`ocp/${release}/signature-1`)).status, 404);
    await assert.rejects(mirrors().show('ocp'), /no mirror/);
  });

  async function configMapIsServed(digest: string): Promise<void> {
    const at = `api/v1/releases/${digest}/configmap`;
    const map = JSON.parse((await get(`${at}?format=json&key=${VENDOR.fingerprint}`)).body.toString());
    const [[key, text] = []] = Object.entries<string>(map.binaryData);
    assert.equal(key, `${digest.replace(':', '-')}-1`);
    assert.deepEqual(
      Buffer.from(text ?? '', 'base64'),
      files.get(`/rel/${digest.replace(':', '=')}/signature-1`),
    );
    assert.match((await get(at)).body.toString(), /^apiVersion: v1\nkind: ConfigMap\n/);
    assert.equal((await get(`api/v1/releases/sha256:${'0'.repeat(64)}/configmap`)).status, 404);
    assert.equal((await get('api/v1/releases/4.18/configmap')).status, 400);
    assert.equal((await get('api/v1/releases/4.18.1/configmap')).status, 404);
  }

  async function configMapsAreFoundByGraph(digest: string): Promise<void> {
    const unsigned = `sha256:${'0'.repeat(64)}`;
    const of = (arch: string, channels: readonly string[]) => ({ version: '4.18.1', arch, channels });
    const releases = [
      { digest, ...of('amd64', ['stable-4.18']) },
      { digest: unsigned, ...of('s390x', ['stable-4.18']) },
    ];
    await mirrors().sync('ocp', { images: [digest], maxAgeMs: null, releases });
    // another graph: channels are added
    const again = [{ digest, ...of('amd64', ['fast-4.18']) }];
    await mirrors().sync('ocp', { images: [digest], maxAgeMs: null, releases: again });
    const answer = async (what: string) => {
      const { status, body } = await get(`api/v1/releases/${what}`);
      return { status, text: body.toString() };
    };
    const { text: wanted } = await answer(`${digest}/configmap`);
    const expected = { status: 200, text: wanted };
    assert.deepEqual(await answer('4.18.1/configmap?arch=amd64'), expected);
    assert.deepEqual(await answer('fast-4.18/configmap'), expected);
    assert.match((await answer('4.18.1/configmap')).text, /amd64, s390x/);
    assert.equal((await answer('stable-4.18/configmap?arch=s390x')).status, 404);
    assert.equal((await answer('stable-4.19/configmap')).status, 404);
    // one of a channel that nobody has signed is told beside the others
    const more = [{ digest: unsigned, ...of('amd64', ['stable-4.18']) }];
    await mirrors().sync('ocp', { images: [digest], maxAgeMs: null, releases: more });
    const channel = await answer('stable-4.18/configmap');
    assert.equal(channel.text, `# no signature here: ${unsigned}\n${wanted}`);
  }

  test('only what the patterns cover is fetched for readers', async () => {
    await mirrors().edit('rh', { onDemand: ['ubi9/**'] });
    const [inside, outside] = [folderOf('ubi9/x/y'), folderOf('ubi8/x')];
    lay(inside, [signed('ubi9/x/y')]);
    lay(outside, [signed('ubi8/x')]);
    assert.equal((await walk(`rh/${inside}`)).length, 1);
    assert.equal((await get(`rh/${outside}/signature-1`)).status, 404);
    await mirrors().edit('rh', { onDemand: null, onUpstreamFailure: '404' });
    site.answer = (_, res) => void res.writeHead(500).end();
    assert.equal((await get(`rh/${folderOf('team/away')}/signature-1`)).status, 404);
    site.answer = serve;
    await mirrors().edit('rh', { onUpstreamFailure: '503' });
  });

  test('a set that cannot be stored is served all the same, and stored later at the same numbers', async () => {
    const folder = folderOf('full/app');
    const blobs = [signed('full/app', 'a'), signed('full/app', 'b')];
    lay(folder, blobs);
    const parent = path.join(config.data, 'mirrors', 'rh', 'full');
    await writeFile(parent, 'in the way');
    assert.deepEqual(await walk(`rh/${folder}`), texts(blobs));
    lay(folder, [...blobs].reverse());
    await chmod(parent, 0o600);
    const { rm } = await import('node:fs/promises');
    await rm(parent);
    await mirrors().sync('rh', { images: [nameOf('full/app')], maxAgeMs: null });
    assert.deepEqual(await walk(`rh/${folder}`), texts(blobs));
    assert.deepEqual(await readFile(path.join(parent, folder.slice(5), 'signature-1')), blobs[0]);
  });

  test('what is withdrawn stays out of a set that cannot be stored', async () => {
    const folder = folderOf('full/withdrawn');
    const [a, b, c] = ['a', 'b', 'c'].map((tag) => signed('full/withdrawn', tag)) as [Buffer, Buffer, Buffer];
    const sync = () => mirrors().sync('rh', { images: [nameOf('full/withdrawn')], maxAgeMs: null });
    lay(folder, [a, b]);
    await sync();
    const image = { ...imageAt('full/withdrawn'), site: 'rh' };
    const why = { reason: 'leaked', until: null };
    await scene.composed.withdrawals.withdrawAt({ image, number: 2 }, why, ADMINISTRATOR);
    disk.reserve = Number.MAX_SAFE_INTEGER;
    lay(folder, [a, b, c]);
    await sync();
    assert.deepEqual(await walk(`rh/${folder}`), texts([a, c]));
    disk.reserve = 0;
    await sync();
    assert.deepEqual(await walk(`rh/${folder}`), texts([a, c]));
  });

  test('what is withdrawn is served from memory no longer, before the mirror asks its upstream again', async () => {
    const folder = folderOf('full/held');
    const [a, b, c] = ['a', 'b', 'c'].map((tag) => signed('full/held', tag)) as [Buffer, Buffer, Buffer];
    const sync = () => mirrors().sync('rh', { images: [nameOf('full/held')], maxAgeMs: null });
    lay(folder, [a, b]);
    await sync();
    disk.reserve = Number.MAX_SAFE_INTEGER;
    lay(folder, [a, b, c]);
    await sync();
    assert.deepEqual(await walk(`rh/${folder}`), texts([a, b, c]));
    const asked = site.asked.length;
    const image = { ...imageAt('full/held'), site: 'rh' };
    const why = { reason: 'leaked', until: null };
    await scene.composed.withdrawals.withdrawAt({ image, number: 1 }, why, ADMINISTRATOR);
    const served = await walk(`rh/${folder}`);
    disk.reserve = 0;
    assert.equal(site.asked.length, asked);
    assert.deepEqual(new Set(served), new Set(texts([b, c])));
    assert.equal(served[2], texts([c])[0]);
  });

  test('a set that cannot be stored keeps its numbers when its mirror is edited', async () => {
    const folder = folderOf('full/edited');
    const [a, b, c] = ['a', 'b', 'c'].map((tag) => signed('full/edited', tag)) as [Buffer, Buffer, Buffer];
    const sync = () => mirrors().sync('rh', { images: [nameOf('full/edited')], maxAgeMs: null });
    lay(folder, [a]);
    await sync();
    disk.reserve = Number.MAX_SAFE_INTEGER;
    lay(folder, [a, b, c]);
    await sync();
    lay(folder, [c, b, a]);
    await mirrors().edit('rh', { maxAgeMs: 7_200_000 });
    assert.deepEqual(await walk(`rh/${folder}`), texts([a, b, c]));
    // an edit that fails ends so too: the mirror is opened as it was
    await mirrors().edit('rh', { maxAgeMs: 3_600_000 });
    assert.deepEqual(await walk(`rh/${folder}`), texts([a, b, c]));
    disk.reserve = 0;
    await sync();
    assert.deepEqual(await walk(`rh/${folder}`), texts([a, b, c]));
    assert.deepEqual(await readFile(path.join(config.data, 'mirrors', 'rh', folder, 'signature-3')), c);
  });

  test('a set that the disk did not take is stored at a stop, from the reserve, or the log says that it is lost', async () => {
    const { bavail, bsize } = await statfs(config.data);
    const sync = (name: string) => mirrors().sync('rh', { images: [nameOf(name)], maxAgeMs: null });
    const names = ['full/kept', 'full/lost'];
    for (const name of names) {
      const [a, b, c] = ['a', 'b', 'c'].map((tag) => signed(name, tag)) as [Buffer, Buffer, Buffer];
      const folder = folderOf(name);
      disk.reserve = 0;
      lay(folder, [a]);
      await sync(name);
      // room is below the reserve, and for the lost one below the quarter that is left in any case
      disk.reserve = name === 'full/lost' ? Number.MAX_SAFE_INTEGER : 2 * bavail * bsize;
      lay(folder, [a, b, c]);
      await sync(name);
      assert.ok((await mirrors().show('rh')).unstored > 0);
      lay(folder, [c, b, a]);
      const said = log.lines.length;
      await scene.close();
      scene = await open(config, log);
      const isLost = log.lines
        .slice(said)
        .some((line) => /may give them other numbers/.test(JSON.stringify(line)));
      assert.equal(isLost, name === 'full/lost');
      assert.equal((await mirrors().show('rh')).unstored, 0);
      if (!isLost) assert.deepEqual(await walk(`rh/${folder}`), texts([a, b, c]));
      if (!isLost)
        assert.deepEqual(await readFile(path.join(config.data, 'mirrors', 'rh', folder, 'signature-3')), c);
    }
    disk.reserve = 0;
  });

  test('a set that the disk did not take keeps its numbers when its mirror is removed and added anew', async () => {
    const folder = folderOf('full/removed');
    const [a, b] = ['a', 'b'].map((tag) => signed('full/removed', tag)) as [Buffer, Buffer];
    const views = [{ prefix: '/again', strip: '', add: '' }];
    const add = () => mirrors().add('again', settingsOf([`${site.url}/sigstore`], { views }));
    await add();
    const { bavail, bsize } = await statfs(config.data);
    disk.reserve = 2 * bavail * bsize;
    lay(folder, [a, b]);
    assert.deepEqual(await walk(`again/${folder}`), texts([a, b]));
    await mirrors().remove('again');
    disk.reserve = 0;
    lay(folder, [b, a]);
    await add();
    assert.deepEqual(await walk(`again/${folder}`), texts([a, b]));
    await mirrors().remove('again');
  });

  test('mirrors and what they have are there after a restart', async () => {
    await scene.close();
    scene = await open(config, log);
    site.answer = missing;
    assert.equal((await walk(`rh/${folderOf('team/app')}`)).length, 2);
    site.answer = serve;
    assert.equal((await mirrors().list()).length, 1);
    const { lastSync, completeAt, goneUpstream } = await mirrors().show('rh');
    assert.ok(lastSync !== null && completeAt !== null && goneUpstream > 0);
    assert.doesNotMatch(JSON.stringify(log.lines), new RegExp(SECRET));
  });

  test('a backup has the signatures of mirrors when that is asked for, and else a sync fetches them again', async () => {
    const folder = folderOf('team/backed-up');
    lay(folder, [signed('team/backed-up', 'a'), signed('team/backed-up', 'b')]);
    const images = [nameOf('team/backed-up')];
    await mirrors().sync('rh', { images, maxAgeMs: null });
    const served = await walk(`rh/${folder}`);
    assert.equal(served.length, 2);
    for (const isWith of [true, false]) {
      const [backup, restored] = ['backup', 'restored'].map((name) =>
        path.join(temp.path, `${name}-${isWith}`),
      );
      const request = {
        folder: backup ?? '',
        taker: { command: 'test', host: 'here' },
        onProgress: () => undefined,
      };
      const sites = isWith ? sitesWithMirrors(config) : sitesOf(config);
      const { manifest } = await backUp({ ...request, data: config.data, sites, version: '0' });
      assert.deepEqual(manifest.sites, isWith ? [{ name: 'rh', tree: 'owned', mirror: true }] : undefined);
      const other = configIn(restored ?? '');
      await restore({ ...request, data: other.data, sites: sitesOf(other) });
      // before a server has made the folder of a mirror that the backup leaves out
      const beside = { log: createLog(), onProgress: () => undefined };
      const checked = await fsckReadOnly({ data: other.data, sites: sitesWithMirrors(other), ...beside });
      assert.equal(checked.problems, 0);
      const again = await open(other);
      site.answer = isWith ? missing : serve;
      try {
        const answer = await createAdministration(
          { ...again.composed, clock: { now: () => new Date() }, about: other },
          ADMINISTRATOR,
        ).mirrors.sync('rh', { images, maxAgeMs: 86_400_000 });
        assert.equal(answer.images[0]?.result, isWith ? 'unchanged' : 'new');
        site.answer = missing;
        for (const [position, text] of served.entries()) {
          const { status, body } = await get(`rh/${folder}/signature-${position + 1}`, again.url);
          assert.equal(status, 200);
          assert.equal(body.toString('base64'), text);
        }
      } finally {
        await again.close();
        site.answer = serve;
      }
    }
  });

  test('a backup that names a mirror in a folder above is no backup', async () => {
    const folder = path.join(temp.path, 'led-astray');
    const request = { folder, taker: { command: 'test', host: 'here' }, onProgress: () => undefined };
    await backUp({ ...request, data: config.data, sites: sitesWithMirrors(config), version: '0' });
    const file = path.join(folder, 'backup.json');
    await writeFile(file, (await readFile(file, 'utf8')).replace('"name": "rh"', '"name": ".."'));
    const data = path.join(temp.path, 'not-restored');
    await assert.rejects(restore({ ...request, data, sites: sitesOf(configIn(data)) }), /is damaged/);
    await assert.rejects(readdir(data), { code: 'ENOENT' });
  });
});

function imageAt(repository: string) {
  const hex = folderOf(repository).split('=')[1] ?? '';
  return { site: 'default', layout: 'repository', path: repository, algorithm: 'sha256', hex } as const;
}

function nameOf(repository: string): string {
  return folderOf(repository).replace('=', ':');
}

type Step =
  | { readonly kind: 'put'; readonly tags: readonly number[] }
  | { readonly kind: 'read' }
  | { readonly kind: 'sync' }
  | { readonly kind: 'fail'; readonly after: number }
  | { readonly kind: 'restart' };

const step: fc.Arbitrary<Step> = fc.oneof(
  {
    weight: 4,
    arbitrary: fc.uniqueArray(fc.nat(5), { maxLength: 4 }).map((tags) => ({ kind: 'put', tags }) as const),
  },
  { weight: 4, arbitrary: fc.constant({ kind: 'read' } as const) },
  { weight: 4, arbitrary: fc.constant({ kind: 'sync' } as const) },
  { weight: 2, arbitrary: fc.nat(4).map((after) => ({ kind: 'fail', after }) as const) },
  { weight: 1, arbitrary: fc.constant({ kind: 'restart' } as const) },
);

test('whatever an upstream does, what was once served under a number is served under it for ever', async () => {
  const blobs = Array.from({ length: 6 }, (_, tag) =>
    VENDOR.sign({ repository: 'model/app', tag: `t${tag}` }),
  );
  let count = 0;
  await using temp = await openTempFolder();
  await using site = await openHostileSite();
  const config = configIn(path.join(temp.path, 'data'));
  const log = createLog();
  let { composed } = await quiet(config, log);
  const actor = ADMINISTRATOR;
  await composed.mirrors.add('rh', settingsOf([`${site.url}/s`], { maxAgeMs: 1000 }), actor);
  try {
    await fc.assert(
      fc.asyncProperty(fc.array(step, { minLength: 6, maxLength: 12 }), async (steps) => {
        count += 1;
        const image = { ...imageAt('model/app'), site: 'rh', path: `model/app${count}` };
        /** What each number was once served as. */
        const served: string[] = [];
        /** Every whole set that the upstream has had. */
        let current: readonly number[] = [];
        let failsAfter = Number.POSITIVE_INFINITY;
        let requests = 0;
        site.answer = (req, res) => {
          requests += 1;
          const number = Number(/\d+$/.exec(req.url ?? '')?.[0]);
          const bytes = blobs[current[number - 1] ?? -1];
          if (requests > failsAfter) res.writeHead(500).end();
          else if (bytes === undefined) res.writeHead(404).end();
          else res.end(bytes);
        };
        for (const one of steps) {
          switch (one.kind) {
            case 'put':
              current = one.tags;
              failsAfter = Number.POSITIVE_INFINITY;
              break;
            case 'fail':
              [failsAfter, requests] = [one.after, 0];
              break;
            case 'sync':
              await composed.mirrors.sync('rh', { images: [nameOfImage(image)], maxAgeMs: null }, actor);
              break;
            case 'restart':
              await composed[Symbol.asyncDispose]();
              composed = (await quiet(config, log)).composed;
              break;
            case 'read': {
              composed.reader.forget(image);
              const set = await composed.reader.readSet(image).catch(() => null);
              if (set === null) break; // 503
              const now = set.entries.map(({ sha256 }) => sha256);
              assert.deepEqual(now.slice(0, served.length), served);
              for (const sha256 of now.slice(served.length)) served.push(sha256);
              assert.equal(new Set(now).size, now.length);
            }
          }
        }
      }),
      { numRuns: 12 },
    );
  } finally {
    await composed[Symbol.asyncDispose]();
  }
});

async function quiet(config: Config, log: ReturnType<typeof createLog>) {
  const sites = [{ name: 'default', prefix: '', root: config.root, tree: 'owned' }] as const;
  const taker = { command: 'test', host: 'here' };
  return { composed: await compose({ config, current: () => config, sites, log, taker }) };
}

function nameOfImage({ path: repository, hex }: { readonly path: string; readonly hex: string }): string {
  return `${repository}@sha256:${hex}`;
}
