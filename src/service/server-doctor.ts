// What this server knows about an image that clients refuse: never signed, asked for in vain, withdrawn, by a key that is retired,
// signed under another path.
import { isLookasideError } from '../domain/errors.ts';
import { type ImageId, imageName, parseDigest, parseImageName } from '../domain/image.ts';
import type { RegisteredKey } from '../domain/key.ts';
import type { MirroredImage } from '../domain/mirror.ts';
import { matchesIdentity } from '../domain/policy/identity.ts';
import { ANY_RECORD, type UnsignedImage } from '../domain/records.ts';
import { type DockerReference, formatReference, parseReference } from '../domain/reference.ts';
import type { SitePlace } from '../domain/site.ts';
import type { State } from '../domain/state.ts';
import type { StoredSignature } from '../domain/stored-signature.ts';
import type { Withdrawn } from '../domain/tombstone.ts';
import type { KeyService } from './keys.ts';
import type { MirrorService } from './mirrors.ts';
import type { Asker, Records } from './records.ts';
import type { SignatureQueries } from './signatures.ts';
import type { WithdrawService } from './withdraw.ts';

export interface ServerDoctorPorts {
  readonly places: () => readonly SitePlace[];
  readonly signatures: Pick<SignatureQueries, 'ofImage' | 'search'>;
  readonly withdrawals: Pick<WithdrawService, 'ofImage'>;
  readonly mirrors: Pick<MirrorService, 'ofImage'>;
  readonly keys: Pick<KeyService, 'list'>;
  /** Null when the caller may not know what was asked for. */
  readonly records: Pick<Records, 'session'> | null;
}

const SERVER_FINDINGS = [
  'SERVED',
  'OTHER_NAME',
  'WITHDRAWN',
  'KEY_REVOKED',
  'KEY_EXPIRED',
  'SIGNATURE_EXPIRED',
  'KEY_UNKNOWN',
  'SIGNATURE_BAD',
  'NOT_JUDGED',
  'UPSTREAM_SILENT',
  'OTHER_TAG',
  'OTHER_PATH',
  'NEVER_SIGNED',
  'KEY_RETIRED',
  'GONE_UPSTREAM',
  'ASKED_IN_VAIN',
] as const;

export interface ServerFinding {
  readonly code: (typeof SERVER_FINDINGS)[number];
  readonly message: string;
  /** Null: nothing has to be changed here. */
  readonly remedy: string | null;
}

export interface ServerDiagnosis {
  /** `team/app@sha256:<hex>` or `team/app:v1`, without the registry. */
  readonly image: string;
  /** The first one decides. */
  readonly findings: readonly ServerFinding[];
  readonly signatures: readonly StoredSignature[];
  readonly withdrawn: readonly (Withdrawn & { readonly site: string })[];
  readonly mirrors: readonly (MirroredImage & { readonly site: string })[];
  /** Reads that got 404, most first; of an image whose digest was asked for. */
  readonly askedInVain: readonly Pick<UnsignedImage, 'site' | 'image' | 'count' | 'firstAt' | 'lastAt'>[];
}

/** What was asked about: an image by its digest, or the images that are signed for a tag. */
export type AskedOf = (
  | { readonly kind: 'digest'; readonly name: string; readonly path: string | null; readonly digest: string }
  | { readonly kind: 'tag'; readonly path: string; readonly tag: string }
) & {
  /** The whole name, as a client pulls by it; null where no registry was written. */
  readonly pulledAs: DockerReference | null;
};

/** `team/app@sha256:…`, `registry.example/team/app:v1`, `sha256:…`. Null: it names no image. */
export function parseAsked(text: string): AskedOf | null {
  const asked = text.trim().replace(/^docker:\/\//, '');
  if (parseDigest(asked) !== null)
    return { kind: 'digest', name: asked, path: null, digest: asked, pulledAs: null };
  const reference = parseReference(asked);
  if (reference === null) return null;
  // of team/app:v1, team/app is meant, although clients would read library/… at docker.io
  const hasHost = /^(?:localhost|[^/]*[.:][^/]*)\//.test(asked);
  const path = hasHost ? reference.path : asked.replace(/@.*$/, '').replace(/:[^/]*$/, '');
  const { digest, tag } = reference;
  if (digest === null) {
    const named = { path, tag: tag ?? 'latest' };
    return { kind: 'tag', ...named, pulledAs: hasHost ? { ...reference, ...named } : null };
  }
  // clients pass over the tag where there is a digest
  const pulledAs = hasHost ? { ...reference, tag: null } : null;
  return { kind: 'digest', name: `${path}@${digest}`, path, digest, pulledAs };
}

const MOST_SIGNATURES = 100;
const MOST_ASKED = 10;

/** @throws LookasideError BUSY, QUESTION_TOO_LONG, INDEX_UNUSABLE, STATE_UNUSABLE, STORE_UNAVAILABLE */
export async function examineImage(
  ports: ServerDoctorPorts,
  asked: AskedOf,
  asker: Asker,
): Promise<ServerDiagnosis> {
  const sites = [...new Set(ports.places().map(({ name }) => name))];
  const seen =
    asked.kind === 'digest' ? await ofDigest(ports, asked, sites, asker) : await ofTag(ports, asked);
  const keys = new Map((await ports.keys.list()).map((key) => [key.fingerprint, key]));
  const { image, signatures, withdrawn, mirrors, askedInVain } = seen;
  const findings = [...reasons(seen, keys), ...remarks(seen, keys)];
  return { image, findings, signatures, withdrawn, mirrors, askedInVain };
}

interface Seen extends Omit<ServerDiagnosis, 'findings'> {
  /** Signatures of the same digest under other paths, or of the same path for other tags. */
  readonly elsewhere: readonly StoredSignature[];
  readonly asked: AskedOf;
  /** Mirrors that have no answer, because their upstreams have none. */
  readonly silent: readonly string[];
}

async function ofDigest(
  ports: ServerDoctorPorts,
  asked: Extract<AskedOf, { kind: 'digest' }>,
  sites: readonly string[],
  asker: Asker,
): Promise<Seen> {
  const images = sites.flatMap((site) => parseImageName(site, asked.name) ?? []);
  const digest = parseDigest(asked.digest);
  const signatures: StoredSignature[] = [];
  const withdrawn: Seen['withdrawn'][number][] = [];
  const mirrors: Seen['mirrors'][number][] = [];
  const silent: string[] = [];
  for (const image of images) {
    const { site } = image;
    const served = await unlessSilent(() => ports.signatures.ofImage(image));
    if (served === null) silent.push(site);
    signatures.push(...(served ?? []));
    withdrawn.push(...(await ports.withdrawals.ofImage(image)).map((one) => ({ ...one, site })));
    const mirror = await ports.mirrors.ofImage(image);
    if (mirror !== null) mirrors.push({ ...mirror, site });
  }
  const names = new Set(images.map(imageName));
  const { signatures: all } = await ports.signatures.search({ ...ANY, filter: { ...ANY.filter, digest } });
  const elsewhere = all.filter(({ image }) => !names.has(image));
  const askedInVain = images.length === 0 ? [] : await readsInVain(ports, images, asker);
  return { image: asked.name, asked, signatures, withdrawn, mirrors, elsewhere, askedInVain, silent };
}

async function readsInVain(
  { records }: ServerDoctorPorts,
  [image]: readonly ImageId[],
  asker: Asker,
): Promise<Seen['askedInVain']> {
  if (image === undefined || records === null) return [];
  const { layout, path, algorithm, hex } = image;
  // it counts reads and names no clients, so that no event says who asked
  const { rows } = await records.session(null, asker, (session) =>
    session.unsigned(
      { ...ANY_RECORD, image: { digest: { algorithm, hex }, place: { layout, path } } },
      MOST_ASKED,
    ),
  );
  return rows.map(({ site, image: name, count, firstAt, lastAt }) => ({
    ...{ site, image: name, count, firstAt, lastAt },
  }));
}

async function ofTag(ports: ServerDoctorPorts, asked: Extract<AskedOf, { kind: 'tag' }>): Promise<Seen> {
  const { path, tag } = asked;
  const filter = { ...ANY.filter, path };
  const { signatures } = await ports.signatures.search({ ...ANY, filter: { ...filter, tag } });
  const { signatures: others } = await ports.signatures.search({ ...ANY, filter });
  const elsewhere = signatures.length > 0 ? [] : others;
  const none = { withdrawn: [], mirrors: [], askedInVain: [], silent: [] };
  return { image: `${path}:${tag}`, asked, signatures, elsewhere, ...none };
}

const ANY = {
  site: null,
  filter: { path: null, digest: null, fingerprint: null, tag: null, since: null, until: null },
  uploader: null,
  state: null,
  order: 'newest',
  limit: MOST_SIGNATURES,
  cursor: null,
} as const;

type Keys = ReadonlyMap<string, RegisteredKey>;

/** Null: the image is that of a mirror whose upstream does not answer, as clients see by a 503. */
export async function unlessSilent<T>(ask: () => Promise<T>): Promise<T | null> {
  try {
    return await ask();
  } catch (error) {
    if (isLookasideError(error, 'UPSTREAM_UNAVAILABLE')) return null;
    throw error;
  }
}

function silence(sites: readonly string[]): ServerFinding {
  const one = sites.length === 1;
  return {
    code: 'UPSTREAM_SILENT',
    message: `the upstream${one ? '' : 's'} of the mirror${one ? '' : 's'} ${sites.join(', ')} ${one ? 'does' : 'do'} not answer: a client that asks there gets 503, and its pull fails whether the image is signed or not`,
    remedy: `make sure that this server reaches the upstream; lookaside mirror show ${sites[0]} says what failed last`,
  };
}

/** Why clients take none of what is served; SERVED when they take one. */
function reasons(seen: Seen, keys: Keys): readonly ServerFinding[] {
  const { signatures, image, asked } = seen;
  const good = signatures.filter(({ state }) => state === 'verified');
  if (good.length > 0) {
    const other = asked.pulledAs === null ? null : otherName(asked.pulledAs, good);
    if (other !== null) return [other];
    const by = [...new Set(good.map(({ fingerprint }) => fingerprint ?? ''))].map((one) => nameOf(one, keys));
    const message = `${good.length} signature${good.length === 1 ? ' is' : 's are'} served that clients can verify, by ${by.join(', ')}`;
    return [{ code: 'SERVED', message, remedy: null }];
  }
  const [first] = signatures;
  if (first === undefined && seen.silent.length > 0) return [silence(seen.silent)];
  if (first === undefined) return [unproven(seen, keys) ?? whyNone(seen)];
  const { code, say, remedy } = STATES[first.state as Exclude<State, 'verified'>];
  const by = first.fingerprint ?? first.issuer ?? 'a key that it does not name';
  return [
    { code, message: `what is served of ${image} ${say}: ${first.path} by ${nameOf(by, keys)}`, remedy },
  ];
}

/** Null: a signature says the name that is pulled, as a policy wants it that says nothing else. */
function otherName(pulled: DockerReference, good: readonly StoredSignature[]): ServerFinding | null {
  const names = [...new Set(good.flatMap(({ dockerReference }) => dockerReference ?? []))];
  if (names.some((name) => matchesIdentity({ type: 'matchRepoDigestOrExact' }, pulled, name))) return null;
  const [signed = ''] = names;
  const reference = parseReference(signed);
  const identity = JSON.stringify({
    type: 'remapIdentity',
    prefix: `${pulled.domain}/${pulled.path}`,
    signedPrefix: reference === null ? signed : `${reference.domain}/${reference.path}`,
  });
  return {
    code: 'OTHER_NAME',
    message: `what is served is signed for ${names.slice(0, 3).join(', ')}: a client that pulls ${formatReference(pulled)} does not accept it for that name`,
    remedy: `pull it as ${signed}, with the copy as its mirror in registries.conf; or map the names in policy.json, beside the key: "signedIdentity": ${identity}; or have it signed for the name that is pulled`,
  };
}

/** What is stored below the repository and proves no name, where nothing proves the tag: by a wrong key, as a rule. */
function unproven({ asked, image, elsewhere }: Seen, keys: Keys): ServerFinding | null {
  if (asked.kind !== 'tag') return null;
  const proven = new Set(elsewhere.filter((one) => one.dockerReference !== null).map((one) => one.image));
  const [first] = elsewhere.filter((one) => one.dockerReference === null && !proven.has(one.image));
  if (first === undefined || first.state === 'verified') return null;
  const { code, say, remedy } = STATES[first.state];
  const by = nameOf(first.fingerprint ?? first.issuer ?? 'a key that it does not name', keys);
  return {
    code,
    message: `no verified signature is for ${image}; the newest other one of ${asked.path} ${say}: ${first.path} by ${by}`,
    remedy,
  };
}

interface Said {
  readonly code: ServerFinding['code'];
  readonly say: string;
  readonly remedy: string;
}

const SIGN_AGAIN = 'have the image signed again, with a key that is in force';
const STATES: Readonly<Record<Exclude<State, 'verified'>, Said>> = {
  'key-revoked': { code: 'KEY_REVOKED', say: 'is by a key that is revoked', remedy: SIGN_AGAIN },
  'key-expired': {
    code: 'KEY_EXPIRED',
    say: 'is by a key that has expired',
    remedy:
      'have the signer prolong the key and send it: lookaside key add FILE; clients need it too. Else have the image signed again',
  },
  expired: { code: 'SIGNATURE_EXPIRED', say: 'has expired', remedy: SIGN_AGAIN },
  'unknown-key': {
    code: 'KEY_UNKNOWN',
    say: 'is by a key that this server does not know',
    remedy: 'if it is the signer’s, add it: lookaside key add FILE',
  },
  unsupported: {
    code: 'SIGNATURE_BAD',
    say: 'is of a kind that this server cannot verify',
    remedy: 'have the image signed by podman, skopeo or gpg too',
  },
  bad: { code: 'SIGNATURE_BAD', say: 'does not verify', remedy: SIGN_AGAIN },
  unreadable: { code: 'SIGNATURE_BAD', say: 'is nothing that clients read', remedy: SIGN_AGAIN },
  unverified: {
    code: 'NOT_JUDGED',
    say: 'has not been judged yet',
    remedy: 'ask again in a minute',
  },
};

function whyNone({ asked, image, withdrawn, elsewhere }: Seen): ServerFinding {
  const [last] = [...withdrawn].sort((one, other) => other.withdrawnAt.getTime() - one.withdrawnAt.getTime());
  if (last !== undefined)
    return {
      code: 'WITHDRAWN',
      message: `the signature of ${image} was withdrawn at ${last.withdrawnAt.toISOString()}: ${last.reason}`,
      remedy: last.until === null ? SIGN_AGAIN : `it comes back at ${last.until.toISOString()}`,
    };
  const [other] = elsewhere;
  if (other === undefined)
    return {
      code: 'NEVER_SIGNED',
      message: `no signature of ${image} has reached this server`,
      remedy: 'sign the image, and send its signature to this server: lookaside push FOLDER --server URL',
    };
  const names = [...new Set(elsewhere.map((one) => one.image))].slice(0, 3);
  if (asked.kind === 'tag') {
    const tags = [...new Set(elsewhere.flatMap(({ dockerReference }) => dockerReference ?? []))].slice(0, 3);
    return {
      code: 'OTHER_TAG',
      message: `no signature is for ${image}; what is signed of ${asked.path} is for ${tags.join(', ') || names.join(', ')}`,
      remedy: 'sign that tag too, or pull by a tag or digest that is signed',
    };
  }
  return {
    code: 'OTHER_PATH',
    message: `the digest is signed under another path: ${names.join(', ')}`,
    remedy:
      'sign it under the name that is pulled too; where that is a mirror of the other, serve its signatures there: by a remapped view, or an upload below that path',
  };
}

/** What explains the rest, and refuses nothing by itself. */
function remarks(
  { signatures, mirrors, askedInVain, image, silent }: Seen,
  keys: Keys,
): readonly ServerFinding[] {
  const retired = [...new Set(signatures.flatMap(({ fingerprint }) => fingerprint ?? []))].flatMap(
    (fingerprint) => keys.get(fingerprint) ?? [],
  );
  return [
    ...(signatures.length > 0 && silent.length > 0 ? [silence(silent)] : []),
    ...retired.flatMap(({ fingerprint, retiredAt }): ServerFinding[] =>
      retiredAt === null
        ? []
        : [
            {
              code: 'KEY_RETIRED',
              message: `the key ${nameOf(fingerprint, keys)} is retired since ${retiredAt.toISOString()}: what it signed is still served, and clients that were set up since may not trust it`,
              remedy:
                'have the image signed by the key that follows it: lookaside key rotation OLD --to NEW lists what is left',
            },
          ],
    ),
    ...mirrors.flatMap(({ site, upstream, goneUpstream, checkedAt }): ServerFinding[] =>
      goneUpstream.length === 0
        ? []
        : [
            {
              code: 'GONE_UPSTREAM',
              message: `the mirror ${site} keeps ${goneUpstream.length} signatures of ${image} that ${upstream ?? 'its upstream'} had no longer at ${checkedAt.toISOString()}`,
              remedy: null,
            },
          ],
    ),
    ...askedInVain.map(
      ({ site, count, lastAt }): ServerFinding => ({
        code: 'ASKED_IN_VAIN',
        message: `clients asked the site ${site} for it in vain, ${count} ${count === 1 ? 'time' : 'times'}, last at ${lastAt.toISOString()}`,
        remedy: null,
      }),
    ),
  ];
}

function nameOf(fingerprint: string, keys: Keys): string {
  const [user] = keys.get(fingerprint)?.userIds ?? [];
  return user === undefined ? fingerprint : `${fingerprint} (${user})`;
}
