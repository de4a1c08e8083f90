// The HTTP side alone, on a real port: uploads go to memory, tokens are fixed, the clock is driven by hand.
import { imageFolder } from '../../src/domain/image.ts';
import { ROLES, type Role, type SignatureSet, type Token } from '../../src/domain/ports.ts';
import { createMetrics } from '../../src/http/metrics.ts';
import type { HttpSettings, Services } from '../../src/http/services.ts';
import { createReader } from '../../src/service/read.ts';
import { createClock, createLog, type HandClock } from '../service/hand-driven.ts';
import { sha256Hex } from '../store/lay.ts';
import { createMemoryUploader, type MemoryUploader } from './memory-uploader.ts';
import { IDLE_RECORDER, knownToken, SETTINGS, serveOver } from './served.ts';

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
    expiringKeys: async () => [],
    mirrors: async () => [],
    sites: [{ name: 'default', problems: () => new Map(), damaged: () => 0, counts: async () => null }],
  });
  const inForce: HttpSettings = { ...SETTINGS, maxSignatureBytes: 128 * 1024, ...settings };
  const served = await serveOver(
    {
      reader: createReader({ store: storeOver(uploader), clock, cacheBytes: 0 }),
      recorder: IDLE_RECORDER,
      tokens: {
        create: unreached,
        revoke: unreached,
        used: () => undefined,
        writeUses: unreached,
        list: async () => ROLES.map((role) => ({ ...tokenFor(role), state: 'valid' as const })),
        peek: (text) => knownToken(tokenWith(text)),
        find: async (text) => knownToken(tokenWith(text)),
      },
      uploader,
      metrics,
      log,
      clock,
      settings: () => inForce,
      writeAccessLine: (line) => void accessLines.push(line),
    },
    isLocal,
  );
  return {
    port: served.port,
    uploader,
    clock,
    log,
    metrics,
    accessLines,
    [Symbol.asyncDispose]: () => served[Symbol.asyncDispose](),
  };
}

function tokenWith(text: string): Token | null {
  return ROLES.filter((role) => tokenOf(role) === text).map(tokenFor)[0] ?? null;
}

function tokenFor(role: Role): Token {
  return {
    name: role,
    role,
    createdAt: new Date(0),
    expiresAt: null,
    revokedAt: null,
    signer: null,
    disabledAt: null,
    lastUsedAt: null,
  };
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
