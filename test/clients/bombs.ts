// Decompression bombs: files of 128 KiB, signed as they should be, of which each unpacks to much more than is taken.
import { spawnSync } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { count } from '../faults/promise.ts';
import { compressed, packet } from '../openpgp/packet-writer.ts';
import type { Signable, Signer } from './signer.ts';

/** What a bomb has at most, and nearly has. */
export const BOMB_BYTES = 128 * 1024;

/** In `npm test` less, which takes a quarter of the time to make, and is far more than is taken as well. */
const UNPACKED_BYTES = count(64, 16) * 1024 * 1024;

/** What one of 64 random characters compresses to, and what all else does. */
const CHARACTER_BYTES = 6.1 / 8;
const SLACK_BYTES = 512;

export function deflateBomb(signer: Signer, method: 'zip' | 'zlib'): Buffer {
  return bombOf(signer, (signed) => compressed(signed, method));
}

/** Packed by the program bzip2. */
export function bzip2Bomb(signer: Signer): Buffer {
  return bombOf(signer, (signed) => packet(8, Buffer.concat([Buffer.of(3), bzip2(signed)]), 'end'));
}

function bzip2(content: Buffer): Buffer {
  const { status, stdout, stderr } = spawnSync('bzip2', ['-9c'], { input: content, maxBuffer: 2 ** 24 });
  if (status !== 0) throw new Error(`bzip2: ${stderr}`);
  return stdout;
}

/** What compresses well comes first: who stops early has unpacked most of what is to come out. */
function bombOf(signer: Signer, pack: (signed: Buffer) => Buffer): Buffer {
  const room = BOMB_BYTES - SLACK_BYTES - pack(Buffer.alloc(UNPACKED_BYTES, '0')).length;
  const rest = randomBytes(Math.floor((room / CHARACTER_BYTES / 4) * 3)).toString('base64url');
  const what: Signable = { repository: 'bomb/app', tag: 'v1', filling: '0'.repeat(UNPACKED_BYTES) + rest };
  return pack(signer.sign(what));
}
