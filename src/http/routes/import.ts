// Importing through the running server: what the command line reads from a folder on this machine comes as forms.
import { LookasideError } from '../../domain/errors.ts';
import { MAX_BATCH_BYTES } from '../../domain/limits.ts';
import { actorOf } from '../exchange.ts';
import { jsonReply, type Reply } from '../reply.ts';
import type { RouteRequest, RouteSpec } from '../route.ts';
import type { Services } from '../services.ts';

export const importBatch: RouteSpec = {
  name: 'import',
  path: '/api/v1/import',
  methods: ['POST'],
  roles: ['admin'],
  body: 'multipart',
  bodyBytes: MAX_BATCH_BYTES,
  bodyMs: 25_000,
  route,
};

async function route({ importer }: Services, request: RouteRequest): Promise<Reply> {
  const { parts, exchange } = request;
  const results = await importer.importBatch(parts, { dryRun: parseDryRun(request) }, actorOf(exchange));
  return jsonReply(200, { results });
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
