// One image's files, index rows, tombstones, uploads and events in memory, behind the ports of the store. Each call of a port is one
// step: it happens when `step` lets it, as a whole or not at all. What is here outlives the process that wrote it.
import type { NewAuditEvent } from '../../src/domain/audit.ts';
import { LookasideError } from '../../src/domain/errors.ts';
import type {
  AuditLog,
  NewTombstone,
  RecordedSignature,
  SignatureIndex,
  TombstoneStore,
  Upload,
  UploadStore,
} from '../../src/domain/ports.ts';
import type { Tombstone } from '../../src/domain/tombstone.ts';
import type { ImageFolder, SignatureFile, Tree, TreeWriter } from '../../src/domain/tree.ts';
import { sha256Hex } from './lay.ts';

/** Everything is known by its SHA-256; the bytes stay where `bytesOf` finds them. */
export interface Disk {
  readonly files: Map<number, string>;
  readonly prepared: Map<string, { readonly intent: string; readonly sha256: string }>;
  /** What the index holds of the image. */
  rows: readonly RecordedSignature[];
  readonly tombstones: (Tombstone & { readonly isSettled: boolean; readonly hasBytes: boolean })[];
  readonly uploads: Upload[];
  readonly events: NewAuditEvent[];
}

export interface ModelPorts {
  readonly tree: Tree;
  readonly writer: TreeWriter;
  readonly index: SignatureIndex;
  readonly tombstones: TombstoneStore;
  readonly uploads: UploadStore;
  readonly audit: AuditLog;
}

/** Lets the step happen in its turn. */
export type Step = <T>(name: string, isWrite: boolean, act: () => T) => Promise<T>;

export function emptyDisk(): Disk {
  return { files: new Map(), prepared: new Map(), rows: [], tombstones: [], uploads: [], events: [] };
}

const AT = new Date('2026-11-01T00:00:00Z');

const unused = (): never => {
  throw new Error('the model has no such step');
};

/** `bytesOf`: what has that SHA-256. `onIndexWritten` as openDatabases() takes it. */
export function openPorts(
  disk: Disk,
  step: Step,
  bytesOf: (sha256: string) => Uint8Array,
  onIndexWritten: () => void,
): ModelPorts {
  let writes = 0;
  const fileOf = (number: number, sha256: string): SignatureFile => {
    const bytes = bytesOf(sha256);
    return { number, sizeBytes: bytes.length, modifiedAt: AT, sha256, bytes, fault: null };
  };

  function readImage(numbers: readonly number[]): ImageFolder | null {
    if (disk.files.size === 0 && disk.rows.length === 0 && disk.events.length === 0) return null;
    const inLine: number[] = [];
    while (disk.files.has(inLine.length + 1)) inLine.push(inLine.length + 1);
    const read = [...new Set([...inLine, ...numbers.filter((one) => disk.files.has(one))])];
    return {
      files: read.map((number) => fileOf(number, disk.files.get(number) ?? '')),
      hidden: [...disk.files.keys()].filter((number) => !read.includes(number)).sort((a, b) => a - b),
      beyond: null,
      strangers: [],
      stamps: { folder: '', files: [], settled: false },
    };
  }

  function addEvent(event: NewAuditEvent): number {
    disk.events.push(event);
    return disk.events.length;
  }

  function put(tombstone: NewTombstone, auditSeq: number): void {
    const { bytes, ...rest } = tombstone;
    const at = disk.tombstones.findIndex(({ sha256 }) => sha256 === tombstone.sha256);
    const before = disk.tombstones[at]?.fillers ?? [];
    const fillers = [...new Set([...before, ...rest.fillers])].sort((a, b) => a - b);
    const row = {
      ...rest,
      ...{ fillers, auditSeq, isInForce: true, isSettled: false, hasBytes: bytes !== null },
    };
    if (at === -1) disk.tombstones.push(row);
    else disk.tombstones[at] = row;
  }

  const change = (
    wanted: (one: Disk['tombstones'][number]) => boolean,
    to: Partial<Disk['tombstones'][number]>,
  ) => {
    for (const [at, one] of disk.tombstones.entries())
      if (wanted(one)) disk.tombstones[at] = { ...one, ...to };
  };

  return {
    tree: {
      root: '/model',
      readImage: (_, numbers = []) => step('tree.readImage', false, () => readImage(numbers)),
      readFile: (_, number) =>
        step('tree.readFile', false, () => {
          const sha256 = disk.files.get(number);
          return sha256 === undefined ? null : bytesOf(sha256);
        }),
      isUnchanged: async () => false,
      peekUnchanged: () => false,
      peekAbsent: () => false,
      statFolder: unused,
      children: unused,
      isWritable: async () => true,
      check: async () => undefined,
    },
    writer: {
      fault: null,
      freeBytes: async () => Number.MAX_SAFE_INTEGER,
      prepare: (intent, bytes) =>
        step('writer.prepare', true, () => {
          const name = `${disk.events.length}-${disk.prepared.size}-${sha256Hex(bytes).slice(0, 8)}`;
          disk.prepared.set(name, { intent, sha256: sha256Hex(bytes) });
          return name;
        }),
      place: (prepared, _, from) =>
        step('writer.place', true, () => {
          let number = from;
          while (disk.files.has(number)) number += 1;
          disk.files.set(number, disk.prepared.get(prepared)?.sha256 ?? unused());
          return number;
        }),
      // what a crash may leave of it: the intent alone, then the file too
      addNew: async (_, intent, bytes) => {
        const sha256 = sha256Hex(bytes);
        const prepared = await step('writer.addNew: intent', true, () => {
          if (readImage([]) !== null) return null;
          const name = `${disk.events.length}-${disk.prepared.size}-${sha256.slice(0, 8)}`;
          disk.prepared.set(name, { intent, sha256 });
          return name;
        });
        if (prepared === null) return null;
        return step('writer.addNew: file', true, () => {
          disk.files.set(1, sha256);
          return prepared;
        });
      },
      makeDurable: (folder, number) =>
        step('writer.makeDurable', false, () => {
          if (disk.files.has(number)) return;
          throw new LookasideError('STORE_UNAVAILABLE', `${folder}/signature-${number} is no file`);
        }),
      restore: (_, number, bytes) =>
        step('writer.restore', true, () => void disk.files.set(number, sha256Hex(bytes))),
      fill: (folder, number, from) =>
        step('writer.fill', true, () => {
          const sha256 = disk.files.get(from);
          if (sha256 === undefined)
            throw new LookasideError('STORE_UNAVAILABLE', `${folder}/signature-${from} is no file`);
          disk.files.set(number, sha256);
        }),
      remove: (_, number) => step('writer.remove', true, () => void disk.files.delete(number)),
      discard: (prepared) => step('writer.discard', true, () => void disk.prepared.delete(prepared)),
      leftOver: () =>
        step('writer.leftOver', false, () =>
          [...disk.prepared].map(([prepared, { intent }]) => ({ prepared, intent })),
        ),
      placeRow: unused,
      placeNew: unused,
      takeAway: unused,
    },
    index: {
      recorded: () => step('index.recorded', false, () => disk.rows),
      isComplete: () => step('index.isComplete', false, () => true),
      record: (images) =>
        step('index.record', true, () => {
          disk.rows = images[0]?.signatures.map(({ judgement: _, ...row }) => row) ?? unused();
          writes += 1;
          onIndexWritten();
        }),
      peekWrites: () => writes,
      ...{ listFolder: unused, hasChild: unused, images: unused, counts: unused, treeOf: unused },
      ...{ forgetFolder: unused, markComplete: unused, bind: unused, reset: unused },
    },
    tombstones: {
      ofImage: () => step('tombstones.ofImage', false, () => [...disk.tombstones]),
      unsettled: () =>
        step('tombstones.unsettled', false, () => disk.tombstones.filter(({ isSettled }) => !isSettled)),
      ended: (now) =>
        step('tombstones.ended', false, () =>
          disk.tombstones.filter(({ isInForce, until }) => isInForce && until !== null && until <= now),
        ),
      bytesOf: (_, sha256) =>
        step('tombstones.bytesOf', false, () => {
          const tombstone = disk.tombstones.find((one) => one.sha256 === sha256);
          return tombstone?.hasBytes === true ? bytesOf(sha256) : null;
        }),
      put: (tombstone, event) =>
        step('tombstones.put', true, () => {
          const auditSeq = addEvent(event);
          put(tombstone, auditSeq);
          return { auditSeq };
        }),
      putAll: (tombstones, auditSeq) =>
        step('tombstones.putAll', true, () => {
          for (const one of tombstones) put(one, auditSeq);
        }),
      settle: (_, sha256s, isEmpty) =>
        step('tombstones.settle', true, () => {
          change(({ sha256 }) => sha256s.includes(sha256), { isSettled: true });
          if (isEmpty) change(() => true, { fillers: [] });
        }),
      lift: (_, sha256, event) =>
        step('tombstones.lift', true, () => {
          const hasEnded = (one: Disk['tombstones'][number]) =>
            one.sha256 === sha256 && one.isInForce && one.until !== null && one.until <= event.at;
          const isLifted = disk.tombstones.some(hasEnded);
          change(hasEnded, { isInForce: false, hasBytes: false });
          if (isLifted) addEvent(event);
          return isLifted;
        }),
      ...{ hasAny: unused, page: unused },
    },
    uploads: {
      ofImage: () => step('uploads.ofImage', false, () => [...disk.uploads]),
      add: (upload, event) =>
        step('uploads.add', true, () => {
          const before = disk.uploads.find(({ sha256 }) => sha256 === upload.sha256);
          if (before !== undefined) return { auditSeq: before.auditSeq };
          const { sha256, uploader, storedAt, remap } = upload;
          const auditSeq = addEvent(event);
          disk.uploads.push({ sha256, uploader, storedAt, remap, auditSeq });
          return { auditSeq };
        }),
      bytesOf: unused,
      images: unused,
    },
    audit: { append: (event) => step('audit.append', true, () => addEvent(event)) },
  };
}

/** As it stands now, for what comes after a crash. */
export function copyDisk(disk: Disk): Disk {
  return {
    files: new Map(disk.files),
    prepared: new Map(disk.prepared),
    rows: disk.rows,
    tombstones: [...disk.tombstones],
    uploads: [...disk.uploads],
    events: [...disk.events],
  };
}

/** The same for the same state, whatever the times in it. */
export function textOfDisk(disk: Disk): string {
  return JSON.stringify([
    [...disk.files].sort(([a], [b]) => a - b),
    [...disk.prepared.values()].map(({ sha256 }) => sha256).sort(),
    disk.rows.map(({ number, sha256, isFiller }) => [number, sha256, isFiller === true]),
    disk.tombstones.map((one) => [
      ...[one.sha256, one.number, one.fillers, one.isInForce, one.isSettled, one.hasBytes],
    ]),
    disk.uploads.map(({ sha256 }) => sha256),
    disk.events.map(({ action, signatureSha256 }) => [action, signatureSha256]),
  ]);
}
