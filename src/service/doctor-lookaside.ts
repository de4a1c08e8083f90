// Asks for signature-1, signature-2, … as a pull does, and tells what a client makes of each answer.
import type { AskWeb, ClientMachine, WebAnswer } from '../domain/client-machine.ts';
import { MAX_SIGNATURES_PER_IMAGE } from '../domain/limits.ts';
import { signatureUrl } from '../domain/policy/registries-d.ts';
import { whyUnreadable } from '../domain/readable.ts';

export interface AskedUrl {
  readonly url: string;
  /** HTTP status; null for a file, or when there was no answer. */
  readonly status: number | null;
  readonly type: string | null;
  readonly sizeBytes: number | null;
  /** Two hex digits. */
  readonly firstByte: string | null;
}

export interface FetchedSignatures {
  readonly asked: readonly AskedUrl[];
  /** `source`: its URL, without a password. */
  readonly signatures: readonly { readonly source: string; readonly bytes: Uint8Array }[];
  /** What ends the whole pull, whatever the policy; null when nothing does. */
  readonly fault: Fault | null;
  /** The first that old clients pass over, and newer ones do not; or that only newer ones read. */
  readonly passedOver: (Fault & { readonly form: 'armour' | 'tagged' | 'other' }) | null;
}

interface Fault {
  readonly code: string;
  readonly message: string;
  readonly remedy: string;
}

export interface LookasideQuestion {
  readonly ask: AskWeb;
  readonly file: ClientMachine['file'];
  readonly base: string;
  readonly path: string;
  readonly digest: string;
}

/** `isOld`: clients before containers/image 5.22 take any bytes for a signature, which is then good or not. */
export async function fetchSignatures(
  question: LookasideQuestion,
  isOld: boolean,
): Promise<FetchedSignatures> {
  let passedOver: FetchedSignatures['passedOver'] = null;
  const asked: AskedUrl[] = [];
  const signatures: { source: string; bytes: Uint8Array }[] = [];
  const { base, path, digest } = question;
  const scheme = /^([a-z][a-z0-9+.-]*):/i.exec(base)?.[1]?.toLowerCase() ?? '';
  if (!['http', 'https', 'file'].includes(scheme) || !URL.canParse(base)) {
    const message = `${base} is not a URL that clients read signatures from`;
    const remedy = `write it with http://, https:// or file:// in front`;
    return { asked, signatures, fault: { code: 'LOOKASIDE_SCHEME', message, remedy }, passedOver };
  }
  for (let number = 1; number <= MAX_SIGNATURES_PER_IMAGE; number += 1) {
    const url = signatureUrl(base, { path, digest }, number);
    const answer = await (scheme === 'file' ? askFile(question, url) : question.ask(url, HEADERS));
    asked.push(askedUrl(url, answer, scheme === 'file'));
    if (answer.kind === 'answer' && answer.status === 404) break;
    if (isOld && answer.kind === 'answer' && answer.status === 200) {
      const odd = oddBody(answer.body, url);
      passedOver ??= odd;
      if (odd !== null) continue;
    }
    const fault = faultOf(answer, url);
    if (fault !== null) return { asked, signatures, fault, passedOver };
    if (answer.kind === 'answer') signatures.push({ source: withoutPassword(url), bytes: answer.body });
  }
  return { asked, signatures, fault: null, passedOver };
}

/** Null: all clients take it for what it is. */
function oddBody(body: Uint8Array, url: string): FetchedSignatures['passedOver'] {
  if (body[0] === 0x00) {
    const message = `${url} is in the tagged form, which clients before containers/image 5.22 do not read`;
    return { ...fault('SIGNATURE_UNREADABLE', message, BINARY_WANTED), form: 'tagged' };
  }
  const why = whyUnreadable(body);
  if (why === null || why === 'too-large') return null;
  const isPage = body[0] === 0x3c;
  const what = isPage
    ? 'is an HTML page'
    : body[0] === 0x2d
      ? 'is in ASCII armour'
      : `is not a signature (${why})`;
  return {
    ...fault(
      isPage ? 'LOOKASIDE_HTML' : 'SIGNATURE_UNREADABLE',
      `${withoutPassword(url)} ${what}: clients since containers/image 5.22 refuse every pull of the image`,
      isPage ? NOT_FOUND_WANTED : BINARY_WANTED,
    ),
    form: body[0] === 0x2d ? 'armour' : 'other',
  };
}

/** So that the record of reads does not take it for a client that got the signature. */
const HEADERS = { 'user-agent': 'lookaside-doctor' };

const NOT_FOUND_WANTED =
  'have the server, or the proxy before it, answer 404 for a signature that is not there';
const BINARY_WANTED =
  'take that file out of the lookaside, and put the binary signature there that podman, skopeo or gpg --sign make';

/** Whether the signature of that number is there; false also when it cannot be found out. */
export async function hasSignature(question: LookasideQuestion, number: number): Promise<boolean> {
  const url = signatureUrl(question.base, question, number);
  const answer = await (url.startsWith('file:') ? askFile(question, url) : question.ask(url, HEADERS));
  return answer.kind === 'answer' && answer.status === 200 && whyUnreadable(answer.body) === null;
}

async function askFile({ file }: LookasideQuestion, url: string): Promise<WebAnswer> {
  const read = await file(decodeURIComponent(new URL(url).pathname));
  if (read.kind === 'unreadable') return { kind: 'failed', why: read.why };
  const answer = { kind: 'answer', header: () => null } as const;
  return read.kind === 'read'
    ? { ...answer, status: 200, body: read.bytes }
    : { ...answer, status: 404, body: new Uint8Array() };
}

function askedUrl(url: string, answer: WebAnswer, isFile: boolean): AskedUrl {
  const withoutSecret = withoutPassword(url);
  if (answer.kind !== 'answer')
    return { url: withoutSecret, status: null, type: null, sizeBytes: null, firstByte: null };
  const [first] = answer.body;
  const hasBody = answer.status === 200;
  return {
    url: withoutSecret,
    status: isFile ? null : answer.status,
    type: answer.header('content-type'),
    sizeBytes: hasBody ? answer.body.length : null,
    firstByte: hasBody && first !== undefined ? first.toString(16).padStart(2, '0') : null,
  };
}

export function withoutPassword(url: string): string {
  if (!URL.canParse(url)) return url;
  const masked = new URL(url);
  if (masked.password === '') return url;
  masked.password = 'xxxxx'; // as Go shows it
  return masked.href;
}

function faultOf(answer: WebAnswer, rawUrl: string): FetchedSignatures['fault'] {
  const url = withoutPassword(rawUrl);
  const { host, hostname } = new URL(rawUrl);
  switch (answer.kind) {
    case 'refused':
      return fault(
        'LOOKASIDE_DOWN',
        `nothing listens at ${host}`,
        `start the lookaside server at ${host}, or name its real host and port in registries.d`,
      );
    case 'unknown-host':
      return fault(
        'LOOKASIDE_HOST',
        `the host ${hostname} is not found`,
        `write the real host of the lookaside in registries.d, or give ${hostname} an address`,
      );
    case 'plain':
      return fault(
        'LOOKASIDE_PLAIN_HTTP',
        `${host} speaks plain HTTP, and registries.d says https`,
        `write http:// in place of https:// in registries.d`,
      );
    case 'tls':
      return fault(
        'LOOKASIDE_TLS',
        `the certificate of ${host} is not trusted: ${answer.why}`,
        `lay the certificate of its authority as a .crt file into /etc/containers/certs.d/REGISTRY (the folder of the registry, not of the lookaside) or among the system's`,
      );
    case 'too-large':
      return fault(
        'SIGNATURE_TOO_LARGE',
        `${url} has ${answer.why}, which clients refuse`,
        `have the lookaside server serve signatures alone there`,
      );
    case 'failed':
      return fault('LOOKASIDE_FAILED', `${url}: ${answer.why}`, `mend what is named, and ask again`);
    case 'answer':
      return faultOfAnswer(answer, url);
  }
}

function faultOfAnswer(
  answer: Extract<WebAnswer, { kind: 'answer' }>,
  url: string,
): FetchedSignatures['fault'] {
  const { status, body } = answer;
  if (status === 400 && new URL(url).protocol === 'http:')
    return fault(
      'LOOKASIDE_STATUS',
      `${url} answers 400`,
      `if that port speaks TLS, write https:// in place of http:// in registries.d`,
    );
  if (status !== 200)
    return fault(
      'LOOKASIDE_STATUS',
      `${url} answers ${status}; clients take only 404 for the end of the signatures, and give up at anything else`,
      status === 401
        ? `open the lookaside for reading, or write user and password into the URL in registries.d`
        : `have the lookaside server, or the proxy before it, answer 404 for a signature that is not there`,
    );
  const why = whyUnreadable(body);
  if (why === null) return null;
  const isPage = body[0] === 0x3c;
  return fault(
    isPage ? 'LOOKASIDE_HTML' : 'SIGNATURE_UNREADABLE',
    isPage
      ? `${url} answers an HTML page with 200, which clients take for a broken signature`
      : `${url} is not a signature that clients read (${why}), which ends the pull even beside a good one`,
    isPage ? NOT_FOUND_WANTED : BINARY_WANTED,
  );
}

function fault(code: string, message: string, remedy: string): Fault {
  return { code, message, remedy };
}
