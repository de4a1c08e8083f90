// DELETE on a signature's path: an administrator withdraws it.
import { z } from 'zod';
import { LookasideError } from '../../domain/errors.ts';
import { actorOf } from '../exchange.ts';
import { expected, parseQuery } from '../parameters.ts';
import { jsonReply, type Reply } from '../reply.ts';
import { NO_BODY, type RouteRequest, type RouteSpec } from '../route.ts';
import type { Services } from '../services.ts';

export const withdrawSignature: RouteSpec = {
  ...NO_BODY,
  name: 'withdraw',
  path: null,
  methods: ['DELETE'],
  roles: ['admin'],
  route: withdraw,
};

const query = z.object({
  reason: z.string(expected('why: ?reason=TEXT')),
  sha256: z
    .string()
    .regex(/^[0-9a-f]{64}$/, expected('64 lower-case hex digits, of the bytes that are meant'))
    .optional(),
  until: z.iso
    .datetime({ offset: true, ...expected('a time like 2026-11-22T10:00:00Z') })
    .transform((text) => new Date(text))
    .optional(),
});

async function withdraw(services: Services, { exchange, query: given }: RouteRequest): Promise<Reply> {
  const { target } = exchange;
  if (target.kind !== 'signature' || target.number === null) {
    throw new LookasideError(
      'PATH_INVALID',
      'this path names no signature; wanted REPOSITORY@ALGORITHM=HEX/signature-N',
    );
  }
  const { sha256, reason, until = null } = parseQuery(query, given);
  const { image, number } = target;
  const withdrawn = await services.withdrawals.withdrawAt(
    { image, number },
    { reason, until, ...(sha256 === undefined ? {} : { sha256 }) },
    actorOf(exchange),
  );
  return jsonReply(200, withdrawn);
}
