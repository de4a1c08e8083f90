// The stores of all sites as one: what is about an image goes to the store of its site.
import type { ImageId } from '../domain/image.ts';
import type { SignatureAppender, SignatureStore } from '../domain/ports.ts';

export interface SiteStore {
  readonly store: SignatureStore;
  readonly appender: SignatureAppender;
}

/** `sites`: by name. A set, a number or a blob of one is never looked for in another. */
export function createSitesStore(
  sites: ReadonlyMap<string, SiteStore>,
): SignatureStore & Pick<SignatureAppender, 'append'> {
  function siteOf(name: string): SiteStore {
    const site = sites.get(name);
    if (site === undefined) throw new Error(`there is no site ${name}`);
    return site;
  }
  const storeOf = ({ site }: ImageId) => siteOf(site).store;

  return {
    readSet: async (image, known) => storeOf(image).readSet(image, known),
    readBlob: async (image, sha256) => storeOf(image).readBlob(image, sha256),
    listFolder: async (site, ...page) => siteOf(site).store.listFolder(site, ...page),
    append: async (upload) => siteOf(upload.image.site).appender.append(upload),
  };
}
