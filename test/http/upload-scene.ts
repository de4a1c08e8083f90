// The HTTP side alone, on a real port: uploads go to memory, tokens are fixed, the clock is driven by hand.
import { BlockList } from 'node:net';
import { imageFolder } from '../../src/domain/image.ts';
import { ROLES, type Role, type SignatureSet, type Token } from '../../src/domain/ports.ts';
import { createHandler } from '../../src/http/app.ts';
import { listen } from '../../src/http/listener.ts';
import { createMetrics } from '../../src/http/metrics.ts';
import type { HttpSettings, Services } from '../../src/http/services.ts';
import { createReader } from '../../src/service/read.ts';
import { createClock, createLog, type HandClock } from '../service/hand-driven.ts';
import { sha256Hex } from '../store/lay.ts';
import { createMemoryUploader, type MemoryUploader } from './memory-uploader.ts';

export interface UploadScene extends AsyncDisposable {
  readonly port: number;
  readonly uploader: MemoryUploader;
  readonly clock: HandClock;
  readonly log: ReturnType<typeof createLog>;
  readonly metrics: Services['metrics'];
  readonly accessLines: readonly string[];
}

export interface UploadSceneOptions {
  readonly settings?: Partial<HttpSettings>;
  /** As the Unix socket: whoever asks is the administrator. */
  readonly isLocal?: boolean;
}

/** The text of the token that has this role; its name is the role. */
export function tokenOf(role: Role): string {
  return `token-of-the-${role}`;
}

/** The header line that sends it. */
export function bearer(role: Role): string {
  return `Authorization: Bearer ${tokenOf(role)}`;
}

const SITE = 'default';

export async function openUploadScene({
  settings = {},
  isLocal = false,
}: UploadSceneOptions = {}): Promise<UploadScene> {
  const uploader = createMemoryUploader(SITE);
  const clock = createClock();
  const log = createLog();
  const accessLines: string[] = [];
  const metrics = createMetrics({
    version: '1.2.3',
    cache: () => ({ bytes: 0, sets: 0, hits: 0, misses: 0 }),
    accessBuffer: () => ({ rows: 0, dropped: 0 }),
    problems: () => new Map(),
    damaged: () => 0,
    counts: () => null,
  });
  const inForce: HttpSettings = {
    prefix: '',
    read: 'anonymous',
    listing: true,
    accessLog: 'off',
    trustedProxies: new BlockList(),
    maxSignatureBytes: 128 * 1024,
    ...settings,
  };
  const services: Services = {
    site: SITE,
    reader: createReader({ store: storeOver(uploader), clock, cacheBytes: 0 }),
    browser: { folderPage: unreached, imagePage: unreached },
    recorder: {
      record: () => undefined,
      flush: unreached,
      setFull: () => undefined,
      buffer: { rows: 0, dropped: 0 },
    },
    tokens: {
      create: unreached,
      revoke: unreached,
      list: () => ROLES.map(tokenFor),
      find: (text) => ROLES.filter((role) => tokenOf(role) === text).map(tokenFor)[0] ?? null,
    },
    upkeep: {
      start: () => undefined,
      stop: unreached,
      rebuild: () => undefined,
      reindex: unreached,
      fsck: unreached,
      status: { isScanning: false, lastScanAt: null, lastError: null },
    },
    uploader,
    keys: { add: unreached, list: unwanted, find: unwanted, armor: unwanted },
    judge: { prefer: unwanted },
    signatures: { ofImage: unreached, search: unreached, missing: unreached },
    health: unreached,
    metrics,
    log,
    clock,
    about: { version: '1.2.3', pid: 1, startedAt: clock.now(), data: '/data', root: '/data/sigstore' },
    settings: () => inForce,
    isDraining: () => false,
    writeAccessLine: (line) => void accessLines.push(line),
  };
  const listener = await listen({
    handler: createHandler({ services, isLocal }),
    host: '127.0.0.1',
    port: 0,
    tls: null,
  });
  return {
    port: listener.port,
    uploader,
    clock,
    log,
    metrics,
    accessLines,
    async [Symbol.asyncDispose]() {
      listener.abort();
      await listener.drain();
    },
  };
}

function tokenFor(role: Role): Token {
  return { name: role, role, createdAt: new Date(0), revokedAt: null };
}

function storeOver({ stored }: MemoryUploader): Parameters<typeof createReader>[0]['store'] {
  return {
    async readSet(image): Promise<SignatureSet> {
      const entries = (stored.get(imageFolder(image)) ?? []).map((bytes) => ({
        sha256: sha256Hex(bytes),
        sizeBytes: bytes.length,
        storedAt: new Date(0),
        bytes,
      }));
      return { generation: entries.length, entries };
    },
    readBlob: unreached,
    listFolder: unreached,
  };
}

function unreached(): Promise<never> {
  return Promise.reject(new Error('the scene has no such thing'));
}

function unwanted(): never {
  throw new Error('the scene has no such thing');
}
