// Joins the stores of all sites: each call about an image goes to the store of its site.
import { LookasideError } from '../domain/errors.ts';
import { type ImageId, imageFolder } from '../domain/image.ts';
import type { SignatureAppender, SignatureStore } from '../domain/ports.ts';
import { createSiteFinder, type SitePlace } from '../domain/site.ts';

export interface SiteStore extends SitePlace {
  readonly store: SignatureStore;
  readonly appender: SignatureAppender;
}

/**
 * Sets, numbers and blobs of one site are never looked up in another. append() also throws PATH_INVALID when the image's path
 * leads into another site.
 */
export function createSitesStore(
  /** As they are now: others may come and go. */
  sites: readonly SiteStore[],
  places: () => readonly SitePlace[],
): SignatureStore & Pick<SignatureAppender, 'append' | 'withdraw' | 'withdrawOrdered' | 'lift'> {
  function siteOf(name: string): SiteStore {
    const site = sites.find((one) => one.name === name);
    if (site === undefined) throw new Error(`there is no site ${name}`);
    return site;
  }

  /** No client could read what is stored there. */
  function refuseHidden(site: SiteStore, image: ImageId): void {
    const at = `${site.prefix}/${imageFolder(image)}`;
    const reader = createSiteFinder(places())(at);
    if (reader === null || reader.name === site.name) return;
    throw new LookasideError(
      'PATH_INVALID',
      `${imageFolder(image)} would be read at ${at}, and all below ${reader.prefix}/ is the site ${reader.name}; use another repository path, or upload to that site`,
    );
  }

  const storeOf = ({ site }: ImageId) => siteOf(site).store;

  return {
    // without a promise of its own: most reads that memory cannot answer pass here
    readSet: (image, known) => storeOf(image).readSet(image, known),
    peekHolds: (image, known) => storeOf(image).peekHolds?.(image, known) ?? false,
    peekHeldAtMs: (image, known) => storeOf(image).peekHeldAtMs?.(image, known) ?? null,
    peekEmpty: (image, round) => storeOf(image).peekEmpty?.(image, round) ?? false,
    peekSettled: (image) => storeOf(image).peekSettled?.(image) ?? null,
    readBlob: async (image, sha256) => storeOf(image).readBlob(image, sha256),
    listFolder: async (site, ...page) => siteOf(site).store.listFolder(site, ...page),
    async append(upload) {
      const site = siteOf(upload.image.site);
      refuseHidden(site, upload.image);
      return site.appender.append(upload);
    },
    withdraw: async (withdrawal) => siteOf(withdrawal.image.site).appender.withdraw(withdrawal),
    withdrawOrdered: async (order) => siteOf(order.image.site).appender.withdrawOrdered(order),
    lift: async (tombstone) => siteOf(tombstone.image.site).appender.lift(tombstone),
  };
}
