// What a pull asks of the registry before it asks for signatures: which manifest, and whether the registry has signatures itself.
import { createHash } from 'node:crypto';
import type { AskWeb, ClientMachine, WebAnswer } from '../domain/client-machine.ts';
import type { DockerReference } from '../domain/reference.ts';

export interface FoundManifest {
  readonly kind: 'found';
  /** `sha256:<hex>`: what signatures are asked for. */
  readonly digest: string;
  readonly bytes: Uint8Array;
  /** Digest of the list that it was chosen from, or null. */
  readonly list: string | null;
  /** The registry announces signatures of its own, which clients read in place of a lookaside. */
  readonly hasExtension: boolean;
}

export type RegistryFailure = {
  readonly kind: 'failed';
  /** `missing`: there is no such image. `denied`: the registry wants other credentials. */
  readonly code: 'unreachable' | 'tls' | 'denied' | 'missing' | 'strange';
  readonly message: string;
};

export interface RegistryQuestion {
  readonly ask: AskWeb;
  readonly image: DockerReference;
  readonly platform: ClientMachine['platform'];
  /** Sent to a registry that asks for it; null: there is none. */
  readonly login: { readonly user: string; readonly password: string } | null;
  /** Plain HTTP is tried where TLS is not spoken, as `--tls-verify=false` does. */
  readonly isInsecure: boolean;
}

const LISTS = [
  'application/vnd.oci.image.index.v1+json',
  'application/vnd.docker.distribution.manifest.list.v2+json',
];
const MANIFESTS = [
  'application/vnd.oci.image.manifest.v1+json',
  'application/vnd.docker.distribution.manifest.v2+json',
];
const ACCEPT = [...MANIFESTS, ...LISTS].join(', ');
const HEADERS = { accept: ACCEPT, 'user-agent': 'lookaside-doctor' };

/** Docker Hub is asked under another name than its images have. */
function hostOf(domain: string): string {
  return domain === 'docker.io' ? 'registry-1.docker.io' : domain;
}

export async function findManifest(question: RegistryQuestion): Promise<FoundManifest | RegistryFailure> {
  const { image } = question;
  const pinged = await ping(question);
  if (pinged.kind === 'failed') return pinged;
  const { base, answer } = pinged;
  const hasExtension = answer.header('x-registry-supports-signatures') === '1';
  const headers = await authorized(question, answer);
  const wanted = image.digest ?? image.tag ?? 'latest';
  const first = await fetchManifest(question, `${base}/v2/${image.path}/manifests/${wanted}`, headers);
  if (first.kind === 'failed') return first;
  const digest = digestOf(first.bytes);
  const chosen = chooseFrom(first.bytes, question.platform);
  if (chosen === 'no-list') return { kind: 'found', digest, bytes: first.bytes, list: null, hasExtension };
  const { os, architecture } = question.platform;
  if (chosen === null)
    return failed(
      'missing',
      `the image list has no image for ${os}/${architecture}, the platform of this machine`,
    );
  const second = await fetchManifest(question, `${base}/v2/${image.path}/manifests/${chosen}`, headers);
  if (second.kind === 'failed') return second;
  return { kind: 'found', digest: chosen, bytes: second.bytes, list: digest, hasExtension };
}

type Pinged = {
  readonly kind: 'pinged';
  readonly base: string;
  readonly answer: Extract<WebAnswer, { kind: 'answer' }>;
};

async function ping({ ask, image, isInsecure }: RegistryQuestion): Promise<Pinged | RegistryFailure> {
  const host = hostOf(image.domain);
  const answer = await ask(`https://${host}/v2/`, HEADERS);
  if (answer.kind === 'answer') return { kind: 'pinged', base: `https://${host}`, answer };
  if (answer.kind === 'plain' && !isInsecure)
    return failed('tls', `${host} speaks plain HTTP, and clients ask by HTTPS`);
  if (answer.kind === 'tls') return failed('tls', `the certificate of ${host} is not trusted: ${answer.why}`);
  const plain = isInsecure ? await ask(`http://${host}/v2/`, HEADERS) : answer;
  if (plain.kind === 'answer') return { kind: 'pinged', base: `http://${host}`, answer: plain };
  return failed('unreachable', `the registry ${host} does not answer: ${plain.why}`);
}

/** With the login, or a token that it gets; as clients without a login, with a token that anybody gets. */
async function authorized(
  { ask, image, login }: RegistryQuestion,
  pinged: Extract<WebAnswer, { kind: 'answer' }>,
): Promise<Readonly<Record<string, string>>> {
  if (pinged.status !== 401) return HEADERS;
  const basic: Readonly<Record<string, string>> =
    login === null ? {} : { authorization: `Basic ${base64(`${login.user}:${login.password}`)}` };
  const challenge = pinged.header('www-authenticate') ?? '';
  if (/^Basic\b/i.test(challenge)) return { ...HEADERS, ...basic };
  const realm = /^Bearer .*realm="([^"]+)"/i.exec(challenge)?.[1];
  if (realm === undefined || !URL.canParse(realm)) return HEADERS;
  const url = new URL(realm);
  const service = /service="([^"]+)"/i.exec(challenge)?.[1];
  if (service !== undefined) url.searchParams.set('service', service);
  if (login !== null) url.searchParams.set('account', login.user);
  url.searchParams.set('scope', `repository:${image.path}:pull`);
  const answer = await ask(url.href, { 'user-agent': HEADERS['user-agent'], ...basic });
  const value = answer.kind === 'answer' && answer.status === 200 ? jsonOf(answer.body) : null;
  const token = textIn(value, 'token') ?? textIn(value, 'access_token');
  return token === null ? HEADERS : { ...HEADERS, authorization: `Bearer ${token}` };
}

function base64(text: string): string {
  return Buffer.from(text).toString('base64');
}

async function fetchManifest(
  { ask, image, login }: RegistryQuestion,
  url: string,
  headers: Readonly<Record<string, string>>,
): Promise<{ readonly kind: 'read'; readonly bytes: Uint8Array } | RegistryFailure> {
  const answer = await ask(url, headers);
  if (answer.kind !== 'answer') return failed('unreachable', `${url}: ${answer.why}`);
  if (answer.status === 200) return { kind: 'read', bytes: answer.body };
  if (answer.status === 404)
    return failed(
      'missing',
      `the registry ${image.domain} has no ${url.slice(url.lastIndexOf('/') + 1)} of ${image.path}`,
    );
  if (answer.status === 401 || answer.status === 403)
    return failed(
      'denied',
      `the registry ${image.domain} answers ${answer.status} to ${login === null ? 'who has not logged in' : `the user ${login.user}`}`,
    );
  return failed('strange', `${url} answers ${answer.status}`);
}

/** `no-list`: it is one image. Null: none fits. */
function chooseFrom(
  bytes: Uint8Array,
  { os, architecture }: ClientMachine['platform'],
): string | null | 'no-list' {
  const value = jsonOf(bytes);
  const entries =
    typeof value === 'object' && value !== null && 'manifests' in value ? value.manifests : null;
  if (!Array.isArray(entries)) return 'no-list';
  for (const entry of entries as readonly unknown[]) {
    const platform =
      typeof entry === 'object' && entry !== null && 'platform' in entry ? entry.platform : null;
    if (textIn(platform, 'os') === os && textIn(platform, 'architecture') === architecture)
      return textIn(entry, 'digest');
  }
  return null;
}

function digestOf(bytes: Uint8Array): string {
  return `sha256:${createHash('sha256').update(bytes).digest('hex')}`;
}

function jsonOf(bytes: Uint8Array): unknown {
  try {
    return JSON.parse(new TextDecoder().decode(bytes));
  } catch {
    return null; // only SyntaxError: what is no JSON is no list and no token
  }
}

function textIn(value: unknown, name: string): string | null {
  if (typeof value !== 'object' || value === null) return null;
  const member: unknown = Object.getOwnPropertyDescriptor(value, name)?.value;
  return typeof member === 'string' ? member : null;
}

function failed(code: RegistryFailure['code'], message: string): RegistryFailure {
  return { kind: 'failed', code, message };
}
