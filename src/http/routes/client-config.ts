// What clients need to verify what is served here: keys, and the files that name them. As open as the signatures are; who a
// signer is, only tokens may ask.
import { createHash } from 'node:crypto';
import type { IncomingMessage } from 'node:http';
import { z } from 'zod';
import { installerFor, keysOf } from '../../domain/client-config/installer.ts';
import {
  CLIENT_KINDS,
  type ClientKind,
  type HandedKind,
  type KindFile,
} from '../../domain/client-config/kind.ts';
import type { Note } from '../../domain/client-config/policy-merge.ts';
import {
  isRegistryScope,
  SCOPE_WANTED,
  type TrustedScope,
  type WantedConfig,
} from '../../domain/client-config/wanted.ts';
import { LookasideError } from '../../domain/errors.ts';
import { ROLES } from '../../domain/ports.ts';
import { quoted } from '../../domain/text.ts';
import { chooseKeys, freshFiles, handedFiles, mergeFor } from '../../service/client-config.ts';
import { forwarded, isEncrypted, requireRole } from '../client.ts';
import { type Exchange, identifyAgain } from '../exchange.ts';
import { expected, parseQuery } from '../parameters.ts';
import { jsonReply, type Reply, textReply } from '../reply.ts';
import { NO_BODY, type RouteRequest, type RouteSpec } from '../route.ts';
import type { Services } from '../services.ts';

const NAME = 'client-config';
const PATH = '/api/v1/client-config/:kind';

/** Anybody may send one, and no read is answered while it is merged: a megabyte of sections took a second. Real ones have a few KiB. */
const MAX_SENT_POLICY_BYTES = 64 * 1024;

/** The bytes of the files of one answer, bounded for the same reason: policy and keys come again for each namespace, and keys for each registry. */
const MAX_MADE_BYTES = 1024 * 1024;

/** readQuestion() waits: the issuer of a token has its own bound of time, and is not the database. */
const WAITS = { waits: 'own' } as const;

export const clientConfig: readonly RouteSpec[] = [
  {
    ...NO_BODY,
    ...WAITS,
    name: NAME,
    path: PATH,
    methods: ['GET', 'HEAD'],
    roles: 'reader',
    route: showFiles,
  },
  {
    ...WAITS,
    // a POST for its body, the policy of a machine; it changes nothing
    name: NAME,
    path: PATH,
    methods: ['POST'],
    roles: 'reader',
    body: 'bytes',
    bodyBytes: MAX_SENT_POLICY_BYTES,
    bodyMs: 10_000,
    route: showMerged,
  },
  {
    ...NO_BODY,
    ...WAITS,
    name: 'setup',
    path: '/setup/*file',
    methods: ['GET', 'HEAD'],
    roles: 'reader',
    route: showSetup,
  },
];

const MAX_NAMES = 100;

const list = z
  .string()
  .transform((text) => text.split(',').filter((one) => one !== ''))
  .pipe(z.array(z.string()).max(MAX_NAMES, expected(`at most ${MAX_NAMES}, with commas between`)))
  .default([]);
const yes = z.enum(['1', 'true', '0', 'false'], expected('1 or 0')).default('0');
const URL_WANTED = expected('a URL: https://, http:// or file://, without blanks and quotation marks');
// it is written into files as it is, and a URL may hold line ends that nobody sees
const url = z
  .url({ protocol: /^(?:https?|file)$/, ...URL_WANTED })
  .regex(/^[^\s\p{C}"'`\\<>]+$/u, URL_WANTED);

const query = z.strictObject({
  registry: list,
  key: list,
  signer: list,
  'all-keys': yes,
  keys: z.enum(['files', 'keyring', 'inline'], expected('files, keyring or inline')).default('files'),
  lookaside: url.optional(),
  staging: url.optional(),
  widen: yes,
  namespace: list,
  image: z.string().optional(),
});

interface Answered {
  readonly wanted: WantedConfig;
  readonly isStagingChosen: boolean;
  readonly mayWiden: boolean;
  readonly namespaces: readonly string[];
  readonly image: string | null;
  readonly notes: readonly Note[];
}

async function readQuestion(
  services: Services,
  request: RouteRequest,
  asked: URLSearchParams,
): Promise<Answered> {
  const { req, exchange, patience } = request;
  const given = parseQuery(query, joined(asked));
  const registries = requireRegistries(given.registry);
  if (given.signer.length > 0)
    requireRole(await identifyAgain(services, req, { caller: exchange.caller, patience }), ROLES);
  const choice = { keys: given.key, signers: given.signer, isAllKeys: isYes(given['all-keys']) };
  const { scopes, notes } = await patience.wait(chooseKeys(services, registries, choice));
  requireFew(scopes, given.namespace, request.bytes.length);
  const wanted: WantedConfig = {
    scopes,
    lookaside: (given.lookaside ?? urlOf(services, req, exchange)).replace(/\/+$/, ''),
    staging: given.staging ?? null,
    keysIn: given.keys,
  };
  return {
    ...{ wanted, notes, namespaces: given.namespace, image: given.image ?? null },
    isStagingChosen: given.staging !== undefined,
    mayWiden: isYes(given.widen),
  };
}

function requireFew(
  scopes: readonly TrustedScope[],
  namespaces: readonly string[],
  policyBytes: number,
): void {
  const keys = scopes.flatMap((scope) => scope.keys).reduce((sum, key) => sum + key.certificate.length, 0);
  const bytes = (policyBytes + keys) * Math.max(1, namespaces.length);
  if (bytes <= MAX_MADE_BYTES) return;
  throw new LookasideError(
    'REQUEST_INVALID',
    `policy and keys of all these registries and namespaces would have ${bytes} bytes, expected at most ${MAX_MADE_BYTES}; ask for fewer at once, or run lookaside client-config, which makes the files where it runs`,
  );
}

function isYes(text: string): boolean {
  return text === '1' || text === 'true';
}

async function showFiles(services: Services, request: RouteRequest): Promise<Reply> {
  const kind = kindOf(request);
  const answered = await readQuestion(services, request, request.query);
  const { wanted, isStagingChosen } = answered;
  if (kind === 'podman') {
    refuseNamespaces(answered);
    return filesReply(kind, answered, freshFiles(wanted, isStagingChosen));
  }
  return handedReply(services, request, { kind, answered, policy: null });
}

function handedReply(
  services: Services,
  { req, exchange }: RouteRequest,
  {
    kind,
    answered,
    policy,
  }: {
    readonly kind: HandedKind;
    readonly answered: Answered;
    readonly policy: Uint8Array | null;
  },
): Reply {
  const server = {
    url: urlOf(services, req, exchange).replace(/\/+$/, ''),
    isClosed: services.settings().read === 'token',
  };
  return filesReply(kind, answered, handedFiles(services.keys, kind, { ...answered, policy, server }));
}

function kindOf({ params }: RouteRequest): ClientKind {
  const kind = CLIENT_KINDS.find((name) => name === params.kind);
  if (kind !== undefined) return kind;
  const known = CLIENT_KINDS.join(', ');
  throw new LookasideError(
    'NOT_FOUND',
    `${quoted(params.kind ?? '')} is not a kind of client; known are ${known}`,
  );
}

function refuseNamespaces({ namespaces, image }: Answered): void {
  if (namespaces.length === 0 && image === null) return;
  throw new LookasideError(
    'REQUEST_INVALID',
    'podman knows no namespaces and no pods; leave out the parameters namespace and image',
  );
}

function filesReply(
  kind: ClientKind,
  { wanted, notes }: Answered,
  planned: {
    readonly files: readonly KindFile[];
    readonly notes: readonly Note[];
    readonly commands?: readonly string[];
  },
): Reply {
  const { scopes } = wanted;
  return jsonReply(200, {
    kind,
    lookaside: wanted.lookaside,
    sections: scopes.map((scope) => ({
      registry: scope.registry,
      keys: scope.keys.map(({ fingerprint }) => fingerprint),
    })),
    keys: keysOf(wanted).map(({ fingerprint, userIds, certificate }) => ({
      fingerprint,
      userIds,
      certificate: Buffer.from(certificate).toString('base64'),
    })),
    files: planned.files.map(fileAnswer),
    ...(planned.commands === undefined ? {} : { commands: planned.commands }),
    notes: [...notes, ...planned.notes],
  });
}

/** The policy that was sent, merged; its SHA-256 in X-Checksum-SHA256, and notes in X-Lookaside-Note-N. Other kinds answer the files with it in them. */
async function showMerged(services: Services, request: RouteRequest): Promise<Reply> {
  const kind = kindOf(request);
  const answered = await readQuestion(services, request, request.query);
  const { wanted, mayWiden } = answered;
  if (kind !== 'podman') return handedReply(services, request, { kind, answered, policy: request.bytes });
  refuseNamespaces(answered);
  const { policy, notes } = mergeFor(wanted, request.bytes, mayWiden);
  const merged = Buffer.from(policy);
  return textReply(200, merged.toString('utf8'), {
    'Content-Type': 'application/json',
    'X-Checksum-SHA256': sha256Of(merged),
    ...noteHeaders([...answered.notes, ...notes]),
  });
}

/** Proxies give the head of an answer 4 KiB in all. */
const MAX_NOTE_BYTES = 2_000;

/** `X-Lookaside-Note-1` and so on, for the installer, which reads no JSON. What does not fit is counted. */
function noteHeaders(notes: readonly Note[]): Readonly<Record<string, string>> {
  const lines: string[] = [];
  let bytes = 0;
  for (const [index, { message }] of notes.entries()) {
    const line = message.replace(/[^ -~]/g, '?').slice(0, 600);
    bytes += line.length;
    if (bytes > MAX_NOTE_BYTES) {
      const more = notes.length - index;
      lines.push(`and ${more} more of this kind; lookaside client-config --diff tells all of them`);
      break;
    }
    lines.push(line);
  }
  return Object.fromEntries(lines.map((line, index) => [`X-Lookaside-Note-${index + 1}`, line]));
}

/** `/setup/registry.example.com/team.sh`, or `/setup/podman.sh?registry=…`. */
async function showSetup(services: Services, request: RouteRequest): Promise<Reply> {
  const { req, exchange, params } = request;
  const name = /^(.*)\.sh$/s.exec(params.file ?? '')?.[1] ?? '';
  const asked = new URLSearchParams(request.query);
  if (isRegistryScope(name)) asked.append('registry', name);
  else if (name !== 'podman')
    throw new LookasideError(
      'NOT_FOUND',
      `${quoted(params.file ?? '')} is not a set-up; wanted /setup/REGISTRY.sh, like /setup/registry.example.com/team.sh, or /setup/podman.sh?registry=…`,
    );
  const refused = ['signer', 'keys', 'staging', 'widen', 'namespace', 'image'].find((parameter) =>
    asked.has(parameter),
  );
  if (refused !== undefined)
    throw new LookasideError(
      'REQUEST_INVALID',
      `a set-up takes no parameter ${refused}; expected registry, key, all-keys or lookaside`,
    );
  const { wanted, isStagingChosen, notes } = await readQuestion(services, request, asked);
  const own = new URLSearchParams(request.query).toString();
  const script = installerFor({
    wanted,
    url: urlOf(services, req, exchange).replace(/\/+$/, ''),
    script: `/setup/${name}.sh${own === '' ? '' : `?${own}`}`,
    queries: [joined(asked).toString()],
    isClosed: services.settings().read === 'token',
    notes: notes.map(({ message }) => message),
    files: (one) => freshFiles(one, isStagingChosen).files,
    sha256: sha256Of,
  });
  return textReply(200, script, { 'Content-Type': 'text/x-shellscript; charset=utf-8' });
}

function sha256Of(bytes: Uint8Array): string {
  return createHash('sha256').update(bytes).digest('hex');
}

/** A parameter that is given several times means the same as one with commas. */
function joined(query: URLSearchParams): URLSearchParams {
  const all = new URLSearchParams();
  for (const name of new Set(query.keys())) {
    const isList = ['registry', 'key', 'signer', 'namespace'].includes(name);
    if (isList) all.set(name, query.getAll(name).join(','));
    else for (const value of query.getAll(name)) all.append(name, value);
  }
  return all;
}

function requireRegistries(registries: readonly string[]): readonly string[] {
  if (registries.length === 0)
    throw new LookasideError('REQUEST_INVALID', `the parameter registry is missing; ${SCOPE_WANTED}`);
  const wrong = registries.find((one) => !isRegistryScope(one));
  if (wrong === undefined) return [...new Set(registries)];
  throw new LookasideError('REQUEST_INVALID', `registry is ${quoted(wrong)}; ${SCOPE_WANTED}`);
}

function fileAnswer({ path, content, keys }: KindFile) {
  const bytes = Buffer.from(content);
  const text = keys === null;
  return {
    path,
    mode: '0644',
    encoding: text ? 'utf-8' : 'base64',
    content: bytes.toString(text ? 'utf8' : 'base64'),
    keys,
  };
}

/** By which this client reached us. */
function urlOf({ settings }: Services, req: IncomingMessage, { prefix }: Exchange): string {
  const { publicUrl, trustedProxies } = settings();
  if (publicUrl !== null) return publicUrl;
  const [scheme = isEncrypted(req) ? 'https' : 'http'] = forwarded(req, 'x-forwarded-proto', trustedProxies);
  const [host = req.headers.host ?? 'localhost'] = forwarded(req, 'x-forwarded-host', trustedProxies);
  const text = `${scheme}://${host}${prefix}`;
  if (/^https?$/.test(scheme) && URL.canParse(text) && !/[\s"'<>\\]/.test(host)) return text;
  throw new LookasideError(
    'REQUEST_INVALID',
    `it is not known by which URL clients reach this server; give the parameter lookaside, or set LOOKASIDE_PUBLIC_URL`,
  );
}
