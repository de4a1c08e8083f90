// OIDC subjects: which tokens of OpenID providers act as which signer.
import { z } from 'zod';
import { ROLES } from '../../domain/ports.ts';
import { expected, parseBody, parseQuery } from '../parameters.ts';
import { jsonReply, type Reply } from '../reply.ts';
import { NO_BODY, type RouteRequest, type RouteSpec } from '../route.ts';
import type { Services } from '../services.ts';
import { administrationFor } from './administration.ts';

export const subjects: readonly RouteSpec[] = [
  {
    ...NO_BODY,
    roles: ROLES,
    methods: ['GET', 'HEAD'],
    name: 'subjects',
    path: '/api/v1/subjects',
    route: listSubjects,
  },
  {
    name: 'subjects',
    path: '/api/v1/subjects',
    methods: ['POST'],
    roles: ['admin'],
    body: 'json',
    bodyBytes: 64 * 1024,
    bodyMs: 5000,
    route: addSubject,
  },
  {
    ...NO_BODY,
    name: 'subjects',
    path: '/api/v1/subjects/:id',
    methods: ['DELETE'],
    roles: ['admin'],
    route: removeSubject,
  },
];

const text = (what: string) => z.string(expected(what));
const members = {
  issuer: text('the URL of an issuer'),
  claims: z.record(z.string(), text('a pattern'), expected('an object of patterns')),
};

/** The subject of a signer that is being added. */
export const subject = z.strictObject(members, expected('{"issuer":…,"claims":{…}}'));

const subjectRequest = z.strictObject(
  { signer: text('the name of a signer'), ...members },
  expected('{"signer":…,"issuer":…,"claims":{…}}'),
);
const subjectsQuery = z.object({ signer: text('the name of a signer').optional() });

async function listSubjects(services: Services, { exchange, query }: RouteRequest): Promise<Reply> {
  const { signer = null } = parseQuery(subjectsQuery, query);
  return jsonReply(200, { subjects: await administrationFor(services, exchange).subjects.list(signer) });
}

async function addSubject(services: Services, { exchange, body }: RouteRequest): Promise<Reply> {
  const added = await administrationFor(services, exchange).subjects.add(parseBody(subjectRequest, body));
  return jsonReply(added.created ? 201 : 200, added);
}

async function removeSubject(services: Services, { exchange, params }: RouteRequest): Promise<Reply> {
  const { id = '' } = params;
  // no number names no subject
  const number = /^[0-9]{1,15}$/.test(id) ? Number(id) : Number.NaN;
  return jsonReply(200, await administrationFor(services, exchange).subjects.remove(number));
}
