// Who may sign what as one document: written, compared with what is here, and brought into force.
import { z } from 'zod';
import { MAX_ACCESS_RULES_BYTES } from '../../domain/limits.ts';
import { ROLES } from '../../domain/ports.ts';
import { expected, parseBody } from '../parameters.ts';
import { jsonReply, type Reply } from '../reply.ts';
import { NO_BODY, type RouteRequest, type RouteSpec } from '../route.ts';
import type { Services } from '../services.ts';
import { administrationFor } from './administration.ts';

// a document of thousands of signers and grants is thousands of statements, and keys are changed in turn
const change = {
  name: 'access-rules',
  waits: 'long',
  methods: ['POST'],
  roles: ['admin'],
  body: 'json',
  bodyBytes: MAX_ACCESS_RULES_BYTES,
  bodyMs: 25_000,
} as const;

export const accessRules: readonly RouteSpec[] = [
  {
    ...NO_BODY,
    roles: ROLES,
    methods: ['GET', 'HEAD'],
    name: 'access-rules',
    path: '/api/v1/access-rules',
    route: exportRules,
  },
  { ...change, path: '/api/v1/access-rules/plan', route: plan },
  { ...change, path: '/api/v1/access-rules/apply', route: apply },
];

const text = (what: string) => z.string(expected(what));
const texts = (what: string) => z.array(text('a string'), expected(`an array of ${what}`));
const absent = <Schema extends z.ZodType>(schema: Schema) => schema.nullable().default(null);

const rules = z.strictObject(
  {
    keys: absent(
      z.array(
        z.strictObject(
          {
            fingerprint: text('a fingerprint'),
            certificate: absent(text('an armoured certificate')),
            retired: absent(z.boolean(expected('true or false'))),
          },
          expected('{"fingerprint":…,"certificate":…,"retired":…}'),
        ),
      ),
    ),
    signers: absent(
      z.array(
        z.strictObject(
          {
            name: text('the name of a signer'),
            description: absent(text('a string')),
            disabled: absent(z.boolean(expected('true or false'))),
            oidc: absent(
              z.array(
                z.strictObject(
                  { issuer: text('the URL of an issuer'), claims: z.record(z.string(), text('a pattern')) },
                  expected('{"issuer":…,"claims":{…}}'),
                ),
              ),
            ),
            grants: absent(
              z.array(
                z.strictObject(
                  {
                    repositories: texts('patterns'),
                    fingerprints: texts('fingerprints'),
                    tags: texts('patterns').default([]),
                  },
                  expected('{"repositories":[…],"fingerprints":[…],"tags":[…]}'),
                ),
              ),
            ),
          },
          expected('an object with the name of a signer'),
        ),
      ),
    ),
    tokens: absent(
      z.array(
        z.strictObject(
          {
            name: text('the name of a token'),
            role: z.enum(ROLES, expected(ROLES.join(', '))).default('uploader'),
            signer: absent(text('the name of a signer')),
          },
          expected('{"name":…,"role":…,"signer":…}'),
        ),
      ),
    ),
  },
  expected('{"keys":[…],"signers":[…],"tokens":[…]}'),
);
const prune = z.boolean(expected('true or false')).default(false);
const planRequest = z.strictObject({ rules, prune }, expected('{"rules":{…},"prune":…}'));
const applyRequest = z.strictObject(
  { rules, prune, id: text('the id of a plan') },
  expected('{"rules":{…},"prune":…,"id":…}'),
);

async function exportRules(services: Services, { exchange }: RouteRequest): Promise<Reply> {
  return jsonReply(200, await administrationFor(services, exchange).rules.export());
}

async function plan(services: Services, { exchange, body }: RouteRequest): Promise<Reply> {
  const { rules: wanted, prune: isPruned } = parseBody(planRequest, body);
  return jsonReply(200, await administrationFor(services, exchange).rules.plan(wanted, { prune: isPruned }));
}

async function apply(services: Services, { exchange, body }: RouteRequest): Promise<Reply> {
  const { rules: wanted, prune: isPruned, id } = parseBody(applyRequest, body);
  const options = { prune: isPruned, id };
  return jsonReply(200, await administrationFor(services, exchange).rules.apply(wanted, options));
}
