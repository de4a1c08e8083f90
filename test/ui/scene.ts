// The web pages over services that a test hands in, on a real port.

import { BlockList } from 'node:net';
import type { Grant } from '../../src/domain/grant.ts';
import { imageName } from '../../src/domain/image.ts';
import type { RegisteredKey } from '../../src/domain/key.ts';
import type { Role } from '../../src/domain/ports.ts';
import type { StoredSignature } from '../../src/domain/stored-signature.ts';
import { createIntake } from '../../src/http/intake.ts';
import type { HttpSettings, Services } from '../../src/http/services.ts';
import { NO_LOG_INS } from '../../src/service/log-ins.ts';
import { createRepositoryList } from '../../src/service/repositories.ts';
import type { SignerService } from '../../src/service/signers.ts';
import type { PageServices } from '../../src/ui/services.ts';
import { createPages } from '../../src/ui/site.ts';
import { type Served, serveOver } from '../http/served.ts';
import { createClock, type HandClock } from '../service/hand-driven.ts';
import { type SessionsInMemory, sessionsInMemory } from '../service/session-memory.ts';

export const FINGERPRINT = '00112233445566778899AABBCCDDEEFF01234567';
export const HEX = 'ab'.repeat(32);
export const IMAGE = `team/app@sha256:${HEX}`;

export const SETTINGS: HttpSettings = {
  prefix: '',
  publicUrl: null,
  read: 'anonymous',
  listing: true,
  ui: true,
  accessLog: 'off',
  trustedProxies: new BlockList(),
  maxSignatureBytes: 1024,
};

export function signature(facts: Partial<StoredSignature> = {}): StoredSignature {
  return {
    site: 'default',
    image: IMAGE,
    path: `/team/app@sha256=${HEX}/signature-1`,
    number: 1,
    state: 'verified',
    reason: null,
    form: 'binary',
    fingerprint: FINGERPRINT,
    signingFingerprint: FINGERPRINT,
    issuer: null,
    manifestDigest: `sha256:${HEX}`,
    dockerReference: 'registry.example/team/app:v1',
    creator: 'podman',
    signedAt: new Date('2026-11-01T10:00:00Z'),
    expiresAt: null,
    storedAt: new Date('2026-11-01T10:00:05Z'),
    sizeBytes: 573,
    signatureSha256: 'cd'.repeat(32),
    uploader: 'the-uploader-nobody-may-see',
    auditSeq: 7,
    remap: null,
    warnings: [],
    readers: [],
    ...facts,
  };
}

/** A signature of which nothing is proven. */
export const UNKNOWN = {
  state: 'unknown-key',
  fingerprint: null,
  signingFingerprint: null,
  manifestDigest: null,
  dockerReference: null,
  creator: null,
  signedAt: null,
  issuer: '0123456789ABCDEF',
} as const satisfies Partial<StoredSignature>;

export function key(facts: Partial<RegisteredKey> = {}): RegisteredKey {
  return {
    fingerprint: FINGERPRINT,
    algorithm: 'ed25519',
    createdAt: new Date('2026-01-01T00:00:00Z'),
    expiresAt: null,
    revokedAt: null,
    canSign: true,
    userIds: ['Release <release@example.com>'],
    subkeys: [],
    addedAt: new Date('2026-01-02T00:00:00Z'),
    changedAt: new Date('2026-01-02T00:00:00Z'),
    retiredAt: null,
    certificate: new Uint8Array(),
    ...facts,
  };
}

export interface PagesServed extends AsyncDisposable {
  readonly url: string;
  readonly clock: HandClock;
  readonly sessions: SessionsInMemory;
  /** The `Cookie` header of a new session with that role. */
  logIn(role: Role): Promise<{ readonly cookie: string }>;
  /** Sends a form with files; redirects are not followed. */
  send(
    path: string,
    files: readonly (readonly [name: string, text: string])[],
    headers?: Record<string, string>,
  ): Promise<{ status: number; headers: Headers; text: string }>;
  /** Sends a form as a page of this server does; redirects are not followed. */
  post(
    path: string,
    fields: Record<string, string>,
    headers?: Record<string, string>,
  ): Promise<{ status: number; headers: Headers; text: string }>;
  /** Status, headers and text of a page below /ui/; redirects are not followed. */
  get(
    path: string,
    headers?: Record<string, string>,
  ): Promise<{ status: number; headers: Headers; text: string }>;
}

interface Stored {
  readonly signatures?: readonly StoredSignature[];
  readonly keys?: readonly RegisteredKey[];
  readonly settings?: Partial<HttpSettings>;
  readonly folders?: readonly string[];
  readonly grants?: readonly Pick<Grant, 'signer' | 'repositories' | 'fingerprints'>[];
  /** What the routes ask beside pages. */
  readonly http?: Partial<Services>;
  /** What else pages ask. */
  readonly services?: Partial<PageServices>;
}

export async function servePages({
  signatures = [],
  keys = [],
  settings = {},
  folders = [],
  grants = [],
  services = {},
  http = {},
}: Stored = {}): Promise<PagesServed> {
  const inForce = { ...SETTINGS, ...settings };
  const clock = createClock();
  const sessions = sessionsInMemory(clock);
  const pageServices: Partial<PageServices> = {
    places: () => [{ name: 'default', prefix: '' }],
    repositories: createRepositoryList({
      index: {
        isComplete: async () => true,
        repositoryPaths: async (_, { from, before, limit }) =>
          [...folders]
            .sort()
            .filter((path) => path >= from && path < before)
            .slice(0, limit),
        repositories: async (_, paths) =>
          paths.map((path) => ({ path, images: 12, newestAt: new Date('2026-11-01T10:00:05Z') })),
      },
      breathe: async () => undefined,
    }),
    signatures: {
      ofImage: async (image) => signatures.filter((one) => one.image === imageName(image)),
      search: async () => ({ signatures, next: null, cursor: null }),
      missing: async () => [],
    },
    withdrawals: { ofImage: async () => [] },
    signers: { listGrants: async () => grants as readonly Grant[] } as unknown as SignerService,
    judge: { prefer: async () => undefined },
    keys: {
      list: async () => keys,
      find: async (name) =>
        keys.find(({ fingerprint }) => fingerprint === name) ?? Promise.reject(new Error('no such key')),
      armor: () => 'ARMOUR',
      warnings: () => [],
      uses: () => [],
      add: async () => [],
      remove: () => Promise.reject(new Error('unasked')),
      setRetired: () => Promise.reject(new Error('unasked')),
      revoke: () => Promise.reject(new Error('unasked')),
      refresh: () => Promise.reject(new Error('unasked')),
      whileUnchanged: () => Promise.reject(new Error('unasked')),
    },
    clock,
    about: { version: '1.2.3', startedAt: new Date(0) },
    settings: () => inForce,
    sessions: sessions.service,
    logIns: NO_LOG_INS,
    ...services,
  };
  // whatever else a page asks for fails it, and the test
  const pages = createPages(pageServices as PageServices);
  const served: Served = await serveOver({
    pages,
    clock,
    intake: createIntake(clock),
    sessions: sessions.service,
    settings: () => inForce,
    metrics: {
      request: () => undefined,
      read: () => undefined,
      upload: () => undefined,
      uploadTook: () => undefined,
      add: () => undefined,
      render: async () => '',
    },
    ...http,
  } as Partial<Services>);
  const ask = async (path: string, request: RequestInit) => {
    const answer = await fetch(`${served.url}${inForce.prefix}/ui/${path}`, {
      ...request,
      redirect: 'manual',
    });
    return { status: answer.status, headers: answer.headers, text: await answer.text() };
  };
  const post: PagesServed['post'] = (path, fields, headers = {}) =>
    ask(path, {
      method: 'POST',
      body: new URLSearchParams(fields),
      headers: { origin: served.url, 'sec-fetch-site': 'same-origin', ...headers },
    });
  return {
    url: served.url,
    clock,
    sessions,
    get: (path, headers = {}) => ask(path, { headers }),
    post,
    send(path, files, headers = {}) {
      const body = files.map(
        ([name, text]) =>
          `--b\r\nContent-Disposition: form-data; name="signature"; filename="${name}"\r\n\r\n${text}\r\n`,
      );
      return ask(path, {
        method: 'POST',
        body: `${body.join('')}--b--\r\n`,
        headers: { origin: served.url, 'content-type': 'multipart/form-data; boundary=b', ...headers },
      });
    },
    async logIn(role) {
      const { headers } = await post('log-in', { token: sessions.textOf(role) });
      return { cookie: (headers.get('set-cookie') ?? '').split(';', 1)[0] ?? '' };
    },
    [Symbol.asyncDispose]: () => served[Symbol.asyncDispose](),
  };
}
