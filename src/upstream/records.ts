// Questions to the records of a running server.
import { z } from 'zod/v3';
import type { RecordAdministration } from '../domain/administration.ts';
import { READY_QUESTIONS, type ReadyAnswer } from '../domain/ready-question.ts';
import { filterTexts } from '../domain/record-question.ts';
import {
  type AccessRow,
  type AuditRow,
  type Dimension,
  type Forgotten,
  RECORDS,
  type RecordPage,
  type RecordQuestion,
  type RecordSums,
} from '../domain/records.ts';
import { count, date, fingerprint, readAnswer, sha256, word } from './answers.ts';
import { type Asker, jsonRequest } from './asker.ts';
import type { HttpRequest } from './connection.ts';
import type { SchemaOf } from './refusal.ts';
import { throwWithRemedy } from './remedy.ts';

const text = z.string().nullable();

const auditRow = z.object({
  seq: count,
  at: date,
  action: word<string>(),
  site: z.string(),
  image: text,
  signatureSha256: sha256.nullable(),
  fingerprint: fingerprint.nullable(),
  result: z.string(),
  count,
  since: date.nullable(),
  actor: text,
  address: text,
  requestId: text,
  reason: text,
}) satisfies SchemaOf<AuditRow>;

const accessRow = z.object({
  firstAt: date,
  lastAt: date,
  site: z.string(),
  image: z.string(),
  number: count.nullable(),
  signatureSha256: sha256.nullable(),
  status: count,
  address: z.string(),
  agent: text,
  token: text,
  count,
  bytes: count,
}) satisfies SchemaOf<AccessRow>;

const completeness = { dropped: count, gaps: z.array(z.string()) };

const pageAnswer = z.object({
  record: z.enum(RECORDS),
  rows: z.array(z.union([auditRow, accessRow])),
  next: text,
  ...completeness,
}) satisfies SchemaOf<RecordPage>;

const sums = { count, bytes: count };

const sumsAnswer = z.object({
  record: z.enum(RECORDS),
  by: z.array(word<Dimension>()),
  groups: z.array(z.object({ of: z.array(text), ...sums, firstAt: date, lastAt: date })),
  found: count,
  total: z.object({ ...sums, rows: count, firstAt: date.nullable(), lastAt: date.nullable() }),
  ...completeness,
}) satisfies SchemaOf<RecordSums>;

const forgottenAnswer = z.object({ events: count, reads: count }) satisfies SchemaOf<Forgotten>;

const cell = z.union([z.string(), z.number(), z.null()]);

const readyAnswer = z.object({
  question: z.enum(READY_QUESTIONS),
  subject: text,
  since: date.nullable(),
  until: date.nullable(),
  answeredAt: date,
  facts: z.array(z.object({ name: z.string(), value: cell })),
  tables: z.array(
    z.object({
      name: z.string(),
      title: z.string(),
      columns: z.array(z.string()),
      rows: z.array(z.array(cell)),
      found: count,
    }),
  ),
  ...completeness,
}) satisfies SchemaOf<ReadyAnswer>;

export function recordsOf(asker: Asker): RecordAdministration {
  async function ask<Schema extends SchemaOf<unknown>>(
    schema: Schema,
    path: string,
    mayFindNothing = false,
  ): Promise<z.output<Schema>> {
    const request: HttpRequest = { method: 'GET', path, isLong: true, mayFindNothing };
    const { body } = await asker.ask(request).catch(throwWithRemedy);
    return readAnswer(schema, { server: asker.name, body });
  }

  return {
    page: (question, { cursor, limit }) =>
      ask(pageAnswer, pathOf(question, { limit: String(limit), ...(cursor === null ? {} : { cursor }) })),
    sums: (question, by, limit) =>
      ask(
        sumsAnswer,
        pathOf(question, {
          count: '1',
          limit: String(limit),
          ...(by.length === 0 ? {} : { by: by.join(',') }),
        }),
      ),
    async forget({ kind, text: name }, before) {
      const request = jsonRequest('/api/v1/audit/forget', { [kind]: name, before: before.toISOString() });
      const { body } = await asker.ask({ ...request, isLong: true }).catch(throwWithRemedy);
      return readAnswer(forgottenAnswer, { server: asker.name, body });
    },
    ready({ kind, subject, since, until, repository, limit }) {
      const path = `/api/v1/audit/${kind}${subject === null ? '' : `/${subject.split('/').map(encodeURIComponent).join('/')}`}`;
      const query = new URLSearchParams({
        ...(since === null ? {} : { since: since.toISOString() }),
        ...(until === null ? {} : { until: until.toISOString() }),
        ...(repository === null ? {} : { repository }),
        limit: String(limit),
      });
      return ask(readyAnswer, `${path}?${query}`, true);
    },
    async *export(question, format) {
      try {
        yield* asker.pieces({ method: 'GET', path: pathOf(question, { format }), isLong: true });
      } catch (error) {
        throwWithRemedy(error);
      }
    },
  };
}

function pathOf({ record, filter }: RecordQuestion, others: Readonly<Record<string, string>>): string {
  return `/api/v1/${record}?${new URLSearchParams({ ...filterTexts(filter), ...others })}`;
}
