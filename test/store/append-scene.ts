// What the tests of uploads share: a store on a folder of each test, and the moments at which an upload may be cut short.
import assert from 'node:assert/strict';
import { readdir } from 'node:fs/promises';
import path from 'node:path';
import { afterEach, beforeEach } from 'node:test';
import { openTempFolder, type TempFolder } from '../clients/temp-folder.ts';
import { isFull } from '../faults/promise.ts';
import { createGate } from '../gate.ts';
import { folderOf, sha256Hex, signatureBytes } from './lay.ts';
import {
  imageIn,
  type OpenedStore,
  openStore,
  type Ports,
  SITE,
  type StoreOptions,
  uploadOf,
} from './open-store.ts';
import { createUploads, type KeptUploads } from './uploads.ts';

export const ONE = signatureBytes('one');
export const TWO = signatureBytes('two');
export const THREE = signatureBytes('three');
export const FOLDER = folderOf('team/app');
export const IMAGE = imageIn(FOLDER);

export let temp: TempFolder;
export let uploads: KeptUploads;
export let opened: OpenedStore;

beforeEach(async () => {
  temp = await openTempFolder();
  uploads = createUploads();
});

afterEach(async () => {
  await opened?.[Symbol.asyncDispose]();
  await temp[Symbol.asyncDispose]();
});

/** A store on the test's folder, over what an earlier one left there. */
export async function open(
  kind: 'owned' | 'shared',
  options: Partial<StoreOptions> = {},
): Promise<OpenedStore> {
  opened = await openStore({ kind, folder: temp.path, uploads, ...options });
  return opened;
}

export async function reopen(kind: 'owned' | 'shared', options: Partial<StoreOptions> = {}): Promise<void> {
  await opened[Symbol.asyncDispose]();
  await open(kind, options);
  await opened.appender.recover();
}

export const append = (bytes: Uint8Array, more = {}) => opened.appender.append(uploadOf(IMAGE, bytes, more));
export const file = (number: number) => path.join(opened.root, FOLDER, `signature-${number}`);
export const prepared = () => readdir(path.join(opened.root, '.lookaside/tmp')).catch(() => []);

export async function served(): Promise<string[]> {
  return (await opened.reader.readSet(IMAGE)).entries.map(({ sha256 }) => sha256);
}

export async function assertServes(...signatures: readonly Uint8Array[]): Promise<void> {
  assert.deepEqual(await served(), signatures.map(sha256Hex));
}

export async function problemsFound(): Promise<readonly string[]> {
  const paths: string[] = [];
  for await (const { kind, path: file } of opened.scanner.findProblems(SITE)) paths.push(`${kind} ${file}`);
  return paths;
}

export const uploaded = async () => (await uploads.ofImage(IMAGE)).map(({ sha256 }) => sha256);
export const never = () => new Promise<never>(() => undefined);

export interface Moment {
  readonly what: string;
  /** Whether the bytes are there after the restart; null: either. */
  readonly isThere: boolean;
  /** The file has its place, and something of the account of it is missing. */
  readonly isHalfDone?: boolean;
  between(ports: Ports, stop: () => Promise<never>): Ports;
}

/** Between each two steps of an upload, in their order. */
export const MOMENTS: readonly Moment[] = [
  {
    what: 'before anything is written',
    isThere: false,
    between: (ports, stop) => ({ ...ports, writer: { ...ports.writer, prepare: stop, addNew: stop } }),
  },
  {
    what: 'after the intent',
    isThere: false,
    between: (ports, stop) => ({
      ...ports,
      writer: {
        ...ports.writer,
        place: stop,
        async addNew(_, ...intent) {
          await ports.writer.prepare(...intent);
          return stop();
        },
      },
    }),
  },
  {
    what: 'after the link',
    isThere: true,
    isHalfDone: true,
    between: (ports, stop) => ({
      ...ports,
      writer: {
        ...ports.writer,
        async place(...place) {
          await ports.writer.place(...place);
          return stop();
        },
        async addNew(...added) {
          await ports.writer.addNew(...added);
          return stop();
        },
      },
    }),
  },
  {
    what: 'after provenance and event',
    isThere: true,
    isHalfDone: true,
    between: (ports, stop) => ({
      ...ports,
      uploads: {
        ...ports.uploads,
        async add(...upload) {
          await ports.uploads.add(...upload);
          return stop();
        },
      },
    }),
  },
  {
    what: 'after the index',
    isThere: true,
    isHalfDone: true,
    between: (ports, stop) => ({ ...ports, writer: { ...ports.writer, discard: stop } }),
  },
  {
    what: 'after the cleaning up, before the answer',
    isThere: true,
    between: (ports, stop) => ({
      ...ports,
      writer: {
        ...ports.writer,
        async discard(pair) {
          await ports.writer.discard(pair);
          return stop();
        },
      },
    }),
  },
];

/**
 * How many are uploaded in peace: in `npm test` none or one in turns, so that an owned and a shared tree together have both. There a
 * shared tree has only the moments at which an upload is half done: each restart starts two threads.
 */
export function earlier(kind: 'owned' | 'shared', moment: number): readonly (readonly Uint8Array[])[] {
  if (isFull) return [[], [ONE]];
  if (kind === 'shared' && MOMENTS[moment]?.isHalfDone !== true) return [];
  return (moment % 2 === 0) === (kind === 'owned') ? [[]] : [[ONE]];
}

/** Opens the store, does what comes `first`, and uploads to it until then. */
export async function appendUntil(
  { between }: Moment,
  kind: 'owned' | 'shared',
  bytes: Uint8Array,
  first: () => Promise<void>,
) {
  const stopped = createGate();
  const stop = () => {
    stopped.open();
    return never();
  };
  let isLast = false;
  await open(kind, { between: (ports) => switched(ports, between(ports, stop), () => isLast) });
  await first();
  isLast = true;
  void append(bytes);
  await stopped.promise;
}

/** What a moment may stop, from when on it `isOn`. */
export function switched(ports: Ports, stopping: Ports, isOn: () => boolean): Ports {
  const now = () => (isOn() ? stopping : ports);
  return {
    ...ports,
    writer: {
      ...ports.writer,
      prepare: (...args) => now().writer.prepare(...args),
      place: (...args) => now().writer.place(...args),
      addNew: (...args) => now().writer.addNew(...args),
      discard: (pair) => now().writer.discard(pair),
    },
    uploads: { ...ports.uploads, add: (...upload) => now().uploads.add(...upload) },
  };
}
