// Laying files into trees: bytes with the framing of a signature, under the names that the tree's layout gives them.
import { createHash } from 'node:crypto';
import { linkSync } from 'node:fs';
import { mkdir, utimes, writeFile } from 'node:fs/promises';
import path from 'node:path';

/** Not a real signature, but framed as one: a whole signature packet filled with the text. */
export function signatureBytes(text: string, sizeBytes = 300): Buffer {
  const length = sizeBytes - 3;
  return Buffer.concat([Buffer.from([0x89, length >> 8, length & 0xff]), Buffer.alloc(length, text)]);
}

export function sha256Hex(bytes: Uint8Array): string {
  return createHash('sha256').update(bytes).digest('hex');
}

/** The folder of the image in that repository whose manifest is this text. */
export function folderOf(repository: string, manifest = repository): string {
  return `${repository}@sha256=${sha256Hex(Buffer.from(manifest))}`;
}

/** Long enough ago that nothing counts as being written. */
export const LONG_AGO = new Date('2026-01-02T03:04:05Z');

/** Writes the bytes at `name` below `root`, with a time long past. */
export async function layFile(root: string, name: string, bytes: Uint8Array | string): Promise<void> {
  const file = path.join(root, name);
  await mkdir(path.dirname(file), { recursive: true });
  await writeFile(file, bytes);
  await utimes(file, LONG_AGO, LONG_AGO);
}

/** Lays the signatures of one image, from number 1 on; the image's folder. */
export async function layImage(
  root: string,
  repository: string,
  ...signatures: readonly Uint8Array[]
): Promise<string> {
  const folder = folderOf(repository);
  for (const [position, bytes] of signatures.entries()) {
    await layFile(root, `${folder}/signature-${position + 1}`, bytes);
  }
  return folder;
}

/** Gives a signature's file (the first) further names in its folder: however many cost next to nothing. */
export function linkSignatures(root: string, folder: string, from: number, to: number, source = 1): void {
  const place = path.join(root, folder);
  for (let number = from; number <= to; number += 1) {
    linkSync(path.join(place, `signature-${source}`), path.join(place, `signature-${number}`));
  }
}
