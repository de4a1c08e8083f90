// The signatures of an OpenShift release, as its cluster takes them without asking a URL.
import { z } from 'zod';
import { forEachConcurrently } from '../../domain/concurrency.ts';
import { type ConfigMap, configMapsOf, configMapYaml } from '../../domain/configmap.ts';
import { isLookasideError, LookasideError } from '../../domain/errors.ts';
import type { ImageId } from '../../domain/image.ts';
import { parseKeyName } from '../../domain/key.ts';
import {
  ofArchitecture,
  parseReleaseName,
  RELEASE_ARCH,
  type ReleaseName,
} from '../../domain/release-graph.ts';
import { expected, parseQuery } from '../parameters.ts';
import { jsonReply, type Reply, textReply } from '../reply.ts';
import { NO_BODY, type RouteRequest, type RouteSpec } from '../route.ts';
import type { Services } from '../services.ts';

export const releaseConfigMap: RouteSpec = {
  ...NO_BODY,
  name: 'release-configmap',
  waits: 'long',
  path: '/api/v1/releases/:release/configmap',
  methods: ['GET', 'HEAD'],
  roles: 'reader',
  route: showConfigMap,
};

const query = z.strictObject({
  format: z.enum(['yaml', 'json'], expected('yaml or json')).default('yaml'),
  key: z.string().optional(),
  site: z.string().optional(),
  arch: z.string().regex(RELEASE_ARCH, expected('an architecture like amd64')).optional(),
});

const RELEASES_AT_ONCE = 8;

async function showConfigMap(services: Services, { params, query: given }: RouteRequest): Promise<Reply> {
  const { format, key, site, arch } = parseQuery(query, given);
  const preferred = key === undefined ? null : parseKeyName(key);
  const hexes = await digestsOf(services, parseReleaseName(params.release ?? ''), arch ?? null);
  const mapsByDigest = new Map<string, readonly ConfigMap[] | null>(hexes.map((hex) => [hex, null]));
  await forEachConcurrently(hexes, RELEASES_AT_ONCE, async (hex) => {
    const image = await findRelease(services, hex, site ?? null);
    if (image !== null) mapsByDigest.set(hex, await mapsOf(services, image, preferred));
  });
  const maps = [...mapsByDigest.values()].flatMap((some) => some ?? []);
  if (maps.length === 0) throw noneOf(params.release ?? '', hexes);
  if (format === 'json')
    return jsonReply(200, maps.length === 1 ? maps[0] : { apiVersion: 'v1', kind: 'List', items: maps });
  const lacking = [...mapsByDigest].flatMap(([hex, some]) =>
    some === null ? [`# no signature here: sha256:${hex}\n`] : [],
  );
  const text = lacking.join('') + configMapYaml(maps);
  return textReply(200, text, { 'Content-Type': 'application/yaml; charset=utf-8' });
}

/** @throws LookasideError NOT_FOUND when no graph has named it */
async function digestsOf(
  { mirrors }: Services,
  release: ReleaseName,
  arch: string | null,
): Promise<readonly string[]> {
  if (release.kind === 'digest') return [release.hex];
  const known = ofArchitecture(await mirrors.releases(release.name), arch);
  if (known.length > 0) return known.map(({ digest }) => digest.slice('sha256:'.length));
  const message = `no update graph has named the ${release.kind} ${release.name}${arch === null ? '' : ` for ${arch}`}; read one with: lookaside mirror sync NAME --graph URL`;
  throw new LookasideError('NOT_FOUND', message);
}

function noneOf(name: string, hexes: readonly string[]): LookasideError {
  const digests = hexes.slice(0, 3).map((hex) => `sha256:${hex}`);
  const more = hexes.length > digests.length ? ' …' : '';
  return new LookasideError(
    'NOT_FOUND',
    `there is no signature of the release ${name}${digests.includes(name) ? '' : ` (${digests.join(', ')}${more})`}; fetch it with: lookaside mirror sync`,
  );
}

async function mapsOf(
  services: Services,
  image: ImageId,
  preferred: string | null,
): Promise<readonly ConfigMap[]> {
  const texts: string[] = [];
  for (const number of await inOrder(services, image, preferred)) {
    const signature = await services.reader.readSignature(image, number);
    if (signature !== null) texts.push(Buffer.from(signature.bytes).toString('base64'));
  }
  return configMapsOf(image.hex, texts);
}

/** In the first site that has it; null: none has. @throws LookasideError for what kept a site from telling */
async function findRelease(
  { places, reader }: Services,
  hex: string,
  wanted: string | null,
): Promise<ImageId | null> {
  const names = places().flatMap(({ name, view }) =>
    view?.layout === 'repository' || (wanted !== null && wanted !== name) ? [] : [name],
  );
  let failure: unknown = null;
  for (const site of new Set(names)) {
    const image: ImageId = { site, layout: 'release', path: '', algorithm: 'sha256', hex };
    try {
      if ((await reader.readSet(image)).entries.length > 0) return image;
    } catch (error) {
      if (!isLookasideError(error)) throw error;
      failure ??= error;
    }
  }
  if (failure !== null) throw failure;
  return null;
}

/** Served numbers, one of each signature, those by the preferred key ahead: oc-mirror reads the first alone. */
async function inOrder(
  services: Services,
  image: ImageId,
  preferred: string | null,
): Promise<readonly number[]> {
  const { entries } = await services.reader.readSet(image);
  const numbers = new Map<string, number>();
  for (const [position, { sha256 }] of entries.entries())
    if (!numbers.has(sha256)) numbers.set(sha256, position + 1);
  if (preferred === null) return [...numbers.values()];
  const stored = await services.signatures.ofImage(image);
  const byKey = new Set(
    stored.flatMap(({ signatureSha256, fingerprint }) =>
      fingerprint?.endsWith(preferred) ? [signatureSha256] : [],
    ),
  );
  const all = [...numbers];
  const [ahead, behind] = [true, false].map((isAhead) =>
    all.filter(([sha256]) => byKey.has(sha256) === isAhead),
  );
  return [...(ahead ?? []), ...(behind ?? [])].map(([, number]) => number);
}
