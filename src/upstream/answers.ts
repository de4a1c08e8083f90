// The answers of a lookaside server, checked against what this version knows of them. Unknown members are ignored.
import { z } from 'zod/v3';
import type { AccessPlan, AccessRules } from '../domain/access-rules.ts';
import type { AboutTree } from '../domain/administration.ts';
import { LookasideError } from '../domain/errors.ts';
import type { AddedGrant, GrantDecision, MissingHalf, Signer } from '../domain/grant.ts';
import { DEFAULT_SITE } from '../domain/image.ts';
import type {
  ExportedKey,
  KeyResult,
  KeyState,
  KeyUse,
  KeyWarning,
  RefreshedKeys,
  RemovedKey,
  ShownKey,
} from '../domain/key.ts';
import type { KeyFile } from '../domain/key-readers.ts';
import type {
  MirrorDetails,
  MirroredImage,
  MirrorStatus,
  SyncAnswer,
  SyncProgress,
  SyncResult,
} from '../domain/mirror.ts';
import type { MirrorLayout } from '../domain/mirror-presets.ts';
import type { OidcSubject } from '../domain/oidc.ts';
import type { Role } from '../domain/ports.ts';
import type { BatchResult, ImportResult, WarningCode } from '../domain/receipt.ts';
import type { ShownSession } from '../domain/session.ts';
import type { SignatureReaderName } from '../domain/signature-readers.ts';
import type { SignerDetails } from '../domain/signer.ts';
import type { State } from '../domain/state.ts';
import type { StoredSignature } from '../domain/stored-signature.ts';
import type { ShownToken, TokenState } from '../domain/token.ts';
import type { Withdrawn } from '../domain/tombstone.ts';
import type { ProblemKind } from '../domain/tree.ts';
import type { FsckResult, TreeCounts } from '../domain/upkeep.ts';
import type { SignatureForm } from '../domain/verdict.ts';
import { detail, errorCode, type SchemaOf } from './refusal.ts';

/** The answer in its type. @throws LookasideError SERVER_UNREACHABLE when it does not fit; the message names `server` */
export function readAnswer<Schema extends SchemaOf<unknown>>(
  schema: Schema,
  { server, body }: { readonly server: string; readonly body: Buffer },
): z.output<Schema> {
  return readValue(schema, { server, value: parseJson(body) });
}

/** As readAnswer(), for a value that is already parsed. */
export function readValue<Schema extends SchemaOf<unknown>>(
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

export const date = z
  .string()
  .datetime({ offset: true })
  .transform((text) => new Date(text));
export const count = z.number().int().nonnegative();
const digest = z.string().regex(/^sha(?:256|384|512):[0-9a-f]+$/);
export const sha256 = z.string().regex(/^[0-9a-f]{64}$/);
export const fingerprint = z.string().regex(/^[0-9A-F]{40,64}$/);

/** A word of one of our closed sets, in its type. A newer server may send others: we show them and never switch over them. */
export function word<Word extends string>() {
  return z.custom<Word>((value) => typeof value === 'string' && /^[A-Za-z][A-Za-z0-9_-]{0,63}$/.test(value));
}

export const missingAnswer = z.object({ missing: z.array(count) });

const warnings = z.array(z.object({ code: word<WarningCode>(), message: z.string() }));

const readerDifference = z.object({
  reader: word<SignatureReaderName>(),
  accepts: z.boolean().nullable(),
  because: z.string(),
});

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
  readers: z.array(readerDifference).default([]), // a server before 1.0 does not tell
}) satisfies SchemaOf<StoredSignature>;

const leftOut = z.array(z.object({ sha256: z.string(), code: z.string() }));

const mirroredImage = z.object({
  upstream: z.string().nullable(),
  checkedAt: date,
  syncedAt: date.nullable(),
  servedAs: z.array(z.string()).default([]), // a server before 1.0 does not tell
  goneUpstream: z.array(z.string()),
  leftOut,
}) satisfies SchemaOf<MirroredImage>;

/** Older servers tell nothing of mirrors. */
export const withdrawnAnswer = z.object({
  path: z.string(),
  number: count,
  signatureSha256: sha256,
  withdrawnAt: date,
  withdrawnBy: z.string(),
  reason: z.string(),
  until: date.nullable(),
  auditSeq: count,
}) satisfies SchemaOf<Withdrawn>;

export const withdrawalsAnswer = z.object({
  withdrawn: z.array(withdrawnAnswer.extend({ site: z.string(), image: z.string() })),
  next: z.string().nullable(),
});

export const imageAnswer = z.object({
  signatures: z.array(storedSignature),
  withdrawn: z.array(withdrawnAnswer).default([]),
  mirror: mirroredImage.nullable().default(null),
});

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
  keys: z.array(
    z.object({
      fingerprint,
      userIds: z.array(z.string()),
      revocation: z.object({ isInCertificate: z.boolean() }).nullable().default(null),
    }),
  ),
});

export const keyAnswer = z.object({ armored: z.string() });

export const aboutAnswer = z.object({
  root: z.string(),
  tree: z.enum(['owned', 'shared']),
}) satisfies SchemaOf<AboutTree>;

const keyPart = z.object({
  fingerprint,
  algorithm: z.string(),
  state: word<KeyState>(),
  canSign: z.boolean(),
  createdAt: date,
  expiresAt: date.nullable(),
  revokedAt: date.nullable(),
});

export const shownKey = keyPart.extend({
  userIds: z.array(z.string()),
  subkeys: z.array(keyPart),
  addedAt: date,
  // older servers retire no keys
  retiredAt: date.nullable().default(null),
  // older servers revoke none
  revocation: z
    .object({
      at: date,
      by: z.string(),
      reason: z.string(),
      auditSeq: count,
      withdraws: z.boolean(),
      isInCertificate: z.boolean(),
    })
    .nullable()
    .default(null),
  changedAt: date,
}) satisfies SchemaOf<ShownKey>;

export const shownKeysAnswer = z.object({ keys: z.array(shownKey) });

const keyWarnings = z.array(z.object({ code: word<KeyWarning['code']>(), message: z.string() }));

const keyPartUse = z.object({
  fingerprint,
  uses: z.array(word<KeyUse>()),
  revocationReason: z.string().nullable(),
});

export const partSignaturesAnswer = z.object({
  parts: z.array(z.object({ fingerprint, signatures: count })),
});

export const exportedKeyAnswer = shownKey.extend({
  // older servers tell neither
  addedBy: z.string().nullable().default(null),
  parts: z.array(keyPartUse).default([]),
  warnings: keyWarnings,
  armored: z.string(),
}) satisfies SchemaOf<ExportedKey>;

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
]) satisfies SchemaOf<KeyResult>;

export const keyResultsAnswer = z.object({ results: z.array(keyResult) });

export const refreshedKeysAnswer = z.object({
  results: z.array(keyResult),
  ignored: count,
}) satisfies SchemaOf<RefreshedKeys>;

export const removedKeyAnswer = z.object({
  fingerprint,
  userIds: z.array(z.string()),
  signatures: count.nullable(),
}) satisfies SchemaOf<RemovedKey>;

export const keyFileAnswer = z.object({
  armored: z.string().nullable(),
  leftOut: z.array(z.object({ fingerprint, reason: z.string() })),
}) satisfies SchemaOf<KeyFile>;

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
}) satisfies SchemaOf<ShownToken>;

export const sessionAnswer = z.object({
  id: count,
  token: z.string(),
  role: word<Role>(),
  shownName: z.string().nullable(),
  createdAt: date,
  expiresAt: date,
}) satisfies SchemaOf<ShownSession>;

export const tokensAnswer = z.object({
  tokens: z.array(tokenAnswer),
  sessions: z.array(sessionAnswer).default([]), // an older server does not tell
});

export const signerAnswer = z.object({
  name: z.string(),
  description: z.string(),
  createdAt: date,
  disabledAt: date.nullable(),
}) satisfies SchemaOf<Signer>;

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

export const addedGrantAnswer = grantAnswer.extend({ created: z.boolean() }) satisfies SchemaOf<AddedGrant>;

export const subjectAnswer = z.object({
  id: count,
  signer: z.string(),
  issuer: z.string(),
  claims: z.record(z.string(), z.string()),
  createdAt: date,
}) satisfies SchemaOf<OidcSubject>;

const claims = z.record(z.string(), z.string());
const lists = {
  repositories: z.array(z.string()),
  fingerprints: z.array(fingerprint),
  tags: z.array(z.string()),
};

export const accessRulesAnswer = z.object({
  keys: z
    .array(
      z.object({
        fingerprint,
        certificate: z.string().nullable(),
        retired: z.boolean().nullable().default(null),
      }),
    )
    .nullable(),
  signers: z
    .array(
      z.object({
        name: z.string(),
        description: z.string().nullable(),
        disabled: z.boolean().nullable(),
        oidc: z.array(z.object({ issuer: z.string(), claims })).nullable(),
        grants: z.array(z.object(lists)).nullable(),
      }),
    )
    .nullable(),
  tokens: z
    .array(z.object({ name: z.string(), role: word<Role>(), signer: z.string().nullable() }))
    .nullable(),
}) satisfies SchemaOf<AccessRules>;

const ofSigner = { signer: z.string() };
const accessChange = z.union([
  z.object({
    kind: z.enum(['add-key', 'update-key', 'remove-key', 'retire-key', 'unretire-key']),
    fingerprint,
  }),
  z.object({ kind: z.enum(['add-signer', 'describe-signer']), ...ofSigner, description: z.string() }),
  z.object({ kind: z.enum(['disable-signer', 'enable-signer', 'remove-signer']), ...ofSigner }),
  z.object({ kind: z.literal('add-grant'), ...ofSigner, ...lists }),
  z.object({ kind: z.literal('remove-grant'), ...ofSigner, id: count, ...lists }),
  z.object({ kind: z.literal('add-subject'), ...ofSigner, issuer: z.string(), claims }),
  z.object({ kind: z.literal('remove-subject'), ...ofSigner, id: count, issuer: z.string(), claims }),
  z.object({ kind: z.literal('revoke-token'), token: z.string() }),
]);

export const accessPlanAnswer = z.object({
  id: sha256,
  changes: z.array(accessChange),
  left: z.array(z.string()),
  todo: z.array(z.string()),
}) satisfies SchemaOf<AccessPlan>;

export const subjectsAnswer = z.object({ subjects: z.array(subjectAnswer) });

export const addedSubjectAnswer = subjectAnswer.extend({ created: z.boolean() });

export const signerDetailsAnswer = signerAnswer.extend({
  grants: z.array(grantAnswer),
  subjects: z.array(subjectAnswer).default([]), // an older server has none
  tokens: z.array(tokenAnswer),
}) satisfies SchemaOf<SignerDetails>;

export const decisionAnswer = z.object({
  allowed: z.boolean(),
  grant: count.nullable(),
  missing: z.array(word<MissingHalf>()),
  message: z.string(),
}) satisfies SchemaOf<GrantDecision>;

// it is printed as it is, so it must not control a terminal
export const createdTokenAnswer = z.object({
  token: z.string().regex(/^[\x21-\x7e]{1,1000}$/),
  expiresAt: date.nullable(),
});

export const treeCounts = z.object({
  images: count,
  signatures: count,
  problems: count,
}) satisfies SchemaOf<TreeCounts>;

export const fsckResult = treeCounts.extend({
  repaired: count,
  findings: z.array(
    z.object({
      site: z.string().default(DEFAULT_SITE), // a server that names none has one
      kind: word<ProblemKind>(),
      path: z.string(),
      count: count.optional(),
      upload: z.object({ sha256, uploader: z.string(), storedAt: date }).optional(),
      message: z.string(),
      repaired: z.boolean(),
    }),
  ),
  isCompared: z.boolean(),
}) satisfies SchemaOf<FsckResult>;

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
]) satisfies SchemaOf<ImportResult>;

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
  maxBytes: count.nullable().default(null), // older servers have no such setting
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
  lastAnswerAt: date.nullable().default(null), // older servers do not tell
  restingMs: z.number(),
  lastSync: syncReport.nullable(),
  completeAt: date.nullable(),
  goneUpstream: count,
  leftOut: count,
  unstored: count.default(0), // older servers do not tell
}) satisfies SchemaOf<MirrorStatus>;

export const mirrorDetails = mirrorAnswer.extend({
  noted: z.array(z.object({ image: z.string(), goneUpstream: z.array(z.string()), leftOut })),
}) satisfies SchemaOf<MirrorDetails>;

export const mirrorsAnswer = z.object({ mirrors: z.array(mirrorAnswer) });

export const syncProgress = z.object({ done: count, total: count }) satisfies SchemaOf<SyncProgress>;

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
  unrecorded: z.string().nullable().default(null), // older servers fail instead
}) satisfies SchemaOf<SyncAnswer>;
