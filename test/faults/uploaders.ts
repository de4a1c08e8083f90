// Clients that upload to a server for as long as something else goes on.
import assert from 'node:assert/strict';
import type { LookasideServer } from '../clients/server.ts';
import type { Signer } from '../clients/signer.ts';
import { takenAs, uploadsTo } from '../clients/uploads.ts';
import { folderOf } from '../store/lay.ts';
import type { Attempt } from './upload-witness.ts';

export interface Uploaders {
  readonly sent: readonly Attempt[];
  readonly acknowledged: readonly Attempt[];
  /** From the request to the answer. */
  tookMs(attempt: Attempt): number;
  /** Resolves when so many more were acknowledged. */
  more(uploads: number): Promise<void>;
  stop(): Promise<void>;
}

const CLIENTS = 8;

/** Eight at once, into old images and new ones, until they are stopped. */
export function beginUploads(
  server: LookasideServer,
  { signer, token }: { readonly signer: Signer; readonly token: string },
): Uploaders {
  const uploads = uploadsTo(server.port, token);
  const sent: Attempt[] = [];
  const acknowledged: Attempt[] = [];
  const took = new Map<Attempt, number>();
  const waiting = new Set<{ readonly until: number; readonly resolve: () => void }>();
  let isOver = false;
  const client = async (number: number) => {
    for (let upload = 0; !isOver; upload += 1) {
      // an image has no room for more than 127
      const grown = `grown/app-${number}-${Math.floor(upload / 200)}`;
      const repository = upload % 2 === 0 ? grown : `new/${number}/app-${upload}`;
      const bytes = signer.sign({ repository, tag: `c${number}-${upload}` });
      const attempt: Attempt = { folder: folderOf(repository), bytes, receipt: null };
      sent.push(attempt);
      const sentMs = performance.now();
      attempt.receipt = takenAs(await uploads.post(attempt.folder, bytes), 201);
      took.set(attempt, performance.now() - sentMs);
      acknowledged.push(attempt);
      for (const wait of waiting) if (acknowledged.length >= wait.until) wait.resolve();
    }
  };
  const clients = Promise.all(Array.from({ length: CLIENTS }, (_, number) => client(number)));
  return {
    sent,
    acknowledged,
    tookMs: (attempt) => took.get(attempt) ?? assert.fail('an upload that was not acknowledged'),
    async more(number) {
      const enough = new Promise<void>((resolve) => {
        waiting.add({ until: acknowledged.length + number, resolve });
      });
      await Promise.race([enough, clients]);
    },
    async stop() {
      isOver = true;
      await clients;
    },
  };
}
