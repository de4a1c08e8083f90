// Several files come into an image's folder so that readers and a crash find all of them in line, or none.
import { randomUUID } from 'node:crypto';
import { promises as fs } from 'node:fs';
import { calls } from './calls.ts';
import type { DurableFolders } from './durable-folders.ts';
import { linkAs, signatureIn, unlinkOurs } from './linking.ts';
import { type Entry, entryIn } from './opened.ts';
import { attempt, codeOf } from './refusal.ts';
import { unavailable } from './root.ts';
import { demandInPlace, type WayFolder } from './way.ts';

export interface RowPlace {
  readonly root: string;
  /** Where files are made out of sight. */
  readonly tmp: WayFolder;
  readonly last: WayFolder;
  readonly durable: DurableFolders;
  /** Moves a file or folder out of the way. */
  readonly displace: (folder: WayFolder, entry: Entry) => Promise<void>;
}

/** As TreeWriter.placeRow(). */
export async function placeRow(
  { root, tmp, last, durable, displace }: RowPlace,
  from: number,
  row: readonly Uint8Array[],
): Promise<boolean> {
  const made = row.map((bytes) => ({ name: randomUUID(), bytes }));
  const descriptor = await durable.openForSync(last);
  try {
    await Promise.all(made.map(({ name, bytes }) => durable.writeNew(tmp, name, bytes, 0o644)));
    if ((await lstatOrNull(signatureIn(last, from))) !== null) return false;
    // what a crash has left behind the gap must not come into line with another row
    const behind = signatureIn(last, from + row.length);
    if ((await lstatOrNull(behind)) !== null) await displace(last, behind);
    for (const [position, { name }] of [...made.entries()].reverse()) {
      if (position === 0) await durable.sync(descriptor, last.name); // those behind survive before the first shows them
      const target = signatureIn(last, from + position);
      demandInPlace(last);
      if (await linkAs(root, entryIn(tmp, name), last, target)) continue;
      if (position === 0) {
        // another program was quicker: what stands behind it now must not be taken for its own
        for (const [behind, { name: ours }] of made.entries())
          await unlinkOurs(entryIn(tmp, ours), signatureIn(last, from + behind));
        return false;
      }
      await attempt(() => fs.rename(entryIn(tmp, name).path, target.path), target.name);
    }
    await durable.sync(descriptor, last.name);
    return true;
  } finally {
    await calls.close(descriptor);
    for (const { name } of made) await fs.unlink(entryIn(tmp, name).path).catch(() => undefined);
  }
}

export async function lstatOrNull({ path, name }: Entry) {
  try {
    return await fs.lstat(path);
  } catch (error) {
    if (codeOf(error) === 'ENOENT') return null;
    throw unavailable(name, error);
  }
}
