// Checks parameters and bodies of requests against their schemas. Refusals say what was found and what was expected.
import type { z } from 'zod';
import { LookasideError } from '../domain/errors.ts';
import { quoted } from '../domain/text.ts';

/** The message of a part of a schema that is not met; parse() puts what was found before it. */
export function expected(what: string): { readonly error: string } {
  return { error: `expected ${what}` };
}

/** @throws LookasideError REQUEST_INVALID naming the parameter: unknown, repeated or wrong */
export function parseQuery<Schema extends z.ZodObject>(
  schema: Schema,
  query: URLSearchParams,
): z.output<Schema> {
  const names = [...query.keys()];
  const known = Object.keys(schema.shape);
  for (const [position, name] of names.entries()) {
    if (!known.includes(name))
      refuse(`there is no parameter ${quoted(name)} here, expected ${known.join(', ') || 'none'}`);
    if (names.indexOf(name) !== position) refuse(`the parameter ${name} is there twice, expected once`);
  }
  return parse(schema, Object.fromEntries(query), 'the query');
}

/** @throws LookasideError REQUEST_INVALID naming the first member that is wrong */
export function parseBody<Schema extends z.ZodType>(schema: Schema, body: unknown): z.output<Schema> {
  return parse(schema, body, 'the body');
}

function parse<Schema extends z.ZodType>(schema: Schema, value: unknown, whole: string): z.output<Schema> {
  const result = schema.safeParse(value, { reportInput: true });
  if (result.success) return result.data;
  const [issue] = result.error.issues;
  if (issue === undefined) throw new Error('a schema refused without an issue');
  const where = issue.path.map(String).join('.') || whole;
  if (issue.code === 'unrecognized_keys')
    return refuse(`${where} has the member ${quoted(issue.keys[0] ?? '')}, which is not known there`);
  return refuse(`${where} is ${describe(issue.input)}, ${issue.message}`);
}

function describe(value: unknown): string {
  if (value === undefined) return 'missing';
  if (typeof value === 'string') return quoted(value);
  if (Array.isArray(value)) return `an array of ${value.length}`;
  return typeof value === 'object' && value !== null ? 'an object' : String(value);
}

function refuse(message: string): never {
  throw new LookasideError('REQUEST_INVALID', message);
}
