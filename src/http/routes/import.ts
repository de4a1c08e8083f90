// Importing through a running server: what the command line reads from a folder on its machine comes as forms.
import { LookasideError } from '../../domain/errors.ts';
import { MAX_BATCH_BYTES } from '../../domain/limits.ts';
import { jsonReply, type Reply } from '../reply.ts';
import type { RouteRequest, RouteSpec } from '../route.ts';
import type { Services } from '../services.ts';
import { administrationFor } from './administration.ts';

export const importBatch: RouteSpec = {
  name: 'import',
  waits: 'long',
  path: '/api/v1/import',
  methods: ['POST'],
  roles: ['admin'],
  body: 'multipart',
  bodyBytes: MAX_BATCH_BYTES,
  bodyMs: 25_000,
  route,
};

async function route(services: Services, request: RouteRequest): Promise<Reply> {
  const { parts, exchange } = request;
  const dryRun = parseDryRun(request);
  return jsonReply(200, {
    results: await administrationFor(services, exchange).importBatch(parts, { dryRun }),
  });
}

/** @throws LookasideError REQUEST_INVALID */
function parseDryRun({ query }: RouteRequest): boolean {
  const given = query.getAll('dryRun');
  if (given.every((value) => value === '1')) return given.length > 0;
  throw new LookasideError(
    'REQUEST_INVALID',
    'dryRun is set to something else; wanted dryRun=1, or leave it out',
  );
}
