// What must be true of uploads after a crash: each is whole, in its place with its provenance and audit event, or absent
// without a trace; those that were acknowledged are whole.
import assert from 'node:assert/strict';
import { readdir, readFile } from 'node:fs/promises';
import path from 'node:path';
import { connect } from '../../src/sqlite/connect.ts';
import type { Receipt, Uploads } from '../clients/uploads.ts';
import { sha256Hex } from '../store/lay.ts';

/** An upload that was sent. */
export interface Attempt {
  /** The image's folder. */
  readonly folder: string;
  readonly bytes: Buffer;
  /** Null as long as no answer has come that it was taken. */
  receipt: Receipt | null;
}

export const nameOf = ({ folder, bytes }: Attempt) => `${folder}: ${sha256Hex(bytes).slice(0, 8)}`;

/** After a start nothing of an upload that was cut short is left over. */
export async function assertNoDebris(data: string): Promise<void> {
  for (const folder of ['tmp', 'batch']) {
    const left = await readdir(path.join(data, 'sigstore/.lookaside', folder)).catch(() => []);
    assert.deepEqual(left, [], `temporary files are left in ${folder}`);
  }
}

/** Acknowledged uploads that are not there, and those of which other bytes are: names of both. */
export interface Losses {
  readonly lost: readonly string[];
  readonly torn: readonly string[];
}

/** Each acknowledged upload is looked for where its receipt says, by GET and in the tree. */
export async function countLosses(
  data: string,
  uploads: Uploads,
  attempts: readonly Attempt[],
): Promise<Losses> {
  const lost: string[] = [];
  const torn: string[] = [];
  for (const attempt of attempts) {
    if (attempt.receipt === null) continue;
    const place = `${attempt.folder}/signature-${attempt.receipt.number}`;
    const { status, body } = await uploads.get(place);
    const file = await readFile(path.join(data, 'sigstore', place)).catch((error: NodeJS.ErrnoException) => {
      if (error.code === 'ENOENT') return null;
      throw error;
    });
    if (status === 404 || file === null) lost.push(nameOf(attempt));
    else if (status !== 200 || !body.equals(attempt.bytes) || !file.equals(attempt.bytes))
      torn.push(nameOf(attempt));
  }
  return { lost, torn };
}

/** Audit events are numbered from 1 on without a gap. */
export function assertAuditIsDense(data: string): void {
  const db = connect(path.join(data, 'state.db'), { readonly: true });
  try {
    const numbers = db.prepare<[], number>('SELECT seq FROM audit_event ORDER BY seq').pluck().all();
    const gap = numbers.findIndex((number, position) => number !== position + 1);
    assert.equal(gap, -1, `the audit log has ${numbers[gap]} in the place of ${gap + 1}`);
  } finally {
    db.close();
  }
}

export async function assertWholeOrAbsent(
  data: string,
  uploads: Uploads,
  attempts: readonly Attempt[],
): Promise<void> {
  const tree = path.join(data, 'sigstore');
  const numbers = new Map<Attempt, number>();
  for (const folder of new Set(attempts.map((attempt) => attempt.folder))) {
    const ofImage = attempts.filter((attempt) => attempt.folder === folder);
    for (const [position, bytes] of (await denseSignatures(tree, folder)).entries()) {
      const candidate = ofImage.find((attempt) => attempt.bytes.equals(bytes) && !numbers.has(attempt));
      assert.ok(candidate !== undefined, `${folder}/signature-${position + 1} is torn or stored twice`);
      numbers.set(candidate, position + 1);
      const answer = await uploads.get(`${folder}/signature-${position + 1}`);
      assert.equal(answer.status, 200, `${folder}/signature-${position + 1}`);
      assert.ok(answer.body.equals(bytes));
    }
    const count = ofImage.filter((attempt) => numbers.has(attempt)).length;
    assert.equal((await uploads.get(`${folder}/signature-${count + 1}`)).status, 404, folder);
  }
  assertRecords(data, attempts, numbers);
}

/** The number of its file; null when there is none. */
export async function numberOf(data: string, { folder, bytes }: Attempt): Promise<number | null> {
  const signatures = await denseSignatures(path.join(data, 'sigstore'), folder);
  const position = signatures.findIndex((stored) => stored.equals(bytes));
  return position === -1 ? null : position + 1;
}

async function denseSignatures(tree: string, folder: string): Promise<readonly Buffer[]> {
  const names = await readdir(path.join(tree, folder)).catch((error: NodeJS.ErrnoException) => {
    if (error.code === 'ENOENT') return [];
    throw error;
  });
  const expected = names.map((_, position) => `signature-${position + 1}`);
  assert.deepEqual([...names].sort(), [...expected].sort(), `${folder} has a gap or a stranger`);
  return Promise.all(expected.map((name) => readFile(path.join(tree, folder, name))));
}

interface Records {
  /** Numbers of the audit events that tell of a stored signature, by image and SHA-256. */
  readonly events: ReadonlyMap<string, readonly number[]>;
  /** The sequence number in the provenance of each upload. */
  readonly uploads: ReadonlyMap<string, number>;
}

function readRecords(data: string): Records {
  const db = connect(path.join(data, 'state.db'), { readonly: true });
  try {
    assert.deepEqual(db.pragma('integrity_check', { simple: true }), 'ok');
    const events = new Map<string, number[]>();
    const leaves = db.prepare<[], { seq: number; leaf: string }>('SELECT seq, leaf FROM audit_event').all();
    for (const { seq, leaf } of leaves) {
      const { action, result, image, signatureSha256 } = JSON.parse(leaf);
      if (action !== 'upload' || result !== 'created') continue;
      const key = `${image} ${signatureSha256}`;
      events.set(key, [...(events.get(key) ?? []), seq]);
    }
    const rows = db
      .prepare<[], { seq: number; image: string; sha256: string }>(
        'SELECT audit_seq AS seq, image, lower(hex(sha256)) AS sha256 FROM upload',
      )
      .all();
    return { events, uploads: new Map(rows.map(({ seq, image, sha256 }) => [`${image} ${sha256}`, seq])) };
  } finally {
    db.close();
  }
}

function assertRecords(
  data: string,
  attempts: readonly Attempt[],
  numbers: ReadonlyMap<Attempt, number>,
): void {
  const { events, uploads } = readRecords(data);
  for (const attempt of attempts) {
    const key = `${attempt.folder} ${sha256Hex(attempt.bytes)}`;
    const number = numbers.get(attempt);
    const seq = uploads.get(key);
    if (attempt.receipt !== null) {
      assert.equal(number, attempt.receipt.number, `${nameOf(attempt)} was acknowledged`);
      assert.equal(seq, attempt.receipt.auditSeq, `${nameOf(attempt)} has its provenance`);
    }
    assert.equal(seq === undefined, number === undefined, `${nameOf(attempt)}: provenance without its file`);
    assert.deepEqual(events.get(key) ?? [], seq === undefined ? [] : [seq], `${nameOf(attempt)}: its event`);
  }
}
