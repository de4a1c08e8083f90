// Uploads: one signature at its number or after the last one, or a form of many.
import { isLookasideError, LookasideError } from '../../domain/errors.ts';
import { DEFAULT_SITE, imageFolder } from '../../domain/image.ts';
import { MAX_BATCH_BYTES, MAX_REMAPS_ASKED } from '../../domain/limits.ts';
import type { BatchPart, BatchResult, Receipt } from '../../domain/receipt.ts';
import { parseRemap, REMAP_WANTED, type Remap } from '../../domain/remap.ts';
import { quoted } from '../../domain/text.ts';
import { isTheUploadsFault, type UploadHow, type UploadRequest } from '../../service/upload.ts';
import { actorOf } from '../exchange.ts';
import { jsonReply, type Reply } from '../reply.ts';
import { NO_BODY, type RouteRequest, type RouteSpec } from '../route.ts';
import type { Services } from '../services.ts';

const one = {
  path: null,
  roles: ['uploader', 'admin'],
  body: 'bytes',
  bodyBytes: ({ maxSignatureBytes }) => maxSignatureBytes,
  bodyMs: 10_000,
  isUpload: true,
} as const satisfies Partial<RouteSpec>;

/** Exactly this number. */
export const putSignature: RouteSpec = { ...one, name: 'upload', methods: ['PUT'], route: put };

/** The next number. */
export const appendSignature: RouteSpec = { ...one, name: 'upload', methods: ['POST'], route: append };

export const uploadBatch: RouteSpec = {
  name: 'upload-batch',
  path: '/api/v1/signatures',
  methods: ['POST'],
  roles: one.roles,
  body: 'multipart',
  bodyBytes: MAX_BATCH_BYTES,
  bodyMs: 25_000,
  isUpload: true,
  route: batch,
};

/** For uploads to a place that can hold no signature. */
export const misplaced: RouteSpec = {
  ...NO_BODY,
  name: 'upload',
  path: null,
  methods: ['PUT', 'POST'],
  allow: [],
  roles: one.roles,
  route: refusePlace,
};

async function put(services: Services, request: RouteRequest): Promise<Reply> {
  const { target } = request.exchange;
  if (target.kind !== 'signature' || target.number === null) return refusePlace(services, request);
  const { image, number } = target;
  return upload(services, request, { image, number, bytes: request.bytes, ...parseHow(request) });
}

async function append(services: Services, request: RouteRequest): Promise<Reply> {
  const { target } = request.exchange;
  const image = target.kind === 'folder-page' || target.kind === 'nothing' ? null : target.image;
  if (image === null) return refusePlace(services, request);
  return upload(services, request, {
    image,
    number: null,
    bytes: request.bytes,
    ...parseHow(request),
  });
}

async function upload(services: Services, { exchange }: RouteRequest, what: UploadRequest): Promise<Reply> {
  const { uploader, metrics, intake } = services;
  try {
    const receipt = await timed(services, () => uploader.upload(what, actorOf(exchange)));
    metrics.upload({ result: receipt.created ? 'created' : 'exists' });
    return jsonReply(receipt.created ? 201 : 200, logged(shownReceipt(receipt)), {
      Location: exchange.prefix + receipt.path,
    });
  } catch (error) {
    const code = isLookasideError(error) ? error.code : 'INTERNAL';
    metrics.upload({ result: 'refused', code });
    if (code !== 'INTERNAL' && isTheUploadsFault(code)) intake.refusedUploads.note(exchange.caller, 1);
    throw error;
  }
}

async function batch(services: Services, request: RouteRequest): Promise<Reply> {
  const results = await uploadParts(services, request, request.parts, parseHow(request));
  return jsonReply(200, { results: results.map((one) => (one.result === 'refused' ? one : logged(one))) });
}

/** Uploads them as the caller, counted and held against what a token may have refused. */
export async function uploadParts(
  services: Services,
  { exchange }: Pick<RouteRequest, 'exchange'>,
  parts: readonly BatchPart[],
  how: UploadHow,
): Promise<readonly BatchResult[]> {
  const { uploader, metrics, intake } = services;
  const options = { site: DEFAULT_SITE, ...how };
  const results = await timed(services, () => uploader.uploadBatch(parts, options, actorOf(exchange)));
  for (const result of results) metrics.upload(result);
  const refused = results.filter((one) => one.result === 'refused' && isTheUploadsFault(one.code)).length;
  intake.refusedUploads.note(exchange.caller, refused);
  return results;
}

async function timed<T>({ clock, metrics }: Services, act: () => Promise<T>): Promise<T> {
  const startedMs = clock.monotonicMs();
  try {
    return await act();
  } finally {
    metrics.uploadTook(clock.monotonicMs() - startedMs);
  }
}

/** With the index of its event in the log, where its proof is found by. */
function logged<Row extends Pick<Receipt, 'auditSeq'>>(receipt: Row) {
  return { ...receipt, logIndex: receipt.auditSeq === null ? null : receipt.auditSeq - 1 };
}

function shownReceipt(receipt: Receipt): Receipt {
  return {
    path: receipt.path,
    number: receipt.number,
    created: receipt.created,
    state: receipt.state,
    fingerprint: receipt.fingerprint,
    signingFingerprint: receipt.signingFingerprint,
    manifestDigest: receipt.manifestDigest,
    dockerReference: receipt.dockerReference,
    signedAt: receipt.signedAt,
    signatureSha256: receipt.signatureSha256,
    auditSeq: receipt.auditSeq,
    warnings: receipt.warnings,
  };
}

/** @throws LookasideError REQUEST_INVALID */
function parseHow(request: RouteRequest): UploadHow {
  return { force: parseForce(request), signedFor: parseSignedFor(request) };
}

/** @throws LookasideError REQUEST_INVALID */
function parseSignedFor({ query }: RouteRequest): readonly Remap[] {
  const given = query.getAll('signed-for');
  if (given.length > MAX_REMAPS_ASKED) {
    throw new LookasideError(
      'REQUEST_INVALID',
      `signed-for stands ${given.length} times; at most ${MAX_REMAPS_ASKED} are taken with one request`,
    );
  }
  return given.map((text) => {
    const remap = parseRemap(text);
    if (remap !== null) return remap;
    throw new LookasideError('REQUEST_INVALID', `signed-for is ${quoted(text)}; ${REMAP_WANTED}`);
  });
}

/** @throws LookasideError REQUEST_INVALID */
function parseForce({ query }: RouteRequest): boolean {
  const given = query.getAll('force');
  for (const value of given) {
    if (value === '1') continue;
    throw new LookasideError(
      'REQUEST_INVALID',
      `force is "${value.slice(0, 40)}"; wanted force=1, or leave it out`,
    );
  }
  return given.length > 0;
}

const EXAMPLE = 'team/app@sha256=<64 lower-case hex digits>/signature-1';

async function refusePlace(_: Services, { exchange }: RouteRequest): Promise<Reply> {
  const { target } = exchange;
  if (target.kind === 'nothing' && target.tooLong !== undefined) {
    throw new LookasideError('PATH_INVALID', target.tooLong);
  }
  const whyNot =
    target.kind === 'signature'
      ? `the last part of this path below ${imageFolder(target.image)} is not signature-N with N from 1 to 999999999`
      : 'this path names no signature';
  throw new LookasideError(
    'PATH_INVALID',
    `${whyNot}; wanted PUT REPOSITORY@ALGORITHM=HEX/signature-N, or POST without /signature-N to append, with the repository's path without its registry and sha256, sha384 or sha512, like ${exchange.prefix}/${EXAMPLE}`,
  );
}
