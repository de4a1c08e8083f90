// GET as podman and skopeo send it to registries and lookasides: for asking what they would be answered.

import { request as httpRequest, type IncomingMessage } from 'node:http';
import { request as httpsRequest } from 'node:https';
import type { AskWeb, WebAnswer } from '../domain/client-machine.ts';
import { systemCode } from '../domain/errors.ts';
import { MAX_SIGNATURE_BYTES } from '../domain/limits.ts';
import { percentDecode } from '../domain/url.ts';
import { trusting } from './direct.ts';
import { AnswerTooLarge } from './transport.ts';

export interface AskWebOptions {
  /** Certificates in PEM that are trusted beside the usual ones; null: only those. */
  readonly ca: string | null;
  /** Ours, in PEM, for servers that ask for one. */
  readonly client?: { readonly certificate: string; readonly key: string } | null;
  /** Any certificate will do. */
  readonly isInsecure: boolean;
  /** How long one answer may take. */
  readonly patienceMs: number;
}

const MOST_REDIRECTS = 10; // Go's http.Client

export function createAskWeb(options: AskWebOptions): AskWeb {
  return async (url, headers = {}) => {
    let at = new URL(url);
    for (let hop = 0; hop <= MOST_REDIRECTS; hop += 1) {
      const answer = await ask(at, headers, options);
      if (answer.kind !== 'answer' || ![301, 302, 303, 307, 308].includes(answer.status)) return answer;
      const location = answer.header('location');
      if (location === null || !URL.canParse(location, at.href)) return answer;
      at = new URL(location, at);
      if (at.protocol !== 'http:' && at.protocol !== 'https:') return answer;
    }
    return { kind: 'failed', why: `stopped after ${MOST_REDIRECTS} redirects` };
  };
}

async function ask(
  at: URL,
  headers: Readonly<Record<string, string>>,
  { ca, client = null, isInsecure, patienceMs }: AskWebOptions,
): Promise<WebAnswer> {
  const signal = AbortSignal.timeout(patienceMs);
  const { username, password } = at;
  // Node.js fails on a percent sign in it that encodes nothing
  const url = new URL(at);
  [url.username, url.password] = ['', ''];
  const auth = username === '' ? {} : { auth: `${percentDecode(username)}:${percentDecode(password)}` };
  const options = { headers, signal, agent: false, ...auth } as const;
  const own = client === null ? {} : { cert: client.certificate, key: client.key };
  try {
    const response = await new Promise<IncomingMessage>((resolve, reject) => {
      const request =
        url.protocol === 'https:'
          ? httpsRequest(url, { ...options, ...trusting(ca), ...own, rejectUnauthorized: !isInsecure })
          : httpRequest(url, options);
      request.on('error', reject).on('response', resolve).end();
    });
    const body = await readBody(response);
    return {
      kind: 'answer',
      status: response.statusCode ?? 0,
      header: (name) => [response.headers[name] ?? null].flat()[0] ?? null,
      body,
    };
  } catch (error) {
    return failureOf(error);
  }
}

async function readBody(response: IncomingMessage): Promise<Uint8Array> {
  const pieces: Uint8Array[] = [];
  let length = 0;
  for await (const piece of response) {
    length += piece.length;
    if (length > MAX_SIGNATURE_BYTES) throw new AnswerTooLarge(`more than ${MAX_SIGNATURE_BYTES} bytes`);
    pieces.push(piece);
  }
  return Buffer.concat(pieces);
}

function failureOf(error: unknown): WebAnswer {
  const code = systemCode(error) ?? '';
  const why = error instanceof Error ? error.message : String(error);
  if (error instanceof AnswerTooLarge) return { kind: 'too-large', why };
  if (code === 'ECONNREFUSED') return { kind: 'refused', why: 'nothing listens there' };
  if (code === 'ENOTFOUND' || code === 'EAI_AGAIN')
    return { kind: 'unknown-host', why: 'the name is not found' };
  if (
    code === 'EPROTO' ||
    code === 'ERR_SSL_WRONG_VERSION_NUMBER' ||
    /wrong version number|packet length too long/i.test(why)
  )
    return { kind: 'plain', why: 'it answers plain HTTP' };
  if (/CERT|SELF_SIGNED|VERIFY|ISSUER|ALTNAME/.test(code)) return { kind: 'tls', why };
  return { kind: 'failed', why: code === '' ? why : `${why} (${code})` };
}
