// What clients asked a mirror for in vain: it had no signature of the image, or its upstream failed.
import { ANY_RECORD } from '../domain/records.ts';
import type { Asker, Records } from './records.ts';

/** The most images of one answer. */
const MAX_MISSED = 100_000;

/** Names of images, each once. @throws LookasideError BUSY, QUESTION_TOO_LONG */
export function missedImages(
  records: Pick<Records, 'session'>,
  { site, since }: { readonly site: string; readonly since: Date },
  asker: Asker,
): Promise<readonly string[]> {
  // it names images and no clients, so that no event says who asked
  return records.session(null, asker, async (session) => {
    const filter = { ...ANY_RECORD, site, since };
    const unsigned = await session.unsigned(filter, MAX_MISSED);
    const failed = { record: 'access', filter: { ...filter, status: 503 } } as const;
    const { groups } = await session.sums(failed, ['image'], MAX_MISSED);
    const names = [
      ...unsigned.rows.map(({ image }) => image),
      ...groups.flatMap(({ of: [image] }) => image ?? []),
    ];
    return [...new Set(names)];
  });
}
