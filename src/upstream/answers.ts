// The answers of a lookaside server, checked against what this version knows of them. Unknown members are ignored.
import { z } from 'zod';
import type { AboutTree } from '../domain/administration.ts';
import { LookasideError } from '../domain/errors.ts';
import type { AddedGrant, GrantDecision, MissingHalf, Signer } from '../domain/grant.ts';
import { DEFAULT_SITE } from '../domain/image.ts';
import type { ExportedKey, KeyResult, KeyState, KeyWarning, RemovedKey, ShownKey } from '../domain/key.ts';
import type { KeyFile } from '../domain/key-readers.ts';
import type { MirrorStatus, SyncAnswer, SyncProgress, SyncResult } from '../domain/mirror.ts';
import type { MirrorLayout } from '../domain/mirror-presets.ts';
import type { Role } from '../domain/ports.ts';
import type { BatchResult, ImportResult, WarningCode } from '../domain/receipt.ts';
import type { SignerDetails } from '../domain/signer.ts';
import type { State } from '../domain/state.ts';
import type { StoredSignature } from '../domain/stored-signature.ts';
import type { ShownToken, TokenState } from '../domain/token.ts';
import type { Withdrawn } from '../domain/tombstone.ts';
import type { ProblemKind } from '../domain/tree.ts';
import type { FsckResult, TreeCounts } from '../domain/upkeep.ts';
import type { SignatureForm } from '../domain/verdict.ts';
import { detail, errorCode } from './refusal.ts';

/** The answer in its type. @throws LookasideError SERVER_UNREACHABLE when it does not fit; the message names `server` */
export function readAnswer<Schema extends z.ZodType>(
  schema: Schema,
  { server, body }: { readonly server: string; readonly body: Buffer },
): z.output<Schema> {
  return readValue(schema, { server, value: parseJson(body) });
}

/** As readAnswer(), for a value that is already parsed. */
export function readValue<Schema extends z.ZodType>(
  schema: Schema,
  { server, value }: { readonly server: string; readonly value: unknown },
): z.output<Schema> {
  const read = schema.safeParse(value);
  if (read.success) return read.data;
  const [issue] = read.error.issues;
  const where = issue?.path.map(String).join('.') || 'the whole';
  throw strange(server, `${where}: ${issue?.message ?? 'unknown'}`);
}

/** The value of the JSON, or undefined, which no schema accepts. */
export function parseJson(body: Buffer): unknown {
  try {
    return JSON.parse(body.toString('utf8'));
  } catch {
    return undefined; // only SyntaxError: no JSON
  }
}

/** The error for an answer that makes no sense to us. */
export function strange(server: string, why: string): LookasideError {
  return new LookasideError(
    'SERVER_UNREACHABLE',
    `${server} is not a lookaside of this version: its answer is not understood (${why}); give the URL of a lookaside server with --server, and run the same version here and there`,
  );
}

export const date = z.iso.datetime({ offset: true }).transform((text) => new Date(text));
export const count = z.int().nonnegative();
const digest = z.string().regex(/^sha(?:256|384|512):[0-9a-f]+$/);
export const sha256 = z.string().regex(/^[0-9a-f]{64}$/);
export const fingerprint = z.string().regex(/^[0-9A-F]{40,64}$/);

/** A word of one of our closed sets, in its type. A newer server may send others: we show them and never switch over them. */
export function word<Word extends string>() {
  return z.custom<Word>((value) => typeof value === 'string' && /^[A-Za-z][A-Za-z0-9_-]{0,63}$/.test(value));
}

export const missingAnswer = z.object({ missing: z.array(count) });

const warnings = z.array(z.object({ code: word<WarningCode>(), message: z.string() }));

const storedSignature = z.object({
  site: z.string().default(DEFAULT_SITE), // a server that names none has one
  image: z.string(),
  path: z.string(),
  number: count,
  state: word<State>(),
  reason: z.string().nullable(),
  form: word<SignatureForm>().nullable(),
  fingerprint: fingerprint.nullable(),
  signingFingerprint: fingerprint.nullable(),
  issuer: z.string().nullable(),
  manifestDigest: digest.nullable(),
  dockerReference: z.string().nullable(),
  creator: z.string().nullable(),
  signedAt: date.nullable(),
  expiresAt: date.nullable(),
  storedAt: date,
  sizeBytes: count,
  signatureSha256: sha256,
  uploader: z.string().nullable(),
  auditSeq: count.nullable(),
  remap: z.string().nullable().default(null),
  warnings,
}) satisfies z.ZodType<StoredSignature>;

export const imageAnswer = z.object({ signatures: z.array(storedSignature) });

export const searchAnswer = z.object({ signatures: z.array(storedSignature), next: z.string().nullable() });

const receipt = z.object({
  part: count,
  path: z.string(),
  number: count,
  created: z.boolean(),
  state: word<State>(),
  fingerprint: fingerprint.nullable(),
  signingFingerprint: fingerprint.nullable(),
  manifestDigest: digest,
  dockerReference: z.string().nullable(),
  signedAt: date.nullable(),
  signatureSha256: sha256,
  auditSeq: count.nullable(),
  warnings,
});

const refused = z.object({
  part: count,
  result: z.literal('refused'),
  code: errorCode,
  message: z.string(),
  detail,
});

const batchResult = z
  .discriminatedUnion('result', [receipt.extend({ result: z.enum(['created', 'exists']) }), refused])
  .transform((result): BatchResult => {
    if (result.result !== 'refused') return result;
    const { detail, ...rest } = result;
    return detail === undefined ? rest : { ...rest, detail };
  });

export const batchAnswer = z.object({ results: z.array(batchResult) });

export const keysAnswer = z.object({
  keys: z.array(z.object({ fingerprint, userIds: z.array(z.string()) })),
});

export const keyAnswer = z.object({ armored: z.string() });

export const aboutAnswer = z.object({
  root: z.string(),
  tree: z.enum(['owned', 'shared']),
}) satisfies z.ZodType<AboutTree>;

const keyPart = z.object({
  fingerprint,
  algorithm: z.string(),
  state: word<KeyState>(),
  canSign: z.boolean(),
  createdAt: date,
  expiresAt: date.nullable(),
  revokedAt: date.nullable(),
});

const shownKey = keyPart.extend({
  userIds: z.array(z.string()),
  subkeys: z.array(keyPart),
  addedAt: date,
  changedAt: date,
}) satisfies z.ZodType<ShownKey>;

export const shownKeysAnswer = z.object({ keys: z.array(shownKey) });

const keyWarnings = z.array(z.object({ code: word<KeyWarning['code']>(), message: z.string() }));

export const exportedKeyAnswer = shownKey.extend({
  warnings: keyWarnings,
  armored: z.string(),
}) satisfies z.ZodType<ExportedKey>;

const keyResult = z.discriminatedUnion('result', [
  z.object({
    result: z.enum(['added', 'updated', 'unchanged']),
    fingerprint,
    userIds: z.array(z.string()),
    state: word<KeyState>(),
    expiresAt: date.nullable(),
    warnings: keyWarnings,
  }),
  z.object({
    result: z.literal('refused'),
    // also the fingerprint of a key whose version is not accepted
    fingerprint: z
      .string()
      .regex(/^[0-9A-F]{32,64}$/)
      .nullable(),
    code: errorCode,
    message: z.string(),
  }),
]) satisfies z.ZodType<KeyResult>;

export const keyResultsAnswer = z.object({ results: z.array(keyResult) });

export const removedKeyAnswer = z.object({
  fingerprint,
  userIds: z.array(z.string()),
  signatures: count.nullable(),
}) satisfies z.ZodType<RemovedKey>;

export const keyFileAnswer = z.object({
  armored: z.string().nullable(),
  leftOut: z.array(z.object({ fingerprint, reason: z.string() })),
}) satisfies z.ZodType<KeyFile>;

export const tokenAnswer = z.object({
  name: z.string(),
  role: word<Role>(),
  state: word<TokenState>(),
  createdAt: date,
  expiresAt: date.nullable(),
  revokedAt: date.nullable(),
  signer: z.string().nullable().default(null), // an older server has no signers
  disabledAt: date.nullable().default(null),
  lastUsedAt: date.nullable().default(null),
}) satisfies z.ZodType<ShownToken>;

export const tokensAnswer = z.object({ tokens: z.array(tokenAnswer) });

export const signerAnswer = z.object({
  name: z.string(),
  description: z.string(),
  createdAt: date,
  disabledAt: date.nullable(),
}) satisfies z.ZodType<Signer>;

export const signersAnswer = z.object({ signers: z.array(signerAnswer) });

export const grantAnswer = z.object({
  id: count,
  signer: z.string(),
  repositories: z.array(z.string()),
  fingerprints: z.array(fingerprint),
  tags: z.array(z.string()),
  createdAt: date,
});

export const grantsAnswer = z.object({ grants: z.array(grantAnswer) });

export const addedGrantAnswer = grantAnswer.extend({ created: z.boolean() }) satisfies z.ZodType<AddedGrant>;

export const signerDetailsAnswer = signerAnswer.extend({
  grants: z.array(grantAnswer),
  tokens: z.array(tokenAnswer),
}) satisfies z.ZodType<SignerDetails>;

export const decisionAnswer = z.object({
  allowed: z.boolean(),
  grant: count.nullable(),
  missing: z.array(word<MissingHalf>()),
  message: z.string(),
}) satisfies z.ZodType<GrantDecision>;

export const withdrawnAnswer = z.object({
  path: z.string(),
  number: count,
  signatureSha256: sha256,
  withdrawnAt: date,
  withdrawnBy: z.string(),
  reason: z.string(),
  until: date.nullable(),
  auditSeq: count,
}) satisfies z.ZodType<Withdrawn>;

// it is printed as it is, so it must not control a terminal
export const createdTokenAnswer = z.object({
  token: z.string().regex(/^[\x21-\x7e]{1,1000}$/),
  expiresAt: date.nullable(),
});

export const treeCounts = z.object({
  images: count,
  signatures: count,
  problems: count,
}) satisfies z.ZodType<TreeCounts>;

export const fsckResult = treeCounts.extend({
  repaired: count,
  findings: z.array(
    z.object({
      site: z.string().default(DEFAULT_SITE), // a server that names none has one
      kind: word<ProblemKind>(),
      path: z.string(),
      count: z.exactOptional(count),
      upload: z.exactOptional(z.object({ sha256, uploader: z.string(), storedAt: date })),
      message: z.string(),
      repaired: z.boolean(),
    }),
  ),
  isCompared: z.boolean(),
}) satisfies z.ZodType<FsckResult>;

const imported = z.object({
  part: count,
  image: z.string(),
  number: count.nullable(),
  signatureSha256: sha256,
  auditSeq: count.nullable(),
});

const importResult = z.discriminatedUnion('result', [
  imported.extend({ result: z.literal('created'), state: word<State>() }),
  imported.extend({ result: z.literal('exists') }),
  z.object({ part: count, result: z.literal('refused'), code: errorCode, message: z.string() }),
]) satisfies z.ZodType<ImportResult>;

export const importAnswer = z.object({ results: z.array(importResult) });

const path = z.object({ prefix: z.string(), strip: z.string(), add: z.string() });
const syncCounts = z.object({ new: count, unchanged: count, missing: count, refused: count, failed: count });
const syncReport = z.object({ startedAt: date, finishedAt: date, counts: syncCounts });

export const mirrorAnswer = z.object({
  name: z.string(),
  upstreams: z.array(z.string()),
  layout: word<MirrorLayout>(),
  views: z.array(path),
  missing: z.array(count),
  redirects: z.array(z.string()),
  onDemand: z.array(z.string()).nullable(),
  onUpstreamFailure: z.enum(['503', '404']),
  maxAgeMs: count,
  ca: z.string().nullable(),
  certificate: z.string().nullable(),
  key: z.string().nullable(),
  credentials: z.string().nullable(),
  addedAt: date,
  images: count.nullable(),
  signatures: count.nullable(),
  walks: z.object({ set: count, empty: count }),
  faults: z.record(z.string(), count),
  lastFault: z.object({ at: date, upstream: z.string(), message: z.string() }).nullable(),
  restingMs: z.number(),
  lastSync: syncReport.nullable(),
}) satisfies z.ZodType<MirrorStatus>;

export const mirrorsAnswer = z.object({ mirrors: z.array(mirrorAnswer) });

export const syncProgress = z.object({ done: count, total: count }) satisfies z.ZodType<SyncProgress>;

export const syncAnswer = syncReport.extend({
  images: z.array(
    z.object({
      image: z.string(),
      result: word<SyncResult>(),
      signatures: count,
      added: count,
      message: z.string().nullable(),
    }),
  ),
}) satisfies z.ZodType<SyncAnswer>;
