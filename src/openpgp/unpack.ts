// Unpacks what a compressed data packet holds, never more than the limit.
import { inflateRawSync, inflateSync, type Zlib, type ZlibOptions } from 'node:zlib';
import { systemCode } from '../domain/errors.ts';
import { MAX_UNPACKED_BYTES } from '../domain/limits.ts';
import { unpackBzip2 } from './bzip2.ts';

/** `cut`: not whole; `trailing`: bytes follow the compressed ones; `unknown`: the compression method is unknown. */
export type Unpacked = { readonly content: Uint8Array } | 'cut' | 'trailing' | 'too-large' | 'unknown';

/** `body`: the body of a compressed data packet, which begins with its method (RFC 9580, section 9.4). */
export function unpack(body: Uint8Array): Unpacked {
  const [method] = body;
  const data = body.subarray(1);
  switch (method) {
    case undefined:
      return 'cut';
    case 0:
      return data.length > MAX_UNPACKED_BYTES ? 'too-large' : { content: data };
    case 1:
      return unpackDeflated(inflateRawSync, data);
    case 2:
      return unpackDeflated(inflateSync, data);
    case 3:
      return unpackBzipped(data);
    default:
      return 'unknown';
  }
}

type Inflate = (data: Uint8Array, options: ZlibOptions) => Uint8Array;

function unpackDeflated(inflate: Inflate, data: Uint8Array): Unpacked {
  try {
    const outcome = inflate(data, { maxOutputLength: MAX_UNPACKED_BYTES, info: true });
    // the cast: `info` changes the result, and the types do not know that
    const { buffer, engine } = outcome as unknown as { readonly buffer: Buffer; readonly engine: Zlib };
    return engine.bytesWritten === data.length ? { content: buffer } : 'trailing';
  } catch (error) {
    if (systemCode(error) === 'ERR_BUFFER_TOO_LARGE') return 'too-large';
    if (systemCode(error)?.startsWith('Z_')) return 'cut';
    throw error;
  }
}

function unpackBzipped(data: Uint8Array): Unpacked {
  const outcome = unpackBzip2(data, MAX_UNPACKED_BYTES);
  if (typeof outcome === 'string') return outcome;
  return outcome.usedBytes === data.length ? { content: outcome.content } : 'trailing';
}
