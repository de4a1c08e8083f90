// A server and a staging folder in memory, for pushes. A signature is text: `<repository>:<tag> <digit> <rest>.`, whole
// once it ends in a full stop.
import { createHash } from 'node:crypto';
import { LookasideError } from '../../src/domain/errors.ts';
import { type ImageId, imageFolder, imageKey } from '../../src/domain/image.ts';
import { parseTarget } from '../../src/domain/lookaside-path.ts';
import type { BatchPart, BatchResult, Receipt } from '../../src/domain/receipt.ts';
import type { AskedBlob, SignatureServer } from '../../src/domain/remote.ts';
import type { Staged, StagedFile, StagedPlace, StagedProblem, Staging } from '../../src/domain/staged.ts';
import type { Claim } from '../../src/domain/verdict.ts';
import { createPusher, type Placing, type Pusher } from '../../src/service/push.ts';
import { createClock, type HandClock, imageOf } from './hand-driven.ts';

export function signed(name: string, digit = 'a', rest = ''): string {
  return `${name} ${digit} ${rest}.`;
}

export function untrustedClaim(bytes: Uint8Array): Claim | null {
  const [reference = '', digit = ''] = textOf(bytes).split(' ');
  if (!/^[0-9a-f]$/.test(digit)) return null;
  return {
    algorithm: 'sha256',
    hex: digit.repeat(64),
    dockerReference: `registry.example/${reference}`,
    creator: null,
  };
}

export const isWhole = (bytes: Uint8Array) => textOf(bytes).endsWith('.');

export function sha256(bytes: Uint8Array): string {
  return createHash('sha256').update(bytes).digest('hex');
}

function textOf(bytes: Uint8Array): string {
  return Buffer.from(bytes).toString();
}

export interface MemoryServer extends Pick<SignatureServer, 'missing' | 'uploadBatch'> {
  /** File names of each batch, in the order of asking. */
  readonly batches: (readonly (string | null)[])[];
  readonly forced: boolean[];
  /** Sent with batches. */
  readonly remaps: string[];
  /** How often it was asked what it lacks, without greetings. */
  readonly questions: (readonly AskedBlob[])[];
  /** The most batches at one time; images of which two were sent at one time. */
  readonly together: { most: number; readonly images: Set<string> };
  /** Texts by image, in order. */
  holds(image: ImageId): readonly string[];
  put(image: ImageId, text: string): void;
  /** Asked before each request is done: what it throws the request fails with. */
  onRequest: (kind: 'missing' | 'upload', parts: readonly BatchPart[]) => void | Promise<void>;
  /** A refusal for the text, or null. */
  refuse: (text: string) => { readonly code: LookasideError['code']; readonly message: string } | null;
}

export function createServer(): MemoryServer {
  const stored = new Map<string, string[]>();
  const underWay = new Map<string, number>();
  let batchesUnderWay = 0;

  const take = (part: number, { bytes, fileName }: BatchPart, force: boolean): BatchResult => {
    const text = textOf(bytes);
    const refusal = server.refuse(text);
    if (refusal !== null) return { part, result: 'refused', ...refusal };
    const image = imageOfPart({ bytes, fileName });
    const texts = stored.get(imageKey(image)) ?? [];
    stored.set(imageKey(image), texts);
    const same = texts.indexOf(text);
    if (same !== -1) return { part, result: 'exists', ...receipt(image, same + 1, false, false) };
    const [reference] = text.split(' ');
    const equivalent = texts.findIndex((other) => other.startsWith(`${reference} `));
    if (equivalent !== -1 && !force) {
      return { part, result: 'exists', ...receipt(image, equivalent + 1, false, true) };
    }
    texts.push(text);
    return { part, result: 'created', ...receipt(image, texts.length, true, false) };
  };

  const server: MemoryServer = {
    batches: [],
    forced: [],
    remaps: [],
    questions: [],
    together: { most: 0, images: new Set() },
    holds: (image) => stored.get(imageKey(image)) ?? [],
    put(image, text) {
      stored.set(imageKey(image), [...(stored.get(imageKey(image)) ?? []), text]);
    },
    onRequest: () => undefined,
    refuse: () => null,
    async missing(asked) {
      await server.onRequest('missing', []);
      if (asked.length > 0) server.questions.push(asked);
      const has = ({ image, sha256: hash }: AskedBlob) =>
        (stored.get(imageKey(image)) ?? []).some((text) => sha256(Buffer.from(text)) === hash);
      return asked.flatMap((blob, position) => (has(blob) ? [] : [position]));
    },
    async uploadBatch(parts, { force, signedFor = [] }) {
      const images = [...new Set(parts.map((part) => imageKey(imageOfPart(part))))];
      batchesUnderWay += 1;
      server.together.most = Math.max(server.together.most, batchesUnderWay);
      for (const image of images) {
        underWay.set(image, (underWay.get(image) ?? 0) + 1);
        if (underWay.get(image) === 2) server.together.images.add(image);
      }
      try {
        await server.onRequest('upload', parts);
        await new Promise((resolve) => setImmediate(resolve));
        server.batches.push(parts.map(({ fileName }) => fileName));
        server.forced.push(force);
        server.remaps.push(...signedFor);
        return parts.map((part, position) => take(position, part, force));
      } finally {
        batchesUnderWay -= 1;
        for (const image of images) underWay.set(image, (underWay.get(image) ?? 0) - 1);
      }
    },
  };
  return server;
}

function imageOfPart({ bytes, fileName }: BatchPart): ImageId {
  const target = fileName === null ? null : parseTarget('default', '', `/${fileName}`);
  if (target !== null && 'image' in target && target.image !== null) return target.image;
  const claim = untrustedClaim(bytes);
  return claim === null
    ? imageOf('unreadable')
    : imageOf(claim.dockerReference.replace(/^registry\.example\/|:.*$/g, ''), claim.hex.charAt(0));
}

function receipt(image: ImageId, number: number, created: boolean, isEquivalent: boolean): Receipt {
  return {
    path: `/${imageFolder(image)}/signature-${number}`,
    number,
    created,
    state: 'verified',
    fingerprint: 'A1'.repeat(20),
    signingFingerprint: 'A1'.repeat(20),
    manifestDigest: `${image.algorithm}:${image.hex}`,
    dockerReference: 'registry.example/x:v1',
    signedAt: new Date(0),
    signatureSha256: '0'.repeat(64),
    auditSeq: 1,
    warnings: isEquivalent ? [{ code: 'EQUIVALENT_EXISTS', message: 'the same already' }] : [],
  };
}

/** A file that stands in its image's folder. */
export function inTree(path: string, digit: string, number: number): StagedFile {
  const image = imageOf(path, digit);
  return {
    source: `st/${imageFolder(image)}/signature-${number}`,
    place: { kind: 'image', image, number },
  };
}

export function placed(source: string, place: StagedPlace): StagedFile {
  return { source, place };
}

export interface MemoryStaging extends Pick<Staging, 'findBelow' | 'read' | 'watch'> {
  readonly files: Map<
    string,
    { file: StagedFile; text: string | (() => string); modifiedAt: Date } | StagedProblem
  >;
  readonly reads: string[];
  readonly closed: string[];
  problems: readonly StagedProblem[];
  gaps: Staged['gaps'];
  /** What findBelow and watch fail with. */
  failure: LookasideError | null;
  put(file: StagedFile, text: string | (() => string), modifiedAt: Date): StagedFile;
  /** Tells the watcher. */
  change(folder: string): void;
  /** Tells the watcher why it has to look again and again. */
  doubt: (why: string) => void;
}

export function createStaging(): MemoryStaging {
  let tell: (folder: string) => void = () => undefined;
  const staging: MemoryStaging = {
    files: new Map(),
    reads: [],
    closed: [],
    problems: [],
    gaps: [],
    failure: null,
    put(file, text, modifiedAt) {
      staging.files.set(file.source, { file, text, modifiedAt });
      return file;
    },
    change: (folder) => tell(folder),
    doubt: () => undefined,
    async findBelow(root, folders) {
      if (staging.failure !== null) throw staging.failure;
      const isBelow = (source: string) =>
        folders.some((folder) => source.startsWith(folder === '' ? `${root}/` : `${root}/${folder}/`));
      const files = [...staging.files].flatMap(([source, entry]) =>
        isBelow(source) && 'file' in entry ? [entry.file] : [],
      );
      const { problems, gaps } = staging;
      return { files, problems, gaps, strangers: { count: 0, first: [] } };
    },
    async read({ source }) {
      staging.reads.push(source);
      const entry = staging.files.get(source);
      if (entry === undefined) return { source, kind: 'gone', message: 'it has gone' };
      if (!('file' in entry)) return entry;
      const text = typeof entry.text === 'string' ? entry.text : entry.text();
      return { bytes: Buffer.from(text), modifiedAt: entry.modifiedAt };
    },
    async watch(root, { onChange, onPolling }) {
      if (staging.failure !== null) throw staging.failure;
      tell = onChange;
      staging.doubt = onPolling;
      return {
        async [Symbol.asyncDispose]() {
          staging.closed.push(root);
        },
      };
    },
  };
  return staging;
}

export interface PushScene {
  readonly server: MemoryServer;
  readonly staging: MemoryStaging;
  readonly clock: HandClock;
  readonly pusher: Pusher;
  /** Waits that were asked for; the clock jumps over each. */
  readonly waits: number[];
}

export function openPushScene(placing?: Placing): PushScene {
  const server = createServer();
  const staging = createStaging();
  const clock = createClock();
  const waits: number[] = [];
  const pusher = createPusher({
    server,
    staging,
    sha256,
    untrustedClaim,
    isWhole,
    clock,
    random: () => 1,
    ...(placing === undefined ? {} : { placing }),
    async wait(ms) {
      waits.push(ms);
      clock.pass(ms);
    },
  });
  return { server, staging, clock, pusher, waits };
}

export function unreachable(): LookasideError {
  return new LookasideError('SERVER_UNREACHABLE', 'the server does not answer');
}
