// Questions to the records of changes and of reads: pages, sums, and all rows as text.
import { z } from 'zod';
import type { Administration } from '../../domain/administration.ts';
import { answerCsv, answerHtml } from '../../domain/answer-text.ts';
import { LookasideError } from '../../domain/errors.ts';
import { DEFAULT_PAGE_ROWS, MAX_PAGE_ROWS } from '../../domain/limits.ts';
import { READY_QUESTIONS } from '../../domain/ready-question.ts';
import { askedFilter, FILTERS } from '../../domain/record-question.ts';
import {
  DIMENSIONS,
  EXPORT_FORMATS,
  type ExportFormat,
  type Grouping,
  type RecordName,
  type RecordQuestion,
} from '../../domain/records.ts';
import { quoted } from '../../domain/text.ts';
import { createAdministration } from '../../service/administration.ts';
import { exportedText } from '../../service/records.ts';
import { actorOf } from '../exchange.ts';
import { expected, parseBody, parseQuery } from '../parameters.ts';
import { jsonReply, type Reply, textReply } from '../reply.ts';
import { NO_BODY, type RouteRequest, type RouteSpec } from '../route.ts';
import type { Services } from '../services.ts';

/** Who may ask what people did. */
export const AUDITORS = { ...NO_BODY, waits: 'long', roles: ['admin', 'auditor'], methods: ['GET'] } as const;

export const records: readonly RouteSpec[] = [
  { ...AUDITORS, name: 'audit', path: '/api/v1/audit', route: answerTo('audit') },
  { ...AUDITORS, name: 'access', path: '/api/v1/access', route: answerTo('access') },
  {
    name: 'forget',
    waits: 'long',
    path: '/api/v1/audit/forget',
    methods: ['POST'],
    roles: ['admin'],
    body: 'json',
    bodyBytes: 4096,
    bodyMs: 5000,
    route: forget,
  },
  { ...AUDITORS, name: 'audit-question', path: '/api/v1/audit/:question', route: answerReady },
  { ...AUDITORS, name: 'audit-question', path: '/api/v1/audit/:question/*subject', route: answerReady },
];

const MAX_DIMENSIONS = 3;

const shape = {
  limit: z
    .string()
    .refine((text) => /^[0-9]+$/.test(text) && Number(text) >= 1 && Number(text) <= MAX_PAGE_ROWS, {
      error: `expected 1 to ${MAX_PAGE_ROWS}`,
    })
    .transform(Number)
    .optional(),
  cursor: z.string().optional(),
  by: z.string().optional(),
  count: z.enum(['1'], expected('1')).optional(),
  format: z.enum(['json', ...EXPORT_FORMATS], expected('json, jsonl or csv')).optional(),
};

const filterShape = (record: RecordName) =>
  Object.fromEntries(FILTERS[record].map((name) => [name, z.string().optional()]));

const PARAMETERS = {
  audit: z.strictObject({ ...filterShape('audit'), ...shape }),
  access: z.strictObject({ ...filterShape('access'), ...shape }),
} as const;

function answerTo(record: RecordName) {
  return async (services: Services, request: RouteRequest): Promise<Reply> => {
    const {
      limit = DEFAULT_PAGE_ROWS,
      cursor = null,
      by,
      count,
      format = 'json',
      ...texts
    } = parseQuery(PARAMETERS[record], request.query);
    const filter = askedFilter(texts, services.clock.now());
    const question: RecordQuestion = { record, filter };
    if (format !== 'json') {
      refuseBeside(format, { limit: request.query.get('limit'), cursor, by, count });
      return exportReply(question, format, services, request);
    }
    return whileConnected(services, request, async ({ records: asked }) => {
      if (by === undefined && count === undefined)
        return jsonReply(200, await asked.page(question, { cursor, limit }));
      refuseBeside('sums', { cursor });
      const grouping = by === undefined ? [] : parseGrouping(record, by);
      return jsonReply(200, await asked.sums(question, grouping, limit));
    });
  };
}

const person = z.string(expected('a string')).min(1, expected('a name or an address'));

const forgetRequest = z
  .strictObject(
    { actor: person.optional(), address: person.optional(), before: z.string(expected('a time')) },
    expected('{"actor" or "address":…,"before":…}'),
  )
  .refine(
    ({ actor, address }) => (actor === undefined) !== (address === undefined),
    expected('one of actor and address'),
  );

async function forget(services: Services, { exchange, body }: RouteRequest): Promise<Reply> {
  const { actor, address, before } = parseBody(forgetRequest, body);
  const { since: at } = askedFilter({ actor, address, since: before }, services.clock.now());
  if (at === null) throw new Error('a time that was given was not read');
  const who = { kind: actor === undefined ? 'address' : 'actor', text: actor ?? address ?? '' } as const;
  return jsonReply(200, await createAdministration(services, actorOf(exchange)).records.forget(who, at));
}

const READY_PARAMETERS = z.strictObject({
  since: z.string().optional(),
  until: z.string().optional(),
  repository: z.string().optional(),
  limit: shape.limit,
  format: z.enum(['json', 'html', 'csv'], expected('json, html or csv')).optional(),
});

async function answerReady(services: Services, request: RouteRequest): Promise<Reply> {
  const { question = '', subject = null } = request.params;
  const kind = READY_QUESTIONS.find((one) => one === question);
  if (kind === undefined) {
    throw new LookasideError(
      'NOT_FOUND',
      `there is no question ${quoted(question)}, expected one of: ${READY_QUESTIONS.join(', ')}`,
    );
  }
  const {
    limit = DEFAULT_PAGE_ROWS,
    format = 'json',
    ...texts
  } = parseQuery(READY_PARAMETERS, request.query);
  const { since, until, repository } = askedFilter(texts, services.clock.now());
  return whileConnected(services, request, async ({ records: asked }) => {
    const answer = await asked.ready({ kind, subject, since, until, repository, limit });
    if (format === 'json') return jsonReply(200, answer);
    if (format === 'csv')
      return textReply(200, answerCsv(answer), {
        'Content-Type': 'text/csv; charset=utf-8',
      });
    return textReply(200, answerHtml(answer), { 'Content-Type': 'text/html; charset=utf-8', ...PAGE_POLICY });
  });
}

/** The policy that the page itself has, once more for whoever keeps it as a file. */
const PAGE_POLICY = { 'Content-Security-Policy': "default-src 'none'; style-src 'unsafe-inline'" };

/** @throws LookasideError REQUEST_INVALID */
function parseGrouping(record: RecordName, text: string): Grouping {
  const known: Grouping = DIMENSIONS[record];
  const names = text.split(',');
  const by = names.flatMap((name) => known.find((one) => one === name) ?? []);
  if (by.length === names.length && names.length <= MAX_DIMENSIONS && new Set(names).size === names.length)
    return by;
  throw new LookasideError(
    'REQUEST_INVALID',
    `by is ${quoted(text)}, expected at most ${MAX_DIMENSIONS} of: ${known.join(', ')}`,
  );
}

/** @throws LookasideError REQUEST_INVALID */
function refuseBeside(what: string, others: Readonly<Record<string, string | null | undefined>>): void {
  const [name] = Object.entries(others).find(([, value]) => value != null) ?? [];
  if (name === undefined) return;
  throw new LookasideError('REQUEST_INVALID', `${name} has no meaning with ${what}; leave it out`);
}

/** What `act` gives. It asks in the caller's name, and ends when the caller leaves. */
async function whileConnected(
  services: Services,
  { req, exchange }: RouteRequest,
  act: (administration: Administration) => Promise<Reply>,
): Promise<Reply> {
  const leaving = new AbortController();
  const leave = () => leaving.abort(new Error('the client left before its answer'));
  req.socket.once('close', leave);
  try {
    return await act(createAdministration(services, actorOf(exchange), leaving.signal));
  } finally {
    req.socket.off('close', leave);
  }
}

async function exportReply(
  question: RecordQuestion,
  format: ExportFormat,
  services: Services,
  { exchange }: RouteRequest,
): Promise<Reply> {
  const { type, pieces } = await exportedText(services.records, question, format, actorOf(exchange));
  return {
    status: 200,
    headers: {
      'Content-Type': type,
      'X-Content-Type-Options': 'nosniff',
      'Cache-Control': 'no-store',
      'X-Accel-Buffering': 'no',
    },
    body: pieces,
  };
}
