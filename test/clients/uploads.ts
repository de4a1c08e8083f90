// Uploads as an HTTP client sends them, each on a connection of its own, and what the answers say.
import assert from 'node:assert/strict';
import { type RawAnswer, requestRaw } from '../http/raw-request.ts';

/** What every upload has to say, whether it was taken or not. */
export interface UploadAnswer {
  readonly status: number;
  /** Null when the upload was taken. */
  readonly code: string | null;
  readonly detail: Readonly<Record<string, unknown>> | null;
  /** As the header says it. */
  readonly retryAfter: string | null;
  /** Null when it was refused. */
  readonly receipt: Receipt | null;
}

export interface Receipt {
  readonly path: string;
  readonly number: number;
  readonly created: boolean;
  readonly state: string;
  readonly signatureSha256: string;
  readonly auditSeq: number | null;
  readonly warnings: readonly { readonly code: string }[];
}

export type PartResult =
  | ({ readonly part: number; readonly result: 'created' | 'exists' } & Receipt)
  | { readonly part: number; readonly result: 'refused'; readonly code: string };

export interface BatchAnswer {
  readonly status: number;
  /** Null when the form was taken. */
  readonly code: string | null;
  /** Empty when it was not. */
  readonly results: readonly PartResult[];
}

export interface Part {
  readonly bytes: Uint8Array;
  readonly fileName?: string;
}

export interface Uploads {
  /** To exactly this place: `team/app@sha256=…/signature-1`. */
  put(target: string, bytes: Uint8Array): Promise<UploadAnswer>;
  /** Behind the last signature of the image: `team/app@sha256=…`, perhaps with `?force=1`. */
  post(folder: string, bytes: Uint8Array): Promise<UploadAnswer>;
  batch(parts: readonly Part[]): Promise<BatchAnswer>;
  /** A form as it is, right or wrong. */
  form(form: Form): Promise<BatchAnswer>;
  get(target: string): Promise<RawAnswer>;
}

/** Uploads to the server on that port of 127.0.0.1. Their promises are rejected when the connection is cut. */
export function uploadsTo(port: number, token: string): Uploads {
  const authorization = `Authorization: Bearer ${token}`;
  const send = async (method: 'PUT' | 'POST', target: string, bytes: Uint8Array) =>
    toUploadAnswer(await requestRaw(port, `${method} /${target}`, [authorization], bytes));
  const form = async ({ contentType, body }: Form) => {
    const lines = [authorization, `Content-Type: ${contentType}`];
    return toBatchAnswer(await requestRaw(port, 'POST /api/v1/signatures', lines, body));
  };
  return {
    put: (target, bytes) => send('PUT', target, bytes),
    post: (folder, bytes) => send('POST', folder, bytes),
    batch: async (parts) => form(await formOf(parts)),
    form,
    get: (target) => requestRaw(port, `GET /${target}`),
  };
}

export interface Form {
  readonly contentType: string;
  readonly body: Buffer;
}

/** A form of these parts, all named `signature`. */
export async function formOf(parts: readonly Part[]): Promise<Form> {
  const form = new FormData();
  for (const { bytes, fileName = 'blob' } of parts) {
    form.append('signature', new Blob([Uint8Array.from(bytes)]), fileName);
  }
  const response = new Response(form);
  return {
    contentType: response.headers.get('content-type') ?? '',
    body: Buffer.from(await response.arrayBuffer()),
  };
}

interface Refusals {
  readonly errors: readonly {
    readonly code: string;
    readonly detail?: Readonly<Record<string, unknown>>;
  }[];
}

function toUploadAnswer({ status, headers, body }: RawAnswer): UploadAnswer {
  const said = JSON.parse(body.toString()) as Receipt | Refusals; // the server's own shapes
  const retryAfter = headers.get('retry-after') ?? null;
  if (!('errors' in said)) return { status, code: null, detail: null, retryAfter, receipt: said };
  const detail = said.errors[0]?.detail ?? null;
  return { status, code: codeOf(said), detail, retryAfter, receipt: null };
}

function toBatchAnswer({ status, body }: RawAnswer): BatchAnswer {
  const said = JSON.parse(body.toString()) as { readonly results: readonly PartResult[] } | Refusals;
  if ('errors' in said) return { status, code: codeOf(said), results: [] };
  return { status, code: null, results: said.results };
}

function codeOf({ errors }: Refusals): string {
  const [first] = errors;
  if (first === undefined) throw new Error('a refusal without a code');
  return first.code;
}

/** The receipt of an upload that was answered so. */
export function takenAs({ status, code, receipt }: UploadAnswer, expected: 200 | 201): Receipt {
  assert.equal(status, expected, `${code}`);
  assert.ok(receipt !== null);
  assert.equal(receipt.created, status === 201);
  return receipt;
}

/** How often each `status code` was answered. */
export function tally(answers: readonly UploadAnswer[]): Readonly<Record<string, number>> {
  const counts: Record<string, number> = {};
  for (const { status, code } of answers) {
    const key = code === null ? `${status}` : `${status} ${code}`;
    counts[key] = (counts[key] ?? 0) + 1;
  }
  return counts;
}

/** `created`, `exists`, or the code of its refusal. */
export function summaryOf(result: PartResult): string {
  return result.result === 'refused' ? result.code : result.result;
}
