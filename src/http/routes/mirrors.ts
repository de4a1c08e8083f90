// What lookaside mirror asks of a running server. Only administrators see what is in force, because paths of files are in it.
import { z } from 'zod';
import { MAX_MIRROR_IMAGES, MAX_MIRROR_RELEASES, MAX_MIRROR_SYNC_BYTES } from '../../domain/limits.ts';
import type { MirrorSettings } from '../../domain/mirror.ts';
import { parseTime } from '../../domain/record-question.ts';
import {
  MAX_RELEASE_CHANNELS,
  RELEASE_ARCH,
  RELEASE_CHANNEL,
  RELEASE_VERSION,
} from '../../domain/release-graph.ts';
import { expected, parseBody, parseQuery } from '../parameters.ts';
import { jsonReply, type Reply } from '../reply.ts';
import { NO_BODY, type RouteRequest, type RouteSpec } from '../route.ts';
import type { Services } from '../services.ts';
import { administrationFor, withProgress } from './administration.ts';

const asked = { ...NO_BODY, name: 'mirrors', waits: 'long', roles: ['admin'] } as const;
const changing = {
  name: 'mirrors',
  waits: 'long',
  roles: ['admin'],
  body: 'json',
  bodyMs: 5000,
  bodyBytes: 64 * 1024,
  methods: ['POST'],
} as const;

export const mirrors: readonly RouteSpec[] = [
  { ...asked, path: '/api/v1/mirrors', methods: ['GET', 'HEAD'], route: list },
  { ...changing, path: '/api/v1/mirrors', route: add },
  { ...asked, path: '/api/v1/mirrors/:name', methods: ['GET', 'HEAD'], route: show },
  { ...asked, path: '/api/v1/mirrors/:name/missed', methods: ['GET', 'HEAD'], route: missed },
  { ...changing, path: '/api/v1/mirrors/:name', route: edit },
  { ...asked, path: '/api/v1/mirrors/:name', methods: ['DELETE'], route: remove },
  {
    ...changing,
    name: 'mirror-sync',
    waits: 'long',
    path: '/api/v1/mirrors/:name/sync',
    bodyBytes: MAX_MIRROR_SYNC_BYTES,
    bodyMs: 60_000,
    route: sync,
  },
];

const name = z.string(expected('a string'));
// what is inside is checked where it is used, in one way for all doors
const settings = z.record(z.string(), z.unknown(), expected('an object'));
const addRequest = z.strictObject({ name, settings }, expected('{"name":…,"settings":{…}}'));
const editRequest = z.strictObject({ changes: settings }, expected('{"changes":{…}}'));
const release = z.strictObject(
  {
    digest: z.string().regex(/^sha256:[0-9a-f]{64}$/, expected('sha256:<hex>')),
    version: z.string().regex(RELEASE_VERSION, expected('a version like 4.18.3')),
    arch: z.string().regex(RELEASE_ARCH, expected('an architecture like amd64')).nullable(),
    channels: z
      .array(z.string().regex(RELEASE_CHANNEL, expected('channels like stable-4.18')))
      .max(MAX_RELEASE_CHANNELS),
    hasAllChannels: z.boolean(expected('true or false')).optional(),
  },
  expected('{"digest":…,"version":…,"arch":…,"channels":[…]}'),
);
const wholeChannel = z.strictObject(
  {
    channel: z.string().regex(RELEASE_CHANNEL, expected('a channel like stable-4.18')),
    arch: z.string().regex(RELEASE_ARCH, expected('an architecture like amd64')),
  },
  expected('{"channel":…,"arch":…}'),
);
const syncRequest = z.strictObject(
  {
    images: z
      .array(z.string(expected('a string')).max(500), expected('an array'))
      .max(MAX_MIRROR_IMAGES, expected(`at most ${MAX_MIRROR_IMAGES} images`)),
    maxAgeMs: z.int(expected('a whole number of milliseconds')).nonnegative().nullable().default(null),
    releases: z
      .array(release)
      .max(MAX_MIRROR_RELEASES, expected(`at most ${MAX_MIRROR_RELEASES} releases`))
      .default([]),
    wholeChannels: z
      .array(wholeChannel)
      .max(MAX_RELEASE_CHANNELS, expected(`at most ${MAX_RELEASE_CHANNELS} channels`))
      .default([]),
  },
  expected('{"images":[…],"maxAgeMs":…}'),
);

async function list(services: Services, { exchange }: RouteRequest): Promise<Reply> {
  return jsonReply(200, { mirrors: await administrationFor(services, exchange).mirrors.list() });
}

async function show(services: Services, { exchange, params }: RouteRequest): Promise<Reply> {
  return jsonReply(200, await administrationFor(services, exchange).mirrors.show(params.name ?? ''));
}

async function add(services: Services, { exchange, body }: RouteRequest): Promise<Reply> {
  const wanted = parseBody(addRequest, body);
  // checked by add(), as what comes from elsewhere is
  const given = wanted.settings as unknown as MirrorSettings;
  return jsonReply(201, await administrationFor(services, exchange).mirrors.add(wanted.name, given));
}

async function edit(services: Services, { exchange, params, body }: RouteRequest): Promise<Reply> {
  const { changes } = parseBody(editRequest, body);
  return jsonReply(200, await administrationFor(services, exchange).mirrors.edit(params.name ?? '', changes));
}

async function remove(services: Services, { exchange, params }: RouteRequest): Promise<Reply> {
  await administrationFor(services, exchange).mirrors.remove(params.name ?? '');
  return jsonReply(200, { name: params.name ?? '' });
}

const missedQuery = z.strictObject({
  since: z
    .string(expected('a time like 2026-11-22T10:00:00Z, or how long ago: 7d'))
    .refine(
      (text) => parseTime(text, new Date(0)) !== null,
      expected('a time like 2026-11-22T10:00:00Z, or how long ago: 7d'),
    ),
});

async function missed(services: Services, { exchange, params, query }: RouteRequest): Promise<Reply> {
  const { since } = parseQuery(missedQuery, query);
  const at = parseTime(since, services.clock.now()) ?? new Date(0); // checked above
  return jsonReply(200, {
    images: await administrationFor(services, exchange).mirrors.missed(params.name ?? '', at),
  });
}

async function sync(services: Services, { exchange, params, body }: RouteRequest): Promise<Reply> {
  const request = parseBody(syncRequest, body);
  const { mirrors } = administrationFor(services, exchange);
  await mirrors.show(params.name ?? ''); // one that is not there has a status of its own
  return withProgress(
    services.log,
    'mirror-sync',
    (onProgress) => mirrors.sync(params.name ?? '', { ...request, onProgress }),
    { done: 0, total: request.images.length },
  );
}
