// A machine of a client, with a registry and a lookaside in one stub server: real files, real HTTP, in this process.
import { createHash } from 'node:crypto';
import { mkdir, rm, writeFile } from 'node:fs/promises';
import { createServer, type RequestListener, type Server } from 'node:http';
import { createServer as createTlsServer } from 'node:https';
import type { AddressInfo } from 'node:net';
import path from 'node:path';
import { parse as parseToml } from 'smol-toml';
import { parse } from 'yaml';
import type { ClientGeneration, OpenWeb } from '../../src/domain/client-machine.ts';
import { openClientMachine } from '../../src/files/client-machine.ts';
import type { ClientEnvironment } from '../../src/files/client-places.ts';
import { openVerifier } from '../../src/openpgp/pool.ts';
import { diagnose } from '../../src/service/doctor.ts';
import type { Diagnosis, DoctorPorts } from '../../src/service/doctor-diagnosis.ts';
import { createAskWeb } from '../../src/upstream/ask-web.ts';
import { endAgents } from '../clients/agents.ts';
import { makeSigner, type Signer } from '../clients/signer.ts';
import { openTempFolder } from '../clients/temp-folder.ts';

/** What the stub answers at a path: a body with 200, or a status. */
export type Answers = Map<string, Buffer | number>;

const CONFIG = Buffer.from(
  '{"architecture":"amd64","os":"linux","rootfs":{"type":"layers","diff_ids":[]},"config":{}}',
);
const blobDigest = (bytes: Uint8Array) => `sha256:${createHash('sha256').update(bytes).digest('hex')}`;

export const MANIFEST = JSON.stringify({
  schemaVersion: 2,
  mediaType: 'application/vnd.oci.image.manifest.v1+json',
  config: {
    mediaType: 'application/vnd.oci.image.config.v1+json',
    digest: blobDigest(CONFIG),
    size: CONFIG.length,
  },
  layers: [],
});
export const DIGEST = blobDigest(Buffer.from(MANIFEST));
export const LIST = JSON.stringify({
  schemaVersion: 2,
  mediaType: 'application/vnd.oci.image.index.v1+json',
  manifests: [
    {
      mediaType: 'application/vnd.oci.image.manifest.v1+json',
      digest: DIGEST,
      size: MANIFEST.length,
      platform: { os: 'linux', architecture: 'amd64' },
    },
  ],
});

export interface Machine extends AsyncDisposable {
  readonly folder: string;
  /** Host and port of registry and lookaside. */
  readonly host: string;
  readonly answers: Answers;
  /** The User-Agent of each request since heal(). */
  readonly agents: (string | undefined)[];
  readonly alice: Signer;
  readonly mallory: Signer;
  /** The header that announces signatures in the registry. */
  announces: boolean;
  /** USER:PASSWORD that the registry wants; null: nobody has to log in. */
  login: string | null;
  /** A healthy machine: alice's signature of team/app:v1, trusted for the registry. */
  heal(): Promise<void>;
  write(name: string, content: string | Uint8Array): Promise<string>;
  signedBy(extra?: object): object;
  sign(signer: Signer, tag?: string, manifest?: string): Buffer;
  diagnose(options?: Partial<MachineOptions>): Promise<Diagnosis>;
}

export interface MachineOptions {
  readonly image: string;
  readonly generation: ClientGeneration;
  readonly isInsecure: boolean | null;
  readonly isRoot: boolean;
  readonly now: Date;
  readonly environment: ClientEnvironment;
  readonly crioNamespace: string | null;
  /** The home of the user, as the system says. */
  readonly ownHome: string;
  readonly server: DoctorPorts['server'];
}

export const SIGNATURES = `/sigstore/team/app@${DIGEST.replace(':', '=')}`;

/** `tls`: the stub speaks it. */
export async function openMachine(
  tls: { readonly cert: Buffer; readonly key: Buffer } | null = null,
): Promise<Machine> {
  const temp = await openTempFolder();
  const answers: Answers = new Map();
  const agents: (string | undefined)[] = [];
  const alice = makeSigner('alice');
  const mallory = makeSigner('mallory');
  const verifier = openVerifier();
  let announces = false;
  let login: string | null = null;
  const server = await listen(tls, (url, agent) => {
    agents.push(agent);
    return { answered: answers.get(url) ?? 404, announces, login };
  });
  const host = `127.0.0.1:${(server.address() as AddressInfo).port}`; // of a TCP listener
  const write = async (name: string, content: string | Uint8Array) => {
    const file = path.join(temp.path, name);
    await mkdir(path.dirname(file), { recursive: true });
    await writeFile(file, content);
    return file;
  };
  const machine: Machine = {
    folder: temp.path,
    host,
    answers,
    agents,
    alice,
    mallory,
    write,
    get announces() {
      return announces;
    },
    set announces(value) {
      announces = value;
    },
    get login() {
      return login;
    },
    set login(value) {
      login = value;
    },
    signedBy: (extra = { keyPath: path.join(temp.path, 'alice.gpg') }) => ({
      type: 'signedBy',
      keyType: 'GPGKeys',
      ...extra,
    }),
    sign: (signer, tag = 'v1', manifest = MANIFEST) =>
      signer.sign({ registry: host, repository: 'team/app', manifest, tag }),
    async heal() {
      answers.clear();
      agents.length = 0;
      announces = false;
      login = null;
      for (const folder of ['etc', 'usr', 'var', 'run', 'home'])
        await rm(path.join(temp.path, folder), { recursive: true, force: true });
      answers.set('/v2/', Buffer.from('{}'));
      for (const name of ['v1', 'v2', DIGEST])
        answers.set(`/v2/team/app/manifests/${name}`, Buffer.from(MANIFEST));
      answers.set(`/v2/team/app/blobs/${blobDigest(CONFIG)}`, CONFIG);
      answers.set(`${SIGNATURES}/signature-1`, this.sign(alice));
      await write('alice.gpg', alice.certificate);
      const policy = { default: [{ type: 'reject' }], transports: { docker: { [host]: [this.signedBy()] } } };
      await write('etc/containers/policy.json', JSON.stringify(policy));
      await write('etc/containers/registries.d/lookaside.yaml', registriesD(host, `http://${host}/sigstore`));
    },
    async diagnose({
      image = `${host}/team/app:v1`,
      generation = 'current',
      isInsecure = true,
      isRoot = true,
      now = new Date(),
      environment = {},
      server = null,
      crioNamespace = null,
      ownHome = path.join(temp.path, 'home'),
    } = {}) {
      const opened = openClientMachine({
        ...{ home: path.join(temp.path, 'home'), uid: isRoot ? 0 : 1000, environment, generation },
        ...{ policy: null, crioNamespace, registriesD: null, registriesConf: null, root: temp.path },
        known: { name: isRoot ? 'root' : 'bob', ownHome },
        platform: { os: 'linux', architecture: 'amd64' },
        parseYaml: (text) => parse(text),
        parseToml,
      });
      const web: OpenWeb = ({ certificates, isInsecure: isAny }) =>
        createAskWeb({ ...certificates, isInsecure: isAny, patienceMs: 10_000 });
      const ports = { machine: opened, web, verifier, clock: { now: () => now }, server };
      return diagnose(ports, { image, generation, isInsecure });
    },
    async [Symbol.asyncDispose]() {
      await verifier.close();
      server.closeAllConnections();
      await new Promise((resolve) => server.close(resolve));
      await endAgents(temp.path);
      await temp[Symbol.asyncDispose]();
    },
  };
  await machine.heal();
  return machine;
}

export function registriesD(section: string, base: string): string {
  return JSON.stringify({ docker: { [section]: { lookaside: base, sigstore: base } } }); // JSON is YAML
}

function listen(
  tls: { readonly cert: Buffer; readonly key: Buffer } | null,
  answer: (
    url: string,
    agent: string | undefined,
  ) => {
    readonly answered: Buffer | number;
    readonly announces: boolean;
    readonly login: string | null;
  },
): Promise<Server> {
  const respond: RequestListener = (request, response) => {
    const { answered, announces, login } = answer(request.url ?? '', request.headers['user-agent']);
    const sent = request.headers.authorization ?? null;
    if (login !== null && request.url?.startsWith('/v2/') === true) {
      if (sent !== `Basic ${Buffer.from(login).toString('base64')}`) {
        response.writeHead(401, { 'www-authenticate': 'Basic realm="here"' }).end();
        return;
      }
    }
    if (announces) response.setHeader('x-registry-supports-signatures', '1');
    if (typeof answered === 'number') {
      response.writeHead(answered).end();
      return;
    }
    const text = answered.toString('latin1');
    const type = /"mediaType":"([^"]+)","(?:config|manifests)"/.exec(text)?.[1] ?? 'application/octet-stream';
    response.writeHead(200, { 'content-type': text.startsWith('<') ? 'text/html' : type }).end(answered);
  };
  const server = tls === null ? createServer(respond) : createTlsServer(tls, respond);
  return new Promise((resolve) => server.listen(0, '127.0.0.1', () => resolve(server)));
}
