// What an administrator asks of a running server, over the network with a token or through the socket of this machine.
import { z } from 'zod/v3';
import type { AccessRules } from '../domain/access-rules.ts';
import type {
  Administration,
  MirrorAdministration,
  SubjectAdministration,
} from '../domain/administration.ts';
import { durationText } from '../domain/duration.ts';
import { unknownGrant, unknownSigner } from '../domain/grant.ts';
import { DEFAULT_SITE } from '../domain/image.ts';
import { parseKeyName } from '../domain/key.ts';
import { MAX_BATCH_BYTES } from '../domain/limits.ts';
import { parseTarget } from '../domain/lookaside-path.ts';
import { parseMirrorName } from '../domain/mirror.ts';
import { unknownSubject } from '../domain/oidc.ts';
import { signaturePath, unknownSignaturePath } from '../domain/placement.ts';
import type { BatchPart, ImportOptions, ImportResult } from '../domain/receipt.ts';
import { unknownSession } from '../domain/session.ts';
import { isTokenName, unknownToken } from '../domain/token.ts';
import {
  aboutAnswer,
  accessPlanAnswer,
  accessRulesAnswer,
  addedGrantAnswer,
  addedSubjectAnswer,
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
  mirrorDetails,
  mirrorsAnswer,
  readAnswer,
  refreshedKeysAnswer,
  removedKeyAnswer,
  sessionAnswer,
  shownKeysAnswer,
  signerAnswer,
  signerDetailsAnswer,
  signersAnswer,
  strange,
  subjectAnswer,
  subjectsAnswer,
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
import { keyLifeOf } from './key-life.ts';
import { recordsOf } from './records.ts';
import type { SchemaOf } from './refusal.ts';
import { throwWithRemedy } from './remedy.ts';
import { work } from './work.ts';

export interface RemoteAdministration extends Administration {
  /** For people: the URL without user and password, or the socket's path. */
  readonly name: string;
  [Symbol.asyncDispose](): Promise<void>;
}

const CREATED = [201];

/**
 * Connects at the first request. Only then does it refuse a proxy of the environment that is not valid: CONFIG_INVALID. When a
 * failure may pass, the request is tried again. Requests to make a token or remove a key are not tried again once they may have
 * reached the server: the text of a token that was made would be lost.
 */
export function connectAdministration(options: AskerOptions): RemoteAdministration {
  const asker = connectAsker(options);
  const { name: server } = asker;

  async function ask<Schema extends SchemaOf<unknown>>(
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
      async list(expiringWithinMs = null) {
        const query = expiringWithinMs === null ? '' : `?expiring=${durationText(expiringWithinMs)}`;
        return (await ask(shownKeysAnswer, { method: 'GET', path: `/api/v1/keys${query}` })).keys;
      },
      async show(name) {
        const path = `/api/v1/keys/${parseKeyName(name)}`;
        return ask(exportedKeyAnswer, { method: 'GET', path, mayFindNothing: true });
      },
      add: async (untrusted) =>
        (await ask(keyResultsAnswer, bytesRequest('/api/v1/keys', untrusted))).results,
      async refresh(untrusted, names) {
        const query = new URLSearchParams();
        for (const name of names) query.append('key', parseKeyName(name));
        const request = bytesRequest(`/api/v1/keys/refresh?${query}`, untrusted);
        return ask(refreshedKeysAnswer, { ...request, mayFindNothing: true });
      },
      async export(names, reader) {
        const request = jsonRequest('/api/v1/keys/export', { names: names.map(parseKeyName), for: reader });
        return ask(keyFileAnswer, { ...request, mayFindNothing: true });
      },
      ...keyLifeOf(asker),
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
      sessions: async () => (await ask(tokensAnswer, { method: 'GET', path: '/api/v1/tokens' })).sessions,
      async endSession(id) {
        if (!Number.isSafeInteger(id) || id < 1) throw unknownSession(id);
        return ask(sessionAnswer, { method: 'DELETE', path: `/api/v1/sessions/${id}`, mayFindNothing: true });
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
    subjects: remoteSubjects(ask),
    rules: {
      export: () => ask(accessRulesAnswer, { method: 'GET', path: '/api/v1/access-rules' }),
      plan: (rules, options) =>
        ask(
          accessPlanAnswer,
          jsonRequest('/api/v1/access-rules/plan', { rules: sentRules(rules), ...options }),
        ),
      apply: (rules, options) =>
        ask(accessPlanAnswer, {
          ...jsonRequest('/api/v1/access-rules/apply', { rules: sentRules(rules), ...options }),
          ifUnanswered: MAY_BE_APPLIED,
        }),
    },
    mirrors: remoteMirrors(asker, ask),
    async withdraw({ path, sha256, reason, until }) {
      const query = new URLSearchParams({
        reason,
        ...(sha256 === undefined ? {} : { sha256 }),
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

type Ask = <Schema extends SchemaOf<unknown>>(
  schema: Schema,
  request: HttpRequest,
  wanted?: readonly number[],
) => Promise<z.output<Schema>>;

function remoteSubjects(ask: Ask): SubjectAdministration {
  return {
    async list(signer) {
      const query = signer === null ? '' : `?signer=${encodeURIComponent(signer)}`;
      const request: HttpRequest = { method: 'GET', path: `/api/v1/subjects${query}`, mayFindNothing: true };
      return (await ask(subjectsAnswer, request)).subjects;
    },
    async add(wanted) {
      const request = { ...jsonRequest('/api/v1/subjects', wanted), mayFindNothing: true };
      return ask(addedSubjectAnswer, request, [200, 201]);
    },
    async remove(id) {
      if (!Number.isSafeInteger(id) || id < 1) throw unknownSubject(id);
      const request: HttpRequest = { method: 'DELETE', path: `/api/v1/subjects/${id}`, mayFindNothing: true };
      return ask(subjectAnswer, { ...request, ifUnanswered: SUBJECT_MAY_BE_GONE });
    },
  };
}

const MAY_BE_APPLIED = 'it may have been applied all the same: run it again to see what is left';
const SUBJECT_MAY_BE_GONE = 'it may have been removed all the same: see lookaside signer oidc list';

function remoteMirrors(asker: Asker, ask: Ask): MirrorAdministration {
  const at = (name: string) => `/api/v1/mirrors/${parseMirrorName(name)}`;
  return {
    list: async () => (await ask(mirrorsAnswer, { method: 'GET', path: '/api/v1/mirrors' })).mirrors,
    show: (name) => ask(mirrorDetails, { method: 'GET', path: at(name), mayFindNothing: true }),
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
    async missed(name, since) {
      const path = `${at(name)}/missed?since=${encodeURIComponent(since.toISOString())}`;
      return (await ask(missedAnswer, { method: 'GET', path, mayFindNothing: true })).images;
    },
    async sync(name, { images, maxAgeMs, releases = [], wholeChannels = [], onProgress }) {
      const body = {
        images,
        maxAgeMs,
        // older servers know neither
        ...(releases.length === 0 ? {} : { releases }),
        ...(wholeChannels.length === 0 ? {} : { wholeChannels }),
      };
      const request = { ...jsonRequest(`${at(name)}/sync`, body), mayFindNothing: true };
      return work(asker, request, { result: syncAnswer, progress: syncProgress, onProgress });
    },
  };
}

const missedAnswer = z.object({ images: z.array(z.string()) });

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

/** Older servers know no `retired`, and refuse members that they do not know. */
export function sentRules({ keys, ...rules }: AccessRules): object {
  const sent = keys?.map(({ retired, ...key }) => (retired === null ? key : { ...key, retired }));
  return { ...rules, keys: sent ?? null };
}
