// Proofs as files: each is named as the signature whose upload it proves.
import { mkdir, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { setTimeout as wait } from 'node:timers/promises';
import { LookasideError, systemCode } from '../domain/errors.ts';
import { DEFAULT_SITE, type ImageId, imageFolder } from '../domain/image.ts';
import type { LogReaderStore } from '../domain/log.ts';
import { parseTarget } from '../domain/lookaside-path.ts';
import type { Receipt } from '../domain/receipt.ts';
import { quoted } from '../domain/text.ts';
import { proveEvent } from '../service/log-proofs.ts';

export function placeOf(what: string): { readonly image: ImageId; readonly number: number } {
  const target = parseTarget(DEFAULT_SITE, '', what.startsWith('/') ? what : `/${what}`);
  if (target.kind === 'signature' && target.number !== null)
    return { image: target.image, number: target.number };
  throw new LookasideError(
    'CONFIG_INVALID',
    `${quoted(what)} is neither the number of an audit event nor the path of a signature; wanted one like 17 or team/app@sha256=<64 hex digits>/signature-1`,
  );
}

export async function writeProof(file: string, proof: string): Promise<void> {
  try {
    await mkdir(dirname(file), { recursive: true });
    await writeFile(file, proof);
  } catch (error) {
    const code = systemCode(error);
    if (code === null) throw error;
    throw new LookasideError('CONFIG_INVALID', `cannot write ${file}: ${code}; name another with --output`, {
      cause: error,
    });
  }
}

/** Writes the proofs of uploads below the folder, each named as its signature. How many. */
export async function writeProofs(
  log: LogReaderStore,
  { folder, receipts }: { readonly folder: string; readonly receipts: readonly Receipt[] },
): Promise<number> {
  let written = 0;
  for (const { path, auditSeq } of receipts) {
    if (auditSeq === null) continue;
    // the server tells where it is, and must not write elsewhere
    const { image, number } = placeOf(path);
    const file = join(folder, imageFolder(image), `signature-${number}.tlog-proof`);
    await writeProof(file, await proveEvent(log, auditSeq, wait));
    written += 1;
  }
  return written;
}
