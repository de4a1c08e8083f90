// This server as a witness of other logs: C2SP tlog-witness. Who asks is known by the signature of the log alone.
import { LookasideError } from '../../domain/errors.ts';
import { formatNoteKey } from '../../domain/signed-note.ts';
import type { Witness, WitnessAnswer } from '../../service/witness.ts';
import { type Reply, textReply } from '../reply.ts';
import { NO_BODY, type RouteRequest, type RouteSpec } from '../route.ts';
import type { Services } from '../services.ts';

/** 63 lines of a proof, and a note with signatures of several kinds. */
const MAX_REQUEST_BYTES = 64 * 1024;

export const witness: readonly RouteSpec[] = [
  {
    name: 'witness',
    path: '/witness/add-checkpoint',
    methods: ['POST'],
    roles: 'open',
    body: 'bytes',
    bodyBytes: MAX_REQUEST_BYTES,
    bodyMs: 5000,
    route: addCheckpoint,
  },
  {
    ...NO_BODY,
    name: 'witness-key',
    path: '/witness/key',
    methods: ['GET', 'HEAD'],
    roles: 'open',
    route: key,
  },
  {
    ...NO_BODY,
    name: 'witness',
    path: '/witness/:origin/checkpoint',
    methods: ['GET', 'HEAD'],
    roles: 'open',
    route: newest,
  },
];

const STATUS: Record<Exclude<WitnessAnswer['outcome'], 'cosigned' | 'conflict'>, number> = {
  malformed: 400,
  'unknown-log': 404,
  'not-signed': 403,
  inconsistent: 422,
};

async function addCheckpoint(services: Services, { bytes }: RouteRequest): Promise<Reply> {
  const answer = await witnessOf(services).addCheckpoint(Buffer.from(bytes).toString('utf8'));
  switch (answer.outcome) {
    case 'cosigned':
      return textReply(200, answer.lines);
    case 'conflict':
      return textReply(409, `${answer.size}\n`, { 'Content-Type': 'text/x.tlog.size' });
    default:
      return textReply(STATUS[answer.outcome], `${answer.why}\n`);
  }
}

async function key(services: Services): Promise<Reply> {
  return textReply(200, `${formatNoteKey(witnessOf(services).key)}\n`, { 'Cache-Control': 'no-cache' });
}

async function newest(services: Services, { params }: RouteRequest): Promise<Reply> {
  const note = await witnessOf(services).checkpoint(params.origin ?? '');
  if (note === null)
    throw new LookasideError('NOT_FOUND', 'no head of a log with that hash of its origin was cosigned here');
  return textReply(200, note, { 'Cache-Control': 'no-cache' });
}

function witnessOf({ witness: there }: Services): Witness {
  if (there !== null) return there;
  throw new LookasideError(
    'NOT_FOUND',
    'this server is not a witness; LOOKASIDE_WITNESS_LOGS names the logs that it would witness',
  );
}
