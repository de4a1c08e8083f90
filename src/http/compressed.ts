// Answers to browsers, compressed where they may be: a page of 50 rows is a tenth of its size then.
import type { IncomingMessage } from 'node:http';
import { promisify } from 'node:util';
import { gzip } from 'node:zlib';
import type { Reply } from './reply.ts';

const compress = promisify(gzip);

/** What fits into one packet gains nothing. */
const SMALL_BYTES = 1400;
/** Half the time of the usual 6, for a twentieth more bytes. */
const LEVEL = 4;

/**
 * The reply as the browser takes it. Streams stay as they are: a compressor would keep rows back. Pages hold both a secret (the
 * form's token) and text of the asker. A neighbour's page can make a browser ask with the session's cookie, and whoever sees the lengths
 * of the answers could guess the secret from them (BREACH). So each page has another form token, and a new API token stands in the answer
 * to one form alone.
 */
export async function compressed({ headers }: IncomingMessage, reply: Reply): Promise<Reply> {
  const { body } = reply;
  if (body === null || !(typeof body === 'string' || body instanceof Uint8Array)) return reply;
  if (!/^(?:text\/|image\/svg)/.test(String(reply.headers['Content-Type'] ?? ''))) return reply;
  const { Vary: vary } = reply.headers;
  const varying = {
    ...reply.headers,
    Vary: vary === undefined ? 'Accept-Encoding' : `${vary}, Accept-Encoding`,
  };
  if (Buffer.byteLength(body) < SMALL_BYTES || !takesGzip(headers['accept-encoding']))
    return { ...reply, headers: varying };
  const bytes = await compress(body, { level: LEVEL });
  return {
    ...reply,
    headers: { ...varying, 'Content-Encoding': 'gzip', 'Content-Length': bytes.length },
    body: bytes,
  };
}

/** RFC 9110, section 12.5.3. A star alone is no reason to compress: what asks so is seldom a browser. */
function takesGzip(accepted: string | string[] | undefined): boolean {
  return String(accepted ?? '')
    .split(',')
    .some((coding) => {
      const [name = '', ...parameters] = coding.split(';').map((part) => part.trim().toLowerCase());
      return name === 'gzip' && !parameters.some((one) => /^q=0(?:\.0{0,3})?$/.test(one));
    });
}
