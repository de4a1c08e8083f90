// A remote signature server, asked over HTTP. Every request may be sent twice: uploading the same bytes again changes nothing.
import type { z } from 'zod';
import { forEachConcurrently } from '../domain/concurrency.ts';
import { isLookasideError } from '../domain/errors.ts';
import { type ImageId, imageName } from '../domain/image.ts';
import { MAX_BATCH_BYTES, MAX_PAGE_ROWS } from '../domain/limits.ts';
import { signaturePath } from '../domain/placement.ts';
import type { BatchPart, BatchResult } from '../domain/receipt.ts';
import type {
  AskedBlob,
  KeyNames,
  RemoteFilter,
  SendOptions,
  ServedSignatures,
  SignatureServer,
} from '../domain/remote.ts';
import type { StoredSignature } from '../domain/stored-signature.ts';
import {
  batchAnswer,
  imageAnswer,
  keyAnswer,
  keysAnswer,
  missingAnswer,
  readAnswer,
  searchAnswer,
  strange,
} from './answers.ts';
import { type AskerOptions, connectAsker, jsonRequest } from './asker.ts';
import { writeForm } from './form.ts';

/** A lookaside answers with a plain 404 when it does not have the number. */
const FOUND_OR_NOT = [200, 404];

const KEYS_AT_ONCE = 8;
const MAX_RESTARTS = 3;

/** Connects at the first request. Only then does it refuse a proxy of the environment that is not valid: CONFIG_INVALID. */
export function connectSignatureServer(options: AskerOptions): SignatureServer & KeyNames & ServedSignatures {
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

  async function ofImage(image: ImageId): Promise<readonly StoredSignature[]> {
    try {
      // an image's name holds nothing that has to be escaped in a path
      const { body } = await ask({
        method: 'GET',
        path: `/api/v1/images/${imageName(image)}`,
        mayFindNothing: true,
      });
      return readAnswer(imageAnswer, { server, body }).signatures;
    } catch (error) {
      if (isLookasideError(error, 'NOT_FOUND')) return [];
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

  async function listKeys() {
    const { body } = await ask({ method: 'GET', path: '/api/v1/keys' });
    return readAnswer(keysAnswer, { server, body }).keys;
  }

  async function certificates(): Promise<readonly Uint8Array[]> {
    const keys = await listKeys();
    const found: Uint8Array[] = [];
    await forEachConcurrently(keys.entries(), KEYS_AT_ONCE, async ([position, { fingerprint }]) => {
      const { body } = await ask({ method: 'GET', path: `/api/v1/keys/${fingerprint}` });
      found[position] = Buffer.from(readAnswer(keyAnswer, { server, body }).armored);
    });
    return found;
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
    ofImage,
    signature,
    search,
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
  const parameters = new URLSearchParams({ limit: String(MAX_PAGE_ROWS) });
  for (const [name, value] of Object.entries({ ...filter, since: since?.toISOString() ?? null, cursor })) {
    if (value !== null) parameters.set(name, value);
  }
  return `/api/v1/signatures?${parameters}`;
}

function isCursorRefusal(error: unknown): boolean {
  return isLookasideError(error, 'REQUEST_INVALID') && error.detail?.reason === 'cursor';
}
