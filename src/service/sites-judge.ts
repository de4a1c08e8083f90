// The judges of all sites as one: what is about an image goes to the judge of its site.
import type { ImageId } from '../domain/image.ts';
import type { Judge } from './judge.ts';

/** `sites`: by name; others may come and go, and are started and stopped by who brings them. */
export function createSitesJudge(sites: ReadonlyMap<string, Judge>): Judge {
  const all = () => [...sites.values()];

  function judgeOf({ site }: ImageId): Judge {
    const judge = sites.get(site);
    if (judge === undefined) throw new Error(`there is no site ${site}`);
    return judge;
  }

  return {
    start() {
      for (const judge of all()) judge.start();
    },
    stop: async () => void (await Promise.all(all().map((judge) => judge.stop()))),
    wake() {
      for (const judge of all()) judge.wake();
    },
    keysChanged() {
      for (const judge of all()) judge.keysChanged();
    },
    get keyringChanges() {
      return all().reduce((sum, { keyringChanges }) => sum + keyringChanges, 0);
    },
    settled: async () => void (await Promise.all(all().map((judge) => judge.settled()))),
    prefer: (image) => judgeOf(image).prefer(image),
    judgeImage: (image) => judgeOf(image).judgeImage(image),
  };
}
