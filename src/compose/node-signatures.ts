// What a database that nodes share holds, for commands beside them: as a node answers it, without one.
import { type Config, shownDatabase } from '../config.ts';
import { parseDigest } from '../domain/image.ts';
import { MAX_PAGE_ROWS } from '../domain/limits.ts';
import type { ImageNotes, KeyNames, SignatureServer, WithdrawnList } from '../domain/remote.ts';
import { createLog } from './log.ts';
import { openNode } from './node.ts';

/** What `list` and `show` ask, wherever the answers come from. */
export type AskedSignatures = Pick<SignatureServer, 'name' | 'search'> &
  KeyNames &
  ImageNotes &
  WithdrawnList &
  AsyncDisposable;

/** @throws LookasideError STATE_UNUSABLE, STORE_UNAVAILABLE */
export async function askDatabase(config: Config): Promise<AskedSignatures> {
  const node = await openNode({
    config,
    current: () => config,
    log: createLog('warn'),
    tables: 'keep',
    movedBack: 'read',
  });
  const { signatures, withdrawals, mirrors, keys } = node;
  return {
    name: shownDatabase(config) ?? '',
    async *search({ repository: path, digest, tag, fingerprint, since, state, uploader }) {
      const filter = { path, digest: digestOf(digest), tag, fingerprint, since, until: null };
      let cursor: string | null = null;
      do {
        const page: Awaited<ReturnType<typeof signatures.search>> = await signatures.search({
          ...{ site: null, filter, state, uploader, order: 'newest', limit: MAX_PAGE_ROWS, cursor },
        });
        yield* page.signatures;
        cursor = page.next;
      } while (cursor !== null);
    },
    async details(image) {
      return {
        signatures: await signatures.ofImage(image),
        withdrawn: await withdrawals.ofImage(image),
        mirror: await mirrors.ofImage(image),
      };
    },
    async *withdrawals({ repository: path, digest, by, since }) {
      const filter = { path, digest: digestOf(digest), by, since };
      let cursor: string | null = null;
      do {
        const page: Awaited<ReturnType<typeof withdrawals.list>> = await withdrawals.list({
          ...{ site: null, filter, limit: MAX_PAGE_ROWS, cursor },
        });
        yield* page.withdrawn;
        cursor = page.next;
      } while (cursor !== null);
    },
    async userIds() {
      const known = await keys.list();
      return new Map(
        known.flatMap(({ fingerprint, userIds: [first] }) =>
          first === undefined ? [] : [[fingerprint, first]],
        ),
      );
    },
    [Symbol.asyncDispose]: () => node.close(),
  };
}

function digestOf(text: string | null) {
  return text === null ? null : parseDigest(text);
}
