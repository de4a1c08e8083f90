// Signers and grants: who may upload what.
import { z } from 'zod';
import { ROLES } from '../../domain/ports.ts';
import { expected, parseBody, parseQuery } from '../parameters.ts';
import { jsonReply, type Reply } from '../reply.ts';
import { NO_BODY, type RouteRequest, type RouteSpec } from '../route.ts';
import type { Services } from '../services.ts';
import { administrationFor } from './administration.ts';
import { subject } from './subjects.ts';

const anyToken = { ...NO_BODY, roles: ROLES, methods: ['GET', 'HEAD'] } as const;
const json = { methods: ['POST'], body: 'json', bodyMs: 5000 } as const;
const administrator = { ...NO_BODY, roles: ['admin'] } as const;

export const signers: readonly RouteSpec[] = [
  { ...anyToken, name: 'signers', path: '/api/v1/signers', route: listSigners },
  {
    ...json,
    roles: ['admin'],
    name: 'signers',
    path: '/api/v1/signers',
    bodyBytes: 64 * 1024,
    route: addSigner,
  },
  { ...anyToken, name: 'signers', path: '/api/v1/signers/:name', route: showSigner },
  {
    ...administrator,
    name: 'signers',
    path: '/api/v1/signers/:name',
    methods: ['DELETE'],
    route: removeSigner,
  },
  {
    ...administrator,
    name: 'signers',
    path: '/api/v1/signers/:name/disable',
    methods: ['POST'],
    route: disableSigner,
  },
  {
    ...administrator,
    name: 'signers',
    path: '/api/v1/signers/:name/enable',
    methods: ['POST'],
    route: enableSigner,
  },
  { ...anyToken, name: 'grants', path: '/api/v1/grants', route: listGrants },
  {
    ...json,
    roles: ['admin'],
    name: 'grants',
    path: '/api/v1/grants',
    bodyBytes: 64 * 1024,
    route: addGrant,
  },
  // a POST for its body; it changes nothing
  { ...json, roles: ROLES, name: 'grants', path: '/api/v1/grants/test', bodyBytes: 4096, route: testGrant },
  { ...administrator, name: 'grants', path: '/api/v1/grants/:id', methods: ['DELETE'], route: removeGrant },
];

const text = (what: string) => z.string(expected(what));
const texts = (what: string) => z.array(text('a string'), expected(`an array of ${what}`));

const signerRequest = z.strictObject(
  {
    name: text('a string'),
    description: text('a string').default(''),
    subjects: z.array(subject, expected('an array of subjects')).default([]),
  },
  expected('{"name":…,"description":…,"subjects":[…]}'),
);
const grantRequest = z.strictObject(
  {
    signer: text('the name of a signer'),
    repositories: texts('patterns'),
    keys: texts('fingerprints and key IDs'),
    tags: texts('patterns').default([]),
  },
  expected('{"signer":…,"repositories":[…],"keys":[…],"tags":[…]}'),
);
const testRequest = z.strictObject(
  {
    signer: text('the name of a signer'),
    repository: text('a repository'),
    key: text('a fingerprint or key ID'),
    tag: text('a tag').nullable().default(null),
  },
  expected('{"signer":…,"repository":…,"key":…,"tag":…}'),
);
const grantsQuery = z.object({ signer: text('the name of a signer').optional() });

async function listSigners(services: Services, { exchange }: RouteRequest): Promise<Reply> {
  return jsonReply(200, { signers: await administrationFor(services, exchange).signers.list() });
}

async function addSigner(services: Services, { exchange, body }: RouteRequest): Promise<Reply> {
  const wanted = parseBody(signerRequest, body);
  return jsonReply(201, await administrationFor(services, exchange).signers.add(wanted));
}

async function showSigner(services: Services, { exchange, params }: RouteRequest): Promise<Reply> {
  return jsonReply(200, await administrationFor(services, exchange).signers.show(params.name ?? ''));
}

async function removeSigner(services: Services, { exchange, params }: RouteRequest): Promise<Reply> {
  return jsonReply(200, await administrationFor(services, exchange).signers.remove(params.name ?? ''));
}

async function disableSigner(services: Services, { exchange, params }: RouteRequest): Promise<Reply> {
  return jsonReply(200, await administrationFor(services, exchange).signers.disable(params.name ?? ''));
}

async function enableSigner(services: Services, { exchange, params }: RouteRequest): Promise<Reply> {
  return jsonReply(200, await administrationFor(services, exchange).signers.enable(params.name ?? ''));
}

async function listGrants(services: Services, { exchange, query }: RouteRequest): Promise<Reply> {
  const { signer = null } = parseQuery(grantsQuery, query);
  return jsonReply(200, { grants: await administrationFor(services, exchange).grants.list(signer) });
}

async function addGrant(services: Services, { exchange, body }: RouteRequest): Promise<Reply> {
  const added = await administrationFor(services, exchange).grants.add(parseBody(grantRequest, body));
  return jsonReply(added.created ? 201 : 200, added);
}

async function testGrant(services: Services, { exchange, body }: RouteRequest): Promise<Reply> {
  return jsonReply(
    200,
    await administrationFor(services, exchange).grants.test(parseBody(testRequest, body)),
  );
}

async function removeGrant(services: Services, { exchange, params }: RouteRequest): Promise<Reply> {
  const { id = '' } = params;
  // no number names no grant
  const number = /^[0-9]{1,15}$/.test(id) ? Number(id) : Number.NaN;
  return jsonReply(200, await administrationFor(services, exchange).grants.remove(number));
}
