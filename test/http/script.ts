// The request scripts of test/scripts: parsing, and holding an answer against what is expected of it.
import assert from 'node:assert/strict';
import { ROLES, type Role } from '../../src/domain/ports.ts';
import type { RawAnswer } from './raw-request.ts';

export interface ScriptedExchange {
  readonly title: string;
  readonly line: number;
  readonly request: string;
  readonly requestHeaders: readonly string[];
  /** Whose token is sent; null: none. */
  readonly as: Role | null;
  /** Null: no body and no length. */
  readonly requestBody: RequestBody | null;
  readonly status: number;
  /** Name and value; null = must not be there. */
  readonly headers: readonly (readonly [string, string | null])[];
  readonly body: ExpectedBody | null;
}

export type RequestBody =
  | { readonly kind: 'bytes'; readonly name: string }
  | { readonly kind: 'text'; readonly text: string }
  | { readonly kind: 'zeros'; readonly count: number };

export type ExpectedBody =
  | { readonly kind: 'empty' }
  | { readonly kind: 'bytes'; readonly name: string }
  | { readonly kind: 'text'; readonly text: string }
  | { readonly kind: 'json'; readonly json: unknown };

/** @throws Error naming the line that is no script */
export function parseScript(
  text: string,
  values: Readonly<Record<string, string>>,
): readonly ScriptedExchange[] {
  const blocks: { line: number; lines: string[] }[] = [];
  let isOpen = false;
  for (const [position, line] of text.split('\n').entries()) {
    if (line.trim() === '') isOpen = false;
    else if (isOpen) blocks.at(-1)?.lines.push(line);
    else {
      isOpen = true;
      blocks.push({ line: position + 1, lines: [line] });
    }
  }
  return blocks
    .map(({ line, lines }) => ({ line, lines: lines.map((each) => fill(each, values)) }))
    .filter(({ lines }) => lines.some((each) => !each.startsWith('#')))
    .map(parseExchange);
}

function parseExchange({ line, lines }: { line: number; lines: readonly string[] }): ScriptedExchange {
  const comments = lines.filter((each) => each.startsWith('#'));
  const rest = lines.filter((each) => !each.startsWith('#'));
  const arrow = rest.findIndex((each) => each.startsWith('=> '));
  const [request] = rest;
  if (arrow < 1 || request === undefined) throw new Error(`line ${line}: no request followed by "=> STATUS"`);
  const sent = rest.slice(1, arrow);
  const sentBody = sent.find((each) => each.startsWith('send: '));
  const as = sent.find((each) => each.startsWith('as: '));
  const expected = rest.slice(arrow + 1);
  const body = expected.find((each) => each.startsWith('body: '));
  return {
    title: comments.map((each) => each.slice(1).trim()).join(' ') || request,
    line,
    request,
    requestHeaders: sent.filter((each) => each !== sentBody && each !== as),
    as: as === undefined ? null : parseRole(as.slice('as: '.length)),
    requestBody: sentBody === undefined ? null : parseRequestBody(sentBody.slice('send: '.length)),
    status: Number(rest[arrow]?.slice(3)),
    headers: expected.filter((each) => each !== body).map(parseHeader),
    body: body === undefined ? null : parseBody(body.slice('body: '.length)),
  };
}

function parseHeader(line: string): readonly [string, string | null] {
  const colon = line.indexOf(': ');
  if (colon === -1) throw new Error(`"${line}" is no header line`);
  const value = line.slice(colon + 2);
  return [line.slice(0, colon).toLowerCase(), value === '-' ? null : value];
}

function parseRole(text: string): Role {
  const role = ROLES.find((known) => known === text);
  if (role === undefined) throw new Error(`"as: ${text}" is no role`);
  return role;
}

function parseRequestBody(text: string): RequestBody {
  const [kind, ...words] = text.split(' ');
  const rest = words.join(' ');
  switch (kind) {
    case 'bytes':
      return { kind: 'bytes', name: rest };
    case 'text':
      return { kind: 'text', text: rest.replaceAll('\\r\\n', '\r\n') };
    case 'zeros':
      return { kind: 'zeros', count: Number(rest) };
    default:
      throw new Error(`"send: ${text}" is no body`);
  }
}

/** What is to be sent; undefined = nothing, not even a length. */
export function requestBytes(
  { requestBody: body }: ScriptedExchange,
  file: (name: string) => Buffer,
): Buffer | undefined {
  switch (body?.kind) {
    case undefined:
      return undefined;
    case 'bytes':
      return file(body.name);
    case 'text':
      return Buffer.from(body.text);
    case 'zeros':
      return Buffer.alloc(body.count);
  }
}

function parseBody(text: string): ExpectedBody {
  const [kind, ...words] = text.split(' ');
  const rest = words.join(' ');
  switch (kind) {
    case '-':
      return { kind: 'empty' };
    case 'bytes':
      return { kind: 'bytes', name: rest };
    case 'text':
      return { kind: 'text', text: rest };
    case 'json':
      return { kind: 'json', json: JSON.parse(rest) };
    default:
      throw new Error(`"body: ${text}" is no expectation`);
  }
}

function fill(line: string, values: Readonly<Record<string, string>>): string {
  return line.replace(/\{([A-Za-z][A-Za-z0-9-]*)\}/g, (_, name: string) => {
    const value = values[name];
    if (value === undefined) throw new Error(`the scene has no value {${name}}`);
    return value;
  });
}

/** @throws AssertionError where the answer is not what the script expects */
export function assertAnswer(
  answer: RawAnswer,
  { status, headers, body }: ScriptedExchange,
  file: (name: string) => Buffer,
): void {
  assert.equal(answer.status, status, `status; body: ${answer.body.toString('latin1').slice(0, 300)}`);
  for (const [name, value] of headers)
    assert.equal(answer.headers.get(name) ?? null, value, `header ${name}`);
  const text = answer.body.toString('utf8');
  switch (body?.kind) {
    case undefined:
      break;
    case 'empty':
      assert.equal(answer.body.length, 0, 'the body is empty');
      break;
    case 'bytes':
      assert.deepEqual(answer.body, file(body.name), `the body is the file "${body.name}"`);
      break;
    case 'text':
      assert.ok(text.includes(body.text), `the body holds "${body.text}": ${text.slice(0, 500)}`);
      break;
    case 'json':
      assert.deepEqual(JSON.parse(text), body.json);
      break;
  }
}
