// One box for everything: what a text names, and what of that is stored or registered here.
import { type ImageId, isNamespaceFolder, parseDigest, parseImageFolder } from '../domain/image.ts';
import { isKeyName, type RegisteredKey } from '../domain/key.ts';
import { parseNetwork } from '../domain/network.ts';
import { isTag, parseReference } from '../domain/reference.ts';
import type { SitePlace } from '../domain/site.ts';
import type { StoredSignature } from '../domain/stored-signature.ts';
import type { KeyService } from './keys.ts';
import { unlessSilent } from './server-doctor.ts';
import type { SignatureQueries } from './signatures.ts';

export type Hit =
  /** `name`: `team/app@sha256:…`. */
  | {
      readonly kind: 'image';
      readonly site: string;
      readonly name: string;
      readonly references: readonly string[];
    }
  /** With at least one signature. */
  | { readonly kind: 'repository'; readonly site: string; readonly path: string }
  | { readonly kind: 'key'; readonly fingerprint: string; readonly userIds: readonly string[] };

export interface Finding {
  /** In words for people, what the text was taken for: `a digest`. */
  readonly understood: string;
  /** The image that the text names exactly, though nothing is stored for it; else null. */
  readonly image: ImageId | null;
  /** An address or network; what came from it is in the records. */
  readonly address: string | null;
  readonly hits: readonly Hit[];
}

export interface FindOptions {
  readonly places: () => readonly SitePlace[];
  readonly signatures: Pick<SignatureQueries, 'search' | 'ofImage'>;
  readonly keys: Pick<KeyService, 'list'>;
}

const MAX_HITS = 50;
/** Signatures that are looked through for images; an image may have many. */
const SEARCHED_ROWS = 200;

/** Never fails for a text: what names nothing finds nothing. @throws LookasideError INDEX_UNUSABLE, STORE_UNAVAILABLE */
export async function find(text: string, options: FindOptions): Promise<Finding> {
  const asked = text.trim().replace(/^docker:\/\//, '');
  return (
    (await byPath(asked, options)) ??
    (await byDigest(asked, options)) ??
    (await byKey(asked, options)) ??
    byAddress(asked) ??
    (await byReference(asked, options)) ??
    (await byUserId(asked, options))
  );
}

const NONE = { image: null, address: null, hits: [] } as const;

/** As clients write it: `/team/app@sha256=…/signature-1`, also with a server in front. */
async function byPath(asked: string, options: FindOptions): Promise<Finding | null> {
  const path = /^(?:https?:\/\/[^/]+)?\/*(.*?)(?:\/(?:signature-[0-9]+)?)?$/.exec(asked)?.[1] ?? '';
  if (!/(?:^|[@/])sha(?:256|384|512)=/.test(path)) return null;
  const understood = 'a path of this server';
  let named: ImageId | null = null;
  // the text may have a prefix that only a proxy knows, and that of a site
  const names = path.split('/');
  for (let from = 0; from < names.length; from += 1) {
    for (const { name: site } of options.places()) {
      const image = parseImageFolder(site, names.slice(from).join('/'));
      if (image === null) continue;
      named ??= image;
      const signatures = (await unlessSilent(() => options.signatures.ofImage(image))) ?? [];
      if (signatures.length > 0) return { ...NONE, understood, hits: imagesOf(signatures) };
    }
  }
  return { ...NONE, understood, image: named };
}

async function byDigest(asked: string, options: FindOptions): Promise<Finding | null> {
  const digest = parseDigest(/^[0-9a-fA-F]{64}$/.test(asked) ? `sha256:${asked.toLowerCase()}` : asked);
  if (digest === null) return null;
  return { ...NONE, understood: 'a digest', hits: imagesOf(await search(options, { digest })) };
}

/** Also the short form of eight digits, which several keys may have. */
async function byKey(asked: string, { keys }: FindOptions): Promise<Finding | null> {
  const plain = asked.replace(/\s/g, '').replace(/^0x/i, '').toUpperCase();
  if (!isKeyName(asked) && !/^[0-9A-F]{8}$/.test(plain)) return null;
  const matching = (await keys.list()).filter(({ fingerprint, subkeys }) =>
    [fingerprint, ...subkeys.map((part) => part.fingerprint)].some((one) => one.endsWith(plain)),
  );
  return {
    ...NONE,
    understood: plain.length === 40 ? 'a fingerprint' : 'a key ID',
    hits: matching.map(keyHit),
  };
}

function byAddress(asked: string): Finding | null {
  if (parseNetwork(asked) === null) return null;
  return { ...NONE, understood: asked.includes('/') ? 'a network' : 'a client address', address: asked };
}

async function byReference(asked: string, options: FindOptions): Promise<Finding | null> {
  const reference = parseReference(asked);
  if (reference === null || (!asked.includes('/') && !asked.includes(':'))) return null;
  const { path, tag, digest } = reference;
  const understood =
    digest !== null ? 'a reference with a digest' : tag !== null ? 'a reference with a tag' : 'a repository';
  // a name without a registry is a path as it is written, too
  const written = asked.replace(/@.*$/, '').replace(/:[^/:]*$/, '');
  const paths = [...new Set([path, written])].filter(isNamespaceFolder);
  if (digest !== null) {
    const [algorithm = '', hex = ''] = digest.split(':', 2);
    for (const { name: site } of options.places()) {
      for (const one of paths) {
        const image = parseImageFolder(site, `${one}@${algorithm}=${hex}`);
        const signatures =
          image === null ? [] : ((await unlessSilent(() => options.signatures.ofImage(image))) ?? []);
        if (signatures.length > 0) return { ...NONE, understood, hits: imagesOf(signatures) };
      }
    }
    const [site] = options.places();
    return {
      ...NONE,
      understood,
      image: site === undefined ? null : parseImageFolder(site.name, `${path}@${algorithm}=${hex}`),
    };
  }
  for (const one of paths) {
    const signatures = await search(options, { path: one, tag: tag !== null && isTag(tag) ? tag : null });
    const [first] = signatures;
    if (first === undefined) continue;
    if (tag !== null) return { ...NONE, understood, hits: imagesOf(signatures) };
    return { ...NONE, understood, hits: [{ kind: 'repository', site: first.site, path: one }] };
  }
  return { ...NONE, understood };
}

async function byUserId(asked: string, options: FindOptions): Promise<Finding> {
  const wanted = asked.toLowerCase();
  const matching = (await options.keys.list()).filter(({ userIds }) =>
    userIds.some((id) => id.toLowerCase().includes(wanted)),
  );
  const hits: Hit[] = wanted === '' ? [] : matching.slice(0, MAX_HITS).map(keyHit);
  if (hits.length > 0 || !isNamespaceFolder(asked))
    return { ...NONE, understood: 'a part of a user ID', hits };
  const [signature] = await search(options, { path: asked });
  const repository =
    signature === undefined ? [] : [{ kind: 'repository', site: signature.site, path: asked } as const];
  return { ...NONE, understood: 'a repository, or a part of a user ID', hits: repository };
}

type Wanted = Partial<Parameters<SignatureQueries['search']>[0]['filter']>;

async function search({ signatures }: FindOptions, wanted: Wanted): Promise<readonly StoredSignature[]> {
  const filter = {
    path: null,
    digest: null,
    fingerprint: null,
    tag: null,
    since: null,
    until: null,
    ...wanted,
  };
  const query = {
    site: null,
    filter,
    uploader: null,
    state: null,
    order: 'newest',
    limit: SEARCHED_ROWS,
    cursor: null,
  } as const;
  return (await signatures.search(query)).signatures;
}

function imagesOf(signatures: readonly StoredSignature[]): readonly Hit[] {
  const hits = new Map<string, Hit & { readonly kind: 'image' }>();
  for (const { site, image: name, dockerReference } of signatures) {
    const known = hits.get(`${site}/${name}`)?.references ?? [];
    const references = dockerReference === null ? known : [...new Set([...known, dockerReference])];
    hits.set(`${site}/${name}`, { kind: 'image', site, name, references });
  }
  return [...hits.values()].slice(0, MAX_HITS);
}

function keyHit({ fingerprint, userIds }: RegisteredKey): Hit {
  return { kind: 'key', fingerprint, userIds };
}
