// What an administrator asks of a running server, over the network with a token or through the socket of this machine.
import { z } from 'zod';
import type { Administration, MirrorAdministration } from '../domain/administration.ts';
import { unknownGrant, unknownSigner } from '../domain/grant.ts';
import { DEFAULT_SITE } from '../domain/image.ts';
import { parseKeyName } from '../domain/key.ts';
import { MAX_BATCH_BYTES } from '../domain/limits.ts';
import { parseTarget } from '../domain/lookaside-path.ts';
import { parseMirrorName } from '../domain/mirror.ts';
import { signaturePath, unknownSignaturePath } from '../domain/placement.ts';
import type { BatchPart, ImportOptions, ImportResult } from '../domain/receipt.ts';
import { isTokenName, unknownToken } from '../domain/token.ts';
import {
  aboutAnswer,
  addedGrantAnswer,
  createdTokenAnswer,
  decisionAnswer,
  exportedKeyAnswer,
  fsckResult,
  grantAnswer,
  grantsAnswer,
  importAnswer,
  keyFileAnswer,
  keyResultsAnswer,
  mirrorAnswer,
  mirrorsAnswer,
  readAnswer,
  readValue,
  removedKeyAnswer,
  shownKeysAnswer,
  signerAnswer,
  signerDetailsAnswer,
  signersAnswer,
  strange,
  syncAnswer,
  syncProgress,
  tokenAnswer,
  tokensAnswer,
  treeCounts,
  withdrawnAnswer,
} from './answers.ts';
import { type Asker, type AskerOptions, connectAsker, jsonRequest } from './asker.ts';
import type { HttpRequest } from './connection.ts';
import { writeForm } from './form.ts';
import { recordsOf } from './records.ts';
import { readRefusal } from './refusal.ts';
import { throwWithRemedy } from './remedy.ts';

export interface RemoteAdministration extends Administration {
  /** For people: the URL without user and password, or the socket's path. */
  readonly name: string;
  [Symbol.asyncDispose](): Promise<void>;
}

const CREATED = [201];

/**
 * Connects at the first request. Only then does it refuse a proxy of the environment that is not valid: CONFIG_INVALID. When a
 * failure may pass, the request is tried again. The making of a token and the removal of a key are not, once they may have
 * reached the server: the text of a token that was made would be lost.
 */
export function connectAdministration(options: AskerOptions): RemoteAdministration {
  const asker = connectAsker(options);
  const { name: server } = asker;

  async function ask<Schema extends z.ZodType>(
    schema: Schema,
    request: HttpRequest,
    wanted?: readonly number[],
  ): Promise<z.output<Schema>> {
    const { body } = await asker.ask(request, wanted).catch(throwWithRemedy);
    return readAnswer(schema, { server, body });
  }

  return {
    name: server,
    about: () => ask(aboutAnswer, { method: 'GET', path: '/api/v1/server' }),
    keys: {
      list: async () => (await ask(shownKeysAnswer, { method: 'GET', path: '/api/v1/keys' })).keys,
      async show(name) {
        const path = `/api/v1/keys/${parseKeyName(name)}`;
        return ask(exportedKeyAnswer, { method: 'GET', path, mayFindNothing: true });
      },
      add: async (untrusted) =>
        (await ask(keyResultsAnswer, bytesRequest('/api/v1/keys', untrusted))).results,
      async export(names, reader) {
        const request = jsonRequest('/api/v1/keys/export', { names: names.map(parseKeyName), for: reader });
        return ask(keyFileAnswer, { ...request, mayFindNothing: true });
      },
      async remove(name) {
        const path = `/api/v1/keys/${parseKeyName(name)}`;
        const request: HttpRequest = { method: 'DELETE', path, mayFindNothing: true };
        return ask(removedKeyAnswer, { ...request, ifUnanswered: MAY_BE_REMOVED });
      },
    },
    tokens: {
      list: async () => (await ask(tokensAnswer, { method: 'GET', path: '/api/v1/tokens' })).tokens,
      async create({ name, role, lifeMs, signer = null }) {
        const wanted = {
          name,
          role,
          ...(lifeMs === null ? {} : { lifeMs }),
          ...(signer === null ? {} : { signer }),
        };
        const request = {
          ...jsonRequest('/api/v1/tokens', wanted),
          mayFindNothing: signer !== null,
          ifUnanswered: MAY_BE_MADE,
        };
        const { token, expiresAt } = await ask(createdTokenAnswer, request, CREATED);
        return { text: token, expiresAt };
      },
      async revoke(name) {
        if (!isTokenName(name)) throw unknownToken(name);
        return ask(tokenAnswer, { method: 'DELETE', path: `/api/v1/tokens/${name}`, mayFindNothing: true });
      },
    },
    records: recordsOf(asker),
    signers: {
      list: async () => (await ask(signersAnswer, { method: 'GET', path: '/api/v1/signers' })).signers,
      show: async (name) =>
        ask(signerDetailsAnswer, { method: 'GET', path: signerPath(name), mayFindNothing: true }),
      async add(wanted) {
        const request = { ...jsonRequest('/api/v1/signers', wanted), ifUnanswered: MAY_BE_ADDED };
        return ask(signerAnswer, request, CREATED);
      },
      disable: async (name) => ask(signerAnswer, postTo(`${signerPath(name)}/disable`)),
      enable: async (name) => ask(signerAnswer, postTo(`${signerPath(name)}/enable`)),
      async remove(name) {
        const request: HttpRequest = { method: 'DELETE', path: signerPath(name), mayFindNothing: true };
        return ask(signerDetailsAnswer, { ...request, ifUnanswered: MAY_BE_GONE });
      },
    },
    grants: {
      async list(signer) {
        const query = signer === null ? '' : `?signer=${encodeURIComponent(signer)}`;
        const request: HttpRequest = { method: 'GET', path: `/api/v1/grants${query}`, mayFindNothing: true };
        return (await ask(grantsAnswer, request)).grants;
      },
      async add(wanted) {
        const request = { ...jsonRequest('/api/v1/grants', wanted), mayFindNothing: true };
        return ask(addedGrantAnswer, request, [200, 201]);
      },
      async remove(id) {
        if (!Number.isSafeInteger(id) || id < 1) throw unknownGrant(id);
        const request: HttpRequest = { method: 'DELETE', path: `/api/v1/grants/${id}`, mayFindNothing: true };
        return ask(grantAnswer, { ...request, ifUnanswered: MAY_BE_GONE });
      },
      test: async (question) =>
        ask(decisionAnswer, { ...jsonRequest('/api/v1/grants/test', question), mayFindNothing: true }),
    },
    mirrors: remoteMirrors(asker, ask),
    async withdraw({ path, reason, until }) {
      const query = new URLSearchParams({
        reason,
        ...(until === null ? {} : { until: until.toISOString() }),
      });
      const at = `${signatureAt(path)}?${query}`;
      return ask(withdrawnAnswer, {
        method: 'DELETE',
        path: at,
        mayFindNothing: true,
        ifUnanswered: MAY_BE_WITHDRAWN,
      });
    },
    fsck: ({ repair, onProgress }) =>
      work(asker, jsonRequest('/api/v1/fsck', { repair }), {
        result: fsckResult,
        progress: treeCounts,
        onProgress,
      }),
    reindex: ({ acceptDamage, onProgress }) =>
      work(asker, jsonRequest('/api/v1/reindex', { acceptDamage }), {
        result: treeCounts,
        progress: treeCounts,
        onProgress,
      }),
    importBatch: (parts, importOptions) => importBatch(asker, parts, importOptions),
    [Symbol.asyncDispose]: () => asker[Symbol.asyncDispose](),
  };
}

const MAY_BE_MADE =
  'the token may have been made all the same, and its text is lost: see lookaside token list, revoke it, and make one under another name';

const MAY_BE_WITHDRAWN = 'it may have been withdrawn all the same: lookaside show says what the server has';

/** As it stands in a target. @throws LookasideError PATH_INVALID */
function signatureAt(path: string): string {
  const target = parseTarget(DEFAULT_SITE, '', `/${path.replace(/^\/+/, '')}`);
  if (target.kind === 'signature' && target.number !== null)
    return signaturePath(target.image, target.number);
  throw unknownSignaturePath(path);
}

const MAY_BE_ADDED = 'it may have been added all the same: see lookaside signer list';

/** A second try would say that there is none. */
const MAY_BE_GONE =
  'it may have been removed all the same: see lookaside signer list and lookaside grant list';

/** @throws LookasideError NOT_FOUND for what can be no name */
function signerPath(name: string): string {
  if (!isTokenName(name)) throw unknownSigner(name);
  return `/api/v1/signers/${name}`;
}

function postTo(path: string): HttpRequest {
  return { method: 'POST', path, mayFindNothing: true };
}

/** A second try would say that there is no such key. */
const MAY_BE_REMOVED = 'the key may have been removed all the same: see lookaside key list';

interface Work<Result extends z.ZodType, Progress extends z.ZodType> {
  readonly result: Result;
  readonly progress: Progress;
  readonly onProgress: ((progress: z.output<Progress>) => void) | undefined;
}

/** The result, which the last line of the answer holds; the lines before it are progress. */
async function work<Result extends z.ZodType, Progress extends z.ZodType>(
  asker: Asker,
  request: HttpRequest,
  { result, progress, onProgress }: Work<Result, Progress>,
): Promise<z.output<Result>> {
  const { name: server } = asker;
  const workLine = z.record(z.string(), z.unknown());
  try {
    for await (const value of asker.follow({ ...request, isLong: true })) {
      const refusal = readRefusal(value);
      if (refusal !== null) throw refusal;
      const line = readValue(workLine, { server, value });
      if ('result' in line) return readValue(result, { server, value: line.result });
      if ('progress' in line) onProgress?.(readValue(progress, { server, value: line.progress }));
      else throw strange(server, 'a line without progress and result');
    }
  } catch (error) {
    return throwWithRemedy(error);
  }
  throw strange(server, 'the answer ended without a result');
}

type Ask = <Schema extends z.ZodType>(
  schema: Schema,
  request: HttpRequest,
  wanted?: readonly number[],
) => Promise<z.output<Schema>>;

function remoteMirrors(asker: Asker, ask: Ask): MirrorAdministration {
  const at = (name: string) => `/api/v1/mirrors/${parseMirrorName(name)}`;
  return {
    list: async () => (await ask(mirrorsAnswer, { method: 'GET', path: '/api/v1/mirrors' })).mirrors,
    show: (name) => ask(mirrorAnswer, { method: 'GET', path: at(name), mayFindNothing: true }),
    add: (name, settings) =>
      ask(
        mirrorAnswer,
        { ...jsonRequest('/api/v1/mirrors', { name, settings }), ifUnanswered: MIRROR_MAY_BE_ADDED },
        CREATED,
      ),
    edit: (name, changes) =>
      ask(mirrorAnswer, { ...jsonRequest(at(name), { changes }), mayFindNothing: true }),
    async remove(name) {
      const request: HttpRequest = { method: 'DELETE', path: at(name), mayFindNothing: true };
      await ask(z.object({ name: z.string() }), { ...request, ifUnanswered: MIRROR_MAY_BE_GONE });
    },
    async sync(name, { images, maxAgeMs, onProgress }) {
      const request = { ...jsonRequest(`${at(name)}/sync`, { images, maxAgeMs }), mayFindNothing: true };
      return work(asker, request, { result: syncAnswer, progress: syncProgress, onProgress });
    },
  };
}

const MIRROR_MAY_BE_ADDED = 'the mirror may have been added all the same: see lookaside mirror list';
const MIRROR_MAY_BE_GONE = 'the mirror may have been removed all the same: see lookaside mirror list';

async function importBatch(
  asker: Asker,
  parts: readonly BatchPart[],
  options: ImportOptions,
): Promise<readonly ImportResult[]> {
  const { contentType, body } = writeForm(parts);
  if (body.length > MAX_BATCH_BYTES && parts.length > 1) return importHalves(asker, parts, options);
  const path = `/api/v1/import${options.dryRun ? '?dryRun=1' : ''}`;
  const answer = await asker.ask({ method: 'POST', path, contentType, body }).catch(throwWithRemedy);
  const { results } = readAnswer(importAnswer, { server: asker.name, body: answer.body });
  if (results.length === parts.length && results.every(({ part }, i) => part === i)) return results;
  throw strange(
    asker.name,
    `results: ${results.length}, or in another order, for ${parts.length} signatures`,
  );
}

/** For parts that fit although their form does not: the server limits the form. */
async function importHalves(
  asker: Asker,
  parts: readonly BatchPart[],
  options: ImportOptions,
): Promise<readonly ImportResult[]> {
  const half = Math.ceil(parts.length / 2);
  const first = await importBatch(asker, parts.slice(0, half), options);
  const second = await importBatch(asker, parts.slice(half), options);
  return [...first, ...second.map((result) => ({ ...result, part: result.part + half }))];
}

function bytesRequest(path: string, bytes: Uint8Array): HttpRequest {
  return { method: 'POST', path, contentType: 'application/octet-stream', body: Buffer.from(bytes) };
}
