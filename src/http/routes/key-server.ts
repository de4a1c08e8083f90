// Public keys for clients: single ones, the keyring of a repository prefix, and what gpg and sq ask key servers.
import { createHash } from 'node:crypto';
import type { IncomingMessage } from 'node:http';
import { z } from 'zod';
import { LookasideError } from '../../domain/errors.ts';
import { indexText, searchKeys } from '../../domain/hkp.ts';
import { isWithheld, type RegisteredKey } from '../../domain/key.ts';
import { whyUnreadable } from '../../domain/key-readers.ts';
import { touchesPrefix } from '../../domain/pattern.ts';
import { isRepositoryPath } from '../../domain/reference.ts';
import { quoted } from '../../domain/text.ts';
import { expected, parseQuery } from '../parameters.ts';
import type { Reply } from '../reply.ts';
import { NO_BODY, type RouteRequest, type RouteSpec } from '../route.ts';
import type { Services } from '../services.ts';

/** As open as the signatures are. */
const read = { ...NO_BODY, methods: ['GET', 'HEAD'], roles: 'reader' } as const;

export const keyServer: readonly RouteSpec[] = [
  { ...read, name: 'key-file', path: '/keys/:file', route: keyFile },
  { ...read, name: 'keyring', path: '/keyrings/*file', route: keyring },
  { ...read, name: 'hkp', path: '/pks/lookup', route: lookup },
];

async function keyFile(services: Services, { req, params }: RouteRequest): Promise<Reply> {
  const { name, form } = namedFile(params.file ?? '', ['asc', 'gpg']);
  const key = await services.keys.find(name);
  if (isWithheld(key)) throw withheld(key.fingerprint);
  return form === 'asc' ? armored(services, req, [key]) : binary(req, [key]);
}

/** The keys that are granted for a repository below the prefix, or for the prefix as one; as podman and skopeo read them. */
async function keyring(services: Services, { req, params }: RouteRequest): Promise<Reply> {
  const { name: prefix, form } = namedFile(params.file ?? '', ['gpg', 'asc']);
  if (!isRepositoryPath(prefix)) throw noFile(`${prefix}.${form}`);
  const granted = new Set(
    (await services.signers.listGrants(null))
      .filter(({ repositories }) => repositories.some((pattern) => touchesPrefix(pattern, prefix)))
      .flatMap(({ fingerprints }) => fingerprints),
  );
  const keys = (await services.keys.list()).filter(
    (key) =>
      granted.has(key.fingerprint) &&
      !isWithheld(key) &&
      whyUnreadable(key, services.keys.warnings(key), 'gpg-2.2') === null,
  );
  if (keys.length === 0) {
    throw new LookasideError(
      'NOT_FOUND',
      `no registered key is granted for ${quoted(prefix)} or below; an administrator grants one with: lookaside grant add`,
    );
  }
  return form === 'asc' ? armored(services, req, keys) : binary(req, keys);
}

const hkpQuery = z.object({
  op: z.enum(['get', 'index', 'vindex'], expected('get, index or vindex')),
  search: z.string(expected('0x and a fingerprint or key ID, or a part of a user id')),
  options: z.string().optional(),
  exact: z.string().optional(),
  fingerprint: z.string().optional(),
});

async function lookup(services: Services, { req, query }: RouteRequest): Promise<Reply> {
  const { op, search, exact } = parseQuery(hkpQuery, query);
  const given = (await services.keys.list()).filter((key) => !isWithheld(key));
  const keys = searchKeys(given, search, exact === 'on');
  if (keys.length === 0) throw new LookasideError('NOT_FOUND', `no key is found for ${quoted(search)}`);
  if (op === 'get') return armored(services, req, keys);
  const text = indexText(keys, services.clock.now());
  return fileReply(req, Buffer.from(text), 'text/plain; charset=utf-8');
}

function armored({ keys }: Services, req: IncomingMessage, chosen: readonly RegisteredKey[]): Reply {
  return fileReply(req, Buffer.from(keys.armor(...chosen)), KEYS_TYPE);
}

function binary(req: IncomingMessage, chosen: readonly RegisteredKey[]): Reply {
  return fileReply(req, Buffer.concat(chosen.map(({ certificate }) => certificate)), KEYS_TYPE);
}

const KEYS_TYPE = 'application/pgp-keys';

function fileReply({ headers }: IncomingMessage, body: Buffer, type: string): Reply {
  const tag = `"${createHash('sha256').update(body).digest('hex')}"`;
  // a revocation must not wait for a cache
  const unchanged = { ETag: tag, 'Cache-Control': 'no-cache' };
  const sent = headers['if-none-match']?.split(',').map((one) => one.trim().replace(/^W\//, ''));
  if (sent?.some((one) => one === tag || one === '*') === true) {
    return { status: 304, headers: unchanged, body: null };
  }
  const about = { 'Content-Type': type, 'Content-Length': body.length, 'X-Content-Type-Options': 'nosniff' };
  return { status: 200, headers: { ...about, ...unchanged }, body };
}

function namedFile<Form extends string>(file: string, forms: readonly Form[]): { name: string; form: Form } {
  for (const form of forms) {
    if (file.endsWith(`.${form}`)) return { name: file.slice(0, -form.length - 1), form };
  }
  throw noFile(file);
}

function withheld(fingerprint: string): LookasideError {
  return new LookasideError(
    'NOT_FOUND',
    `the key ${fingerprint} is not given out: an administrator revoked it, and its certificate does not say so`,
  );
}

function noFile(file: string): LookasideError {
  return new LookasideError(
    'NOT_FOUND',
    `${quoted(file)} is not a file of keys; wanted /keys/FINGERPRINT.asc or .gpg, or /keyrings/PREFIX.gpg with a repository prefix like team`,
  );
}
