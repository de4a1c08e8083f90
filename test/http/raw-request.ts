// Requests byte for byte over a socket: an HTTP client would clean up what a server must survive.
import { connect } from 'node:net';

export interface RawAnswer {
  readonly status: number;
  /** Lower-case names. */
  readonly headers: ReadonlyMap<string, string>;
  readonly body: Buffer;
}

/** Sends the text or bytes as they are and reads to the end of the connection, so they must ask to be closed. */
export function sendRaw(port: number, text: string | Buffer): Promise<Buffer> {
  return new Promise((resolve, reject) => {
    const chunks: Buffer[] = [];
    const socket = connect({ host: '127.0.0.1', port }, () => {
      socket.write(typeof text === 'string' ? Buffer.from(text, 'latin1') : text);
    });
    socket.on('data', (chunk) => chunks.push(chunk));
    socket.on('error', reject);
    socket.on('close', () => resolve(Buffer.concat(chunks)));
  });
}

/** One request that asks to be closed. `lines` are header lines without the host's and the body's length. */
export async function requestRaw(
  port: number,
  requestLine: string,
  lines: readonly string[] = [],
  body?: Uint8Array,
): Promise<RawAnswer> {
  const length = body === undefined ? [] : [`Content-Length: ${body.length}`];
  const head = [
    `${requestLine} HTTP/1.1`,
    'Host: lookaside.example',
    'Connection: close',
    ...lines,
    ...length,
  ];
  const request = Buffer.concat([
    Buffer.from(`${head.join('\r\n')}\r\n\r\n`, 'latin1'),
    body ?? Buffer.alloc(0),
  ]);
  return parseAnswer(await sendRaw(port, request));
}

/** @throws Error when these bytes are no HTTP answer */
export function parseAnswer(bytes: Buffer): RawAnswer {
  const end = bytes.indexOf('\r\n\r\n');
  if (end === -1)
    throw new Error(`no HTTP answer: ${JSON.stringify(bytes.toString('latin1').slice(0, 200))}`);
  const [statusLine = '', ...lines] = bytes.subarray(0, end).toString('latin1').split('\r\n');
  const status = /^HTTP\/1\.1 ([0-9]{3}) /.exec(statusLine)?.[1];
  if (status === undefined) throw new Error(`no status in ${JSON.stringify(statusLine)}`);
  const headers = new Map(
    lines.map((line): [string, string] => {
      const colon = line.indexOf(':');
      return [line.slice(0, colon).toLowerCase(), line.slice(colon + 1).trim()];
    }),
  );
  const raw = bytes.subarray(end + 4);
  return {
    status: Number(status),
    headers,
    body: headers.get('transfer-encoding') === 'chunked' ? unchunk(raw) : raw,
  };
}

function unchunk(raw: Buffer): Buffer {
  const parts: Buffer[] = [];
  for (let at = 0; ; ) {
    const lineEnd = raw.indexOf('\r\n', at);
    const length = Number.parseInt(raw.subarray(at, lineEnd).toString('latin1'), 16);
    if (!(length > 0)) return Buffer.concat(parts);
    parts.push(raw.subarray(lineEnd + 2, lineEnd + 2 + length));
    at = lineEnd + 2 + length + 2;
  }
}
