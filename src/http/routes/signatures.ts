// Questions about what is stored: one image, all by filter, and which of many blobs are missing.
import { z } from 'zod';
import { LookasideError } from '../../domain/errors.ts';
import {
  DEFAULT_SITE,
  isNamespaceFolder,
  parseDigest,
  parseImageName,
  whyNameTooLong,
} from '../../domain/image.ts';
import { isKeyName, parseKeyName } from '../../domain/key.ts';
import {
  DEFAULT_PAGE_ROWS,
  MAX_MISSING_ASKED,
  MAX_MISSING_BYTES,
  MAX_PAGE_ROWS,
} from '../../domain/limits.ts';
import { ROLES } from '../../domain/ports.ts';
import { isTag } from '../../domain/reference.ts';
import { STATES } from '../../domain/state.ts';
import { quoted } from '../../domain/text.ts';
import type { AskedSignature, SignatureQuery } from '../../service/signatures.ts';
import { expected, parseBody, parseQuery } from '../parameters.ts';
import { jsonReply, type Reply } from '../reply.ts';
import { NO_BODY, type RouteRequest, type RouteSpec } from '../route.ts';
import type { Services } from '../services.ts';

const question = { ...NO_BODY, methods: ['GET', 'HEAD'], roles: ROLES } as const;

export const signatures: readonly RouteSpec[] = [
  { ...question, name: 'image', path: '/api/v1/images/*image', route: showImage },
  { ...question, name: 'signatures', path: '/api/v1/signatures', route: findSignatures },
  { ...question, name: 'withdrawals', path: '/api/v1/withdrawals', route: listWithdrawn },
  {
    name: 'missing-signatures',
    waits: 'long',
    path: '/api/v1/signatures/missing',
    methods: ['POST'],
    roles: ['admin', 'uploader'],
    body: 'json',
    bodyBytes: MAX_MISSING_BYTES,
    bodyMs: 30_000,
    route: findMissing,
  },
];

const IMAGE_FORM =
  'repository@sha256:<64 hex digits>, or folder/sha256:<64 hex digits> of the release layout';

async function showImage(services: Services, { params, query }: RouteRequest): Promise<Reply> {
  const { site = DEFAULT_SITE } = parseQuery(imageParameters, query);
  requireSite(services, site);
  const name = params.image ?? '';
  const image = parseImageName(site, name);
  if (image === null) {
    const why = whyNameTooLong(name) ?? `${quoted(name)} is not an image, expected ${IMAGE_FORM}`;
    throw new LookasideError('PATH_INVALID', why);
  }
  const signatures = await services.signatures.ofImage(image);
  const withdrawn = await services.withdrawals.ofImage(image);
  const mirror = await services.mirrors.ofImage(image);
  if (signatures.length + withdrawn.length + (mirror?.leftOut.length ?? 0) === 0)
    throw new LookasideError('NOT_FOUND', `no signature is stored for ${name}`);
  // whoever asks again a moment later gets its verdict
  void services.judge.prefer(image);
  return jsonReply(200, { image: name, signatures, withdrawn, mirror });
}

async function findSignatures(services: Services, { query }: RouteRequest): Promise<Reply> {
  const asked = toQuery(parseQuery(searchParameters, query));
  if (asked.site !== null) requireSite(services, asked.site);
  return jsonReply(200, await services.signatures.search(asked));
}

async function listWithdrawn(services: Services, { query }: RouteRequest): Promise<Reply> {
  const asked = parseQuery(withdrawnParameters, query);
  const { site = null, repository: path = null, digest = null, by = null, since = null } = asked;
  const { limit = DEFAULT_PAGE_ROWS, cursor = null } = asked;
  if (site !== null) requireSite(services, site);
  const question = { site, filter: { path, digest, by, since }, limit, cursor };
  return jsonReply(200, await services.withdrawals.list(question));
}

async function findMissing(services: Services, { body }: RouteRequest): Promise<Reply> {
  const asked = parseBody(missingRequest, body).signatures.map(({ image, sha256 }, position) => {
    return { image: imageAt(DEFAULT_SITE, image, position), sha256 };
  });
  return jsonReply(200, { missing: await services.signatures.missing(asked) });
}

/** @throws LookasideError NOT_FOUND */
function requireSite({ places }: Services, wanted: string): void {
  const names = new Set(places().map(({ name }) => name));
  if (names.has(wanted)) return;
  const known = [...names].join(', ');
  throw new LookasideError(
    'NOT_FOUND',
    `this server has no site ${quoted(wanted)}, expected one of: ${known}`,
  );
}

const site = z.string().min(1, expected("a site's name")).optional();

const imageParameters = z.strictObject({ site });

const time = z
  .union(
    [z.iso.datetime({ offset: true }), z.iso.date()],
    expected('a time like 2026-11-22T10:00:00Z, or a date, with + as %2B'),
  )
  .transform((text) => new Date(text));

const searchParameters = z.strictObject({
  repository: z
    .string()
    .refine(isNamespaceFolder, expected("a repository path without the registry's host, like team/app"))
    .optional(),
  digest: z
    .string()
    .refine((text) => parseDigest(text) !== null, expected('sha256:<64 lower-case hex digits>'))
    .transform(parseDigest)
    .optional(),
  fingerprint: z
    .string()
    .refine(isKeyName, expected('the 40 hex digits of a primary key, or the 16 of its key ID'))
    .transform(parseKeyName)
    .optional(),
  tag: z.string().refine(isTag, expected('a tag like v1.2')).optional(),
  uploader: z.string().min(1, expected("a token's name, or administrator")).optional(),
  state: z
    .enum(STATES, expected(`${STATES.join(', ')}; /api/v1/withdrawals has those that are withdrawn`))
    .optional(),
  since: time.optional(),
  until: time.optional(),
  order: z.enum(['newest', 'oldest'], expected('newest or oldest')).optional(),
  limit: z
    .string()
    .refine(isPageLength, expected(`1 to ${MAX_PAGE_ROWS}`))
    .transform(Number)
    .optional(),
  cursor: z.string().optional(),
  site,
});

const withdrawnParameters = searchParameters
  .pick({ repository: true, digest: true, since: true, limit: true, cursor: true, site: true })
  .extend({ by: z.string().min(1, expected("a token's name, or administrator")).optional() })
  .strict();

function isPageLength(text: string): boolean {
  return /^[0-9]+$/.test(text) && Number(text) >= 1 && Number(text) <= MAX_PAGE_ROWS;
}

function toQuery(parameters: z.infer<typeof searchParameters>): SignatureQuery {
  const {
    site = null,
    repository: path = null,
    digest = null,
    fingerprint = null,
    since = null,
  } = parameters;
  const { until = null, tag = null, uploader = null, state = null, cursor = null } = parameters;
  const { order = 'newest', limit = DEFAULT_PAGE_ROWS } = parameters;
  return {
    site,
    filter: { path, digest, fingerprint, tag, since, until },
    uploader,
    state,
    order,
    limit,
    cursor,
  };
}

const askedSignature = z.strictObject(
  {
    image: z.string(expected('a string')),
    sha256: z.string(expected('a string')).regex(/^[0-9a-f]{64}$/, expected('64 lower-case hex digits')),
  },
  expected('an object'),
);

const missingRequest = z.strictObject(
  {
    signatures: z
      .array(askedSignature, expected('an array'))
      .max(MAX_MISSING_ASKED, expected(`at most ${MAX_MISSING_ASKED}`)),
  },
  expected('{"signatures":[{"image","sha256"}]}'),
);

function imageAt(site: string, name: string, position: number): AskedSignature['image'] {
  const image = parseImageName(site, name);
  if (image !== null) return image;
  const tooLong = whyNameTooLong(name);
  throw new LookasideError(
    'REQUEST_INVALID',
    tooLong === null
      ? `signatures.${position}.image is ${quoted(name)}, expected ${IMAGE_FORM}`
      : `signatures.${position}.image: ${tooLong}`,
  );
}
