// HTTP that no honest client sends, byte for byte, with the status of its first answer.

export interface Malformed {
  readonly what: string;
  readonly text: string;
  readonly status: number;
}

export const HEAD = ['Host: a', 'Connection: close'] as const;

/** GET of signature-1 with these header lines. */
export function requestOf(folder: string, lines: readonly string[], method = 'GET'): string {
  return `${[`${method} /${folder}/signature-1 HTTP/1.1`, ...lines].join('\r\n')}\r\n\r\n`;
}

export const headers = (count: number) => Array.from({ length: count }, (_, k) => `X-${k}: ${k}`);

/** `folder`: of an image that has a signature. */
export function malformedRequests(folder: string): readonly Malformed[] {
  const get = (lines: readonly string[], method?: string) => requestOf(folder, lines, method);
  const raw = (line: string) => `${[line, ...HEAD].join('\r\n')}\r\n\r\n`;
  const rows: readonly (readonly [what: string, text: string, status: number])[] = [
    ['one Host line', get(HEAD), 200],
    ['two Host lines', get(['Host: a', ...HEAD]), 400],
    ['two Host lines that differ in case and value', get(['hOST: b', ...HEAD]), 400],
    ['no Host line', get(['Connection: close']), 400],
    ['100 header lines', get([...HEAD, ...headers(98)]), 200],
    ['101 header lines', get([...HEAD, ...headers(99)]), 431],
    ['a header of 15 KiB', get([...HEAD, `X: ${'x'.repeat(15 * 1024)}`]), 200],
    ['a header over 16 KiB', get([...HEAD, `X: ${'x'.repeat(17 * 1024)}`]), 431],
    ['a target over 16 KiB', `GET /${'x'.repeat(17 * 1024)} HTTP/1.1\r\nHost: a\r\n\r\n`, 431],
    ['a length and chunks', get([...HEAD, 'Content-Length: 3', 'Transfer-Encoding: chunked']), 400],
    ['two lengths', get([...HEAD, 'Content-Length: 3', 'Content-Length: 4']), 400],
    ['a negative length', get([...HEAD, 'Content-Length: -1']), 400],
    ['a space before the colon', get([...HEAD, 'X : y']), 400],
    ['a folded header', get([...HEAD, ' folded: x']), 400],
    ['a bare line feed in a header', get([...HEAD, 'X: a\nHost: b']), 400],
    ['a NUL in a header', get([...HEAD, 'X: a\0b']), 400],
    ['a method in small letters', get(HEAD, 'get'), 400],
    ['a method that there is not', get(HEAD, 'FETCH'), 400],
    ['a method of other services', get(HEAD, 'PROPFIND'), 405],
    ['no HTTP at all', '\x16\x03\x01\x02\0\x01\0\x01\xfc\x03\x03', 400],
    ['HTTP/2 without asking', 'PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n', 400],
    ['the preface of nothing', 'GET\r\n\r\n', 400],
    ['a negative length in hex', get([...HEAD, 'Content-Length: 0x10']), 400],
    ['a length with a sign', get([...HEAD, 'Content-Length: +3']), 400],
    ['a length beyond counting', get([...HEAD, `Content-Length: ${'9'.repeat(30)}`]), 400],
    ['chunks twice over', get([...HEAD, 'Transfer-Encoding: chunked', 'Transfer-Encoding: chunked']), 400],
    ['chunks that are not the last coding', get([...HEAD, 'Transfer-Encoding: chunked, gzip']), 400],
    ['a vertical tab before chunked', get([...HEAD, 'Transfer-Encoding: \x0bchunked']), 400],
    ['a header without a colon', get([...HEAD, 'nothing']), 400],
    ['a header without a name', get([...HEAD, ': nothing']), 400],
    ['a carriage return alone in a header', get([...HEAD, 'X: a\rHost: b']), 400],
    ['a header named __proto__', get([...HEAD, '__proto__: x']), 200],
    ['the absolute form', raw(`GET http://a/${folder}/signature-1 HTTP/1.1`), 200],
    ['the absolute form for another host', raw(`GET http://b:1/${folder}/signature-1 HTTP/1.1`), 200],
    ['the absolute form of another scheme', raw(`GET ftp://a/${folder}/signature-1 HTTP/1.1`), 404],
    ['the absolute form with a user', raw(`GET http://u:p@a/${folder}/signature-1 HTTP/1.1`), 200],
    ['the asterisk form', raw('OPTIONS * HTTP/1.1'), 405],
    ['the asterisk form of GET', raw('GET * HTTP/1.1'), 404],
    ['no slash', raw(`GET ${folder}/signature-1 HTTP/1.1`), 400],
    ['an empty target', raw('GET  HTTP/1.1'), 400],
    ['two targets', raw(`GET /${folder}/signature-1 /x HTTP/1.1`), 400],
    ['HTTP/1.0', raw(`GET /${folder}/signature-1 HTTP/1.0`), 200],
    ['HTTP/2.0', raw(`GET /${folder}/signature-1 HTTP/2.0`), 400],
    ['HTTP/0.9', raw(`GET /${folder}/signature-1 HTTP/0.9`), 400],
    ['HTTP/1.2', raw(`GET /${folder}/signature-1 HTTP/1.2`), 400],
    ['HTTP/3.0', raw(`GET /${folder}/signature-1 HTTP/3.0`), 400],
    ['a NUL in the target', raw(`GET /${folder}\0/signature-1 HTTP/1.1`), 400],
    ['a tunnel', raw('CONNECT evil.example:443 HTTP/1.1'), 405],
    ['an upgrade to h2c', get([...HEAD, 'Upgrade: h2c', 'HTTP2-Settings: AAMAAABk']), 200],
    ['an upgrade to a web socket', get(['Host: a', 'Connection: Upgrade, close', 'Upgrade: websocket']), 200],
    ['TRACE', get(HEAD, 'TRACE'), 405],
  ];
  return rows.map(([what, text, status]) => ({ what, text, status }));
}
