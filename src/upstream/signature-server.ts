// A remote signature server, asked over HTTP. Every request may be sent twice: uploading the same bytes again changes nothing.
import type { z } from 'zod/v3';
import { forEachConcurrently } from '../domain/concurrency.ts';
import { isLookasideError } from '../domain/errors.ts';
import { DEFAULT_SITE, type ImageId, imageName } from '../domain/image.ts';
import { MAX_BATCH_BYTES, MAX_PAGE_ROWS } from '../domain/limits.ts';
import { signaturePath } from '../domain/placement.ts';
import type { BatchPart, BatchResult } from '../domain/receipt.ts';
import type {
  AskedBlob,
  ImageNotes,
  KeyNames,
  RemoteFilter,
  SendOptions,
  ServedSignatures,
  SignatureServer,
  WithdrawnList,
} from '../domain/remote.ts';
import type { StoredSignature } from '../domain/stored-signature.ts';
import type { ListedWithdrawal } from '../domain/tombstone.ts';
import {
  batchAnswer,
  imageAnswer,
  keyAnswer,
  keysAnswer,
  missingAnswer,
  readAnswer,
  searchAnswer,
  strange,
  withdrawalsAnswer,
} from './answers.ts';
import { type AskerOptions, connectAsker, jsonRequest } from './asker.ts';
import { writeForm } from './form.ts';

/** A lookaside answers with a plain 404 when it does not have the number. */
const FOUND_OR_NOT = [200, 404];

const KEYS_AT_ONCE = 8;
const MAX_RESTARTS = 3;

/** Connects at the first request. Only then does it refuse a proxy of the environment that is not valid: CONFIG_INVALID. */
export function connectSignatureServer(
  options: AskerOptions,
): SignatureServer & KeyNames & ServedSignatures & ImageNotes & WithdrawnList {
  const asker = connectAsker(options);
  const { name: server, ask } = asker;

  async function missing(asked: readonly AskedBlob[]): Promise<readonly number[]> {
    const signatures = asked.map(({ image, sha256 }) => ({ image: imageName(image), sha256 }));
    const { body } = await ask(jsonRequest('/api/v1/signatures/missing', { signatures }));
    const { missing } = readAnswer(missingAnswer, { server, body });
    const isAscending = missing.every((position, i) => position > (missing[i - 1] ?? -1));
    if (isAscending && (missing.at(-1) ?? -1) < asked.length) return missing;
    throw strange(server, 'missing: positions that were not asked about');
  }

  async function uploadBatch(parts: readonly BatchPart[], how: SendOptions): Promise<readonly BatchResult[]> {
    const { contentType, body } = writeForm(parts);
    if (body.length > MAX_BATCH_BYTES && parts.length > 1) return uploadHalves(parts, how);
    const path = `/api/v1/signatures${queryOf(how)}`;
    const answer = await ask({ method: 'POST', path, contentType, body });
    const { results } = readAnswer(batchAnswer, { server, body: answer.body });
    if (results.length === parts.length && results.every(({ part }, i) => part === i)) return results;
    throw strange(server, `results: ${results.length}, or in another order, for ${parts.length} signatures`);
  }

  /** For parts that fit although their form does not: the server limits the form. */
  async function uploadHalves(
    parts: readonly BatchPart[],
    how: SendOptions,
  ): Promise<readonly BatchResult[]> {
    const half = Math.ceil(parts.length / 2);
    const first = await uploadBatch(parts.slice(0, half), how);
    const second = await uploadBatch(parts.slice(half), how);
    return [...first, ...second.map((result) => ({ ...result, part: result.part + half }))];
  }

  async function details(image: ImageId) {
    const query = image.site === DEFAULT_SITE ? '' : `?site=${encodeURIComponent(image.site)}`;
    try {
      // an image's name holds nothing that has to be escaped in a path
      const { body } = await ask({
        method: 'GET',
        path: `/api/v1/images/${imageName(image)}${query}`,
        mayFindNothing: true,
      });
      return readAnswer(imageAnswer, { server, body });
    } catch (error) {
      if (isLookasideError(error, 'NOT_FOUND')) return { signatures: [], withdrawn: [], mirror: null };
      throw error;
    }
  }

  async function signature(image: ImageId, number: number): Promise<Uint8Array | null> {
    const { status, body } = await ask({ method: 'GET', path: signaturePath(image, number) }, FOUND_OR_NOT);
    return status === 404 ? null : body;
  }

  async function* search(filter: RemoteFilter): AsyncGenerator<StoredSignature> {
    const given = new Set<string>();
    for (let restarts = 0; ; restarts += 1) {
      try {
        for await (const signature of walk(filter)) {
          const key = `${signature.path} ${signature.signatureSha256}`;
          if (given.has(key)) continue;
          given.add(key);
          yield signature;
        }
        return;
      } catch (error) {
        // the server has rebuilt its index, and cursors count by that
        if (!isCursorRefusal(error) || restarts === MAX_RESTARTS) throw error;
      }
    }
  }

  async function* walk(filter: RemoteFilter): AsyncGenerator<StoredSignature> {
    let cursor: string | null = null;
    do {
      const page: Page = await pageOf(filter, cursor);
      yield* page.signatures;
      if (page.next !== null && page.next === cursor) throw strange(server, 'next: the same page again');
      cursor = page.next;
    } while (cursor !== null);
  }

  async function pageOf(filter: RemoteFilter, cursor: string | null): Promise<Page> {
    const { body } = await ask({ method: 'GET', path: searchPath(filter, cursor), mayFindNothing: true });
    return readAnswer(searchAnswer, { server, body });
  }

  async function* withdrawals({
    since,
    ...filter
  }: Parameters<WithdrawnList['withdrawals']>[0]): AsyncGenerator<ListedWithdrawal> {
    let cursor: string | null = null;
    do {
      const wanted = { ...filter, since: since?.toISOString() ?? null, cursor };
      const { body } = await ask({ method: 'GET', path: `/api/v1/withdrawals?${pageOfRows(wanted)}` });
      const page: z.output<typeof withdrawalsAnswer> = readAnswer(withdrawalsAnswer, { server, body });
      yield* page.withdrawn;
      if (page.next !== null && page.next === cursor) throw strange(server, 'next: the same page again');
      cursor = page.next;
    } while (cursor !== null);
  }

  async function listKeys() {
    const { body } = await ask({ method: 'GET', path: '/api/v1/keys' });
    return readAnswer(keysAnswer, { server, body }).keys;
  }

  async function certificates(): Promise<readonly Uint8Array[]> {
    // as a client that is given keys by the server
    const keys = (await listKeys()).filter(({ revocation }) => revocation?.isInCertificate !== false);
    const certificates: Uint8Array[] = [];
    await forEachConcurrently(keys.entries(), KEYS_AT_ONCE, async ([position, { fingerprint }]) => {
      const { body } = await ask({ method: 'GET', path: `/api/v1/keys/${fingerprint}` });
      certificates[position] = Buffer.from(readAnswer(keyAnswer, { server, body }).armored);
    });
    return certificates;
  }

  async function userIds(): Promise<ReadonlyMap<string, string>> {
    const keys = await listKeys();
    return new Map(
      keys.flatMap(({ fingerprint, userIds: [first] }) =>
        first === undefined ? [] : [[fingerprint, first]],
      ),
    );
  }

  return {
    name: server,
    missing,
    uploadBatch,
    ofImage: async (image) => (await details(image)).signatures,
    details,
    signature,
    search,
    withdrawals,
    certificates,
    userIds,
    [Symbol.asyncDispose]: () => asker[Symbol.asyncDispose](),
  };
}

type Page = z.output<typeof searchAnswer>;

function queryOf({ force, signedFor = [] }: SendOptions): string {
  const parameters = new URLSearchParams();
  for (const remap of signedFor) parameters.append('signed-for', remap);
  if (force) parameters.set('force', '1');
  return parameters.size === 0 ? '' : `?${parameters}`;
}

function searchPath({ since, ...filter }: RemoteFilter, cursor: string | null): string {
  return `/api/v1/signatures?${pageOfRows({ ...filter, since: since?.toISOString() ?? null, cursor })}`;
}

function pageOfRows(wanted: Readonly<Record<string, string | null>>): URLSearchParams {
  const parameters = new URLSearchParams({ limit: String(MAX_PAGE_ROWS) });
  for (const [name, value] of Object.entries(wanted)) if (value !== null) parameters.set(name, value);
  return parameters;
}

function isCursorRefusal(error: unknown): boolean {
  return isLookasideError(error, 'REQUEST_INVALID') && error.detail?.reason === 'cursor';
}
