// What this server knows about an image that clients refuse.
import { z } from 'zod';
import { ROLES } from '../../domain/ports.ts';
import { examineImage, parseAsked } from '../../service/server-doctor.ts';
import { actorOf } from '../exchange.ts';
import { expected, parseQuery } from '../parameters.ts';
import { jsonReply, type Reply } from '../reply.ts';
import { NO_BODY, type RouteRequest, type RouteSpec } from '../route.ts';
import type { Services } from '../services.ts';

export const doctor: RouteSpec = {
  ...NO_BODY,
  name: 'doctor',
  waits: 'long',
  path: '/api/v1/doctor',
  methods: ['GET', 'HEAD'],
  roles: ROLES,
  route: diagnoseImage,
};

const WANTED = expected('an image: team/app@sha256:<64 hex digits>, team/app:v1 or sha256:<64 hex digits>');

const parameters = z.strictObject({
  image: z
    .string(WANTED)
    .refine((text) => parseAsked(text) !== null, WANTED)
    .transform((text) => parseAsked(text)),
});

async function diagnoseImage(services: Services, { req, exchange, query }: RouteRequest): Promise<Reply> {
  const { image } = parseQuery(parameters, query);
  if (image === null) throw new Error('the name of an image that was checked cannot be parsed');
  const leaving = new AbortController();
  const leave = () => leaving.abort(new Error('the client left before its answer'));
  req.socket.once('close', leave);
  try {
    return jsonReply(
      200,
      await examineImage(services, image, { actor: actorOf(exchange), signal: leaving.signal }),
    );
  } finally {
    req.socket.off('close', leave);
  }
}
