// The signatures of an OpenShift release, as its cluster takes them without asking a URL.
import { z } from 'zod';
import { configMapsOf, configMapYaml } from '../../domain/configmap.ts';
import { isLookasideError, LookasideError } from '../../domain/errors.ts';
import { type ImageId, parseDigest } from '../../domain/image.ts';
import { parseKeyName } from '../../domain/key.ts';
import { expected, parseQuery } from '../parameters.ts';
import { jsonReply, type Reply, textReply } from '../reply.ts';
import { NO_BODY, type RouteRequest, type RouteSpec } from '../route.ts';
import type { Services } from '../services.ts';

export const releaseConfigMap: RouteSpec = {
  ...NO_BODY,
  name: 'release-configmap',
  path: '/api/v1/releases/:digest/configmap',
  methods: ['GET', 'HEAD'],
  roles: 'reader',
  route: showConfigMap,
};

const query = z.strictObject({
  format: z.enum(['yaml', 'json'], expected('yaml or json')).default('yaml'),
  key: z.string().optional(),
  site: z.string().optional(),
});

async function showConfigMap(services: Services, { params, query: given }: RouteRequest): Promise<Reply> {
  const { format, key, site } = parseQuery(query, given);
  const digest = parseDigest(params.digest ?? '');
  if (digest?.algorithm !== 'sha256')
    throw new LookasideError('REQUEST_INVALID', 'a release is named by its digest, like sha256:0c8f…');
  const preferred = key === undefined ? null : parseKeyName(key);
  const image = await findRelease(services, digest.hex, site ?? null);
  const numbers = await inOrder(services, image, preferred);
  const texts: string[] = [];
  for (const number of numbers) {
    const found = await services.reader.readSignature(image, number);
    if (found !== null) texts.push(Buffer.from(found.bytes).toString('base64'));
  }
  const maps = configMapsOf(digest.hex, texts);
  if (format === 'yaml')
    return textReply(200, configMapYaml(maps), { 'Content-Type': 'application/yaml; charset=utf-8' });
  return jsonReply(200, maps.length === 1 ? maps[0] : { apiVersion: 'v1', kind: 'List', items: maps });
}

/** In the first site that has it. @throws LookasideError NOT_FOUND, and what kept a site from telling */
async function findRelease(
  { places, reader }: Services,
  hex: string,
  wanted: string | null,
): Promise<ImageId> {
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
  throw new LookasideError(
    'NOT_FOUND',
    `there is no signature of the release sha256:${hex}; fetch it with: lookaside mirror sync`,
  );
}

/** Served numbers, those by the preferred key ahead: oc-mirror reads the first alone. */
async function inOrder(
  services: Services,
  image: ImageId,
  preferred: string | null,
): Promise<readonly number[]> {
  const { entries } = await services.reader.readSet(image);
  const all = entries.map((_, position) => position + 1);
  if (preferred === null) return all;
  const stored = await services.signatures.ofImage(image);
  const byKey = new Set(
    stored.flatMap(({ number, fingerprint }) => (fingerprint?.endsWith(preferred) ? [number] : [])),
  );
  return [...all.filter((number) => byKey.has(number)), ...all.filter((number) => !byKey.has(number))];
}
