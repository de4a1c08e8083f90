// JSON as Go's encoding/json reads it, with every member kept in order, so that callers see duplicates. It is RFC 8259 with
// one addition: half of a surrogate pair and each byte that is not UTF-8 are read as U+FFFD. It is stricter than Go in one
// way: at most MAX_JSON_DEPTH levels and MAX_JSON_MEMBERS members.
import { MAX_JSON_DEPTH, MAX_JSON_MEMBERS } from './limits.ts';
import { quoted } from './text.ts';

export interface JsonMember {
  /** Unescaped. */
  readonly name: string;
  readonly value: JsonValue;
}

export type JsonValue =
  | { readonly kind: 'object'; readonly members: readonly JsonMember[] }
  | { readonly kind: 'array'; readonly items: readonly JsonValue[] }
  | { readonly kind: 'string'; readonly value: string }
  | { readonly kind: 'number'; readonly value: number /** As written. */; readonly text: string }
  | { readonly kind: 'boolean'; readonly value: boolean }
  | { readonly kind: 'null' };

export interface ReadJsonOptions {
  /** By default MAX_JSON_MEMBERS. */
  readonly maxMembers?: number;
  /** Called for each member, with the place of its name in characters from 0. */
  readonly onMember?: (member: JsonMember, at: number) => void;
}

/** What is no JSON. */
export class JsonError extends SyntaxError {
  /** Where, counted in characters from 0. */
  readonly at: number;

  constructor(message: string, at: number) {
    super(message);
    this.name = 'SyntaxError';
    this.at = at;
  }
}

/** The single value that the bytes hold. @throws JsonError saying what was found, where, and what was expected there */
export function readJson(content: Uint8Array, options: ReadJsonOptions = {}): JsonValue {
  return new Reader(decode(content), options).document();
}

/** Line and column, both from 1, of a place that readJson() tells. */
export function lineOf(content: Uint8Array, at: number): { readonly line: number; readonly column: number } {
  const before = decode(content).slice(0, at);
  const lineStart = before.lastIndexOf('\n') + 1;
  return { line: before.split('\n').length, column: at - lineStart + 1 };
}

const REPLACEMENT = '\ufffd';
const REPLACEMENT_BYTES = new TextEncoder().encode(REPLACEMENT);

// TextDecoder alone puts one U+FFFD in place of several bytes where Go puts several: different names would become equal
function decode(content: Uint8Array): string {
  const repaired = new Uint8Array(content.length * REPLACEMENT_BYTES.length);
  let end = 0;
  const add = (bytes: Uint8Array) => {
    repaired.set(bytes, end);
    end += bytes.length;
  };
  let from = 0; // where the code points begin that are still to be added
  for (let at = 0; at < content.length; ) {
    const length = codePointBytes(content, at);
    at += Math.max(length, 1);
    if (length > 0) continue;
    add(content.subarray(from, at - 1));
    add(REPLACEMENT_BYTES);
    from = at;
  }
  add(content.subarray(from));
  // a byte order mark stays in the text, which is then not JSON
  return new TextDecoder('utf-8', { ignoreBOM: true }).decode(repaired.subarray(0, end));
}

/** How many bytes the code point at this position has; 0 when none begins there. Source of the ranges: Unicode, table 3-7. */
function codePointBytes(content: Uint8Array, at: number): number {
  const first = content[at] ?? 0;
  if (first < 0x80) return 1;
  const length = first < 0xc2 ? 0 : first < 0xe0 ? 2 : first < 0xf0 ? 3 : first < 0xf5 ? 4 : 0;
  for (let index = 1; index < length; index += 1) {
    const next = content[at + index] ?? 0;
    const lowest = index > 1 ? 0x80 : (LOWEST_SECOND.get(first) ?? 0x80);
    const highest = index > 1 ? 0xbf : (HIGHEST_SECOND.get(first) ?? 0xbf);
    if (next < lowest || next > highest) return 0;
  }
  return length;
}

// these bounds exclude overlong forms, surrogates and code points beyond U+10FFFF
const LOWEST_SECOND: ReadonlyMap<number, number> = new Map([
  [0xe0, 0xa0],
  [0xf0, 0x90],
]);
const HIGHEST_SECOND: ReadonlyMap<number, number> = new Map([
  [0xed, 0x9f],
  [0xf4, 0x8f],
]);

const ESCAPES: ReadonlyMap<string, string> = new Map([
  ['"', '"'],
  ['\\', '\\'],
  ['/', '/'],
  ['b', '\b'],
  ['f', '\f'],
  ['n', '\n'],
  ['r', '\r'],
  ['t', '\t'],
]);

const BLANKS = /[ \t\n\r]*/y;
const PLAIN = /[ !#-[\]-\uffff]*/y; // all except controls, the quote and the backslash
const NUMBER = /-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?/y;
const WORD = /true|false|null/y;
const HALF_PAIR = /\p{Surrogate}/gu; // with the u flag a whole pair is one character, not a surrogate
const FOUR_HEX = /[0-9A-Fa-f]{4}/y;

class Reader {
  readonly #text: string;
  readonly #maxMembers: number;
  readonly #onMember: NonNullable<ReadJsonOptions['onMember']>;
  #at = 0;
  #depth = 0;

  constructor(text: string, { maxMembers = MAX_JSON_MEMBERS, onMember = () => undefined }: ReadJsonOptions) {
    this.#text = text;
    this.#maxMembers = maxMembers;
    this.#onMember = onMember;
  }

  document(): JsonValue {
    if (this.#text.startsWith('\ufeff')) this.#fail('a byte order mark', 'JSON without one');
    this.#take(BLANKS);
    const value = this.#value();
    this.#take(BLANKS);
    if (this.#at < this.#text.length) this.#unexpected('nothing after the JSON value');
    return value;
  }

  #value(): JsonValue {
    const next = this.#text[this.#at];
    if (next === '{') return this.#nested(() => this.#object());
    if (next === '[') return this.#nested(() => this.#array());
    if (next === '"') return { kind: 'string', value: this.#string() };
    const word = this.#take(WORD);
    if (word === 'null') return { kind: 'null' };
    if (word !== null) return { kind: 'boolean', value: word === 'true' };
    return { kind: 'number', ...this.#number() };
  }

  #nested(read: () => JsonValue): JsonValue {
    this.#depth += 1;
    if (this.#depth > MAX_JSON_DEPTH) this.#fail(`nesting deeper than ${MAX_JSON_DEPTH}`, 'less');
    this.#at += 1;
    const value = read();
    this.#depth -= 1;
    return value;
  }

  #object(): JsonValue {
    const members: JsonMember[] = [];
    this.#list('}', () => {
      if (members.length === this.#maxMembers)
        this.#fail(`an object of more than ${this.#maxMembers} members`, 'fewer');
      if (this.#text[this.#at] !== '"') this.#unexpected('a member name in double quotes');
      const nameAt = this.#at;
      const name = this.#string();
      this.#take(BLANKS);
      if (!this.#skip(':')) this.#unexpected('":" after a member name');
      this.#take(BLANKS);
      const member = { name, value: this.#value() };
      members.push(member);
      this.#onMember(member, nameAt);
    });
    return { kind: 'object', members };
  }

  #array(): JsonValue {
    const items: JsonValue[] = [];
    this.#list(']', () => {
      items.push(this.#value());
    });
    return { kind: 'array', items };
  }

  #list(end: '}' | ']', readOne: () => void): void {
    this.#take(BLANKS);
    if (this.#skip(end)) return;
    for (;;) {
      readOne();
      this.#take(BLANKS);
      if (this.#skip(end)) return;
      if (!this.#skip(',')) this.#unexpected(`"," or "${end}"`);
      this.#take(BLANKS);
    }
  }

  #string(): string {
    const parts: string[] = [];
    this.#at += 1;
    for (;;) {
      parts.push(this.#take(PLAIN) ?? '');
      if (this.#skip('"')) break;
      if (!this.#skip('\\')) this.#unexpected('a string without control characters, ended by a double quote');
      parts.push(this.#escape());
    }
    return parts.join('').replace(HALF_PAIR, REPLACEMENT);
  }

  #escape(): string {
    const character = ESCAPES.get(this.#text[this.#at] ?? '');
    if (character !== undefined) {
      this.#at += 1;
      return character;
    }
    const hex = this.#skip('u') ? this.#take(FOUR_HEX) : null;
    if (hex === null) return this.#unexpected('one of the escapes of JSON');
    return String.fromCharCode(Number.parseInt(hex, 16));
  }

  #number(): { readonly value: number; readonly text: string } {
    const start = this.#at;
    const digits = this.#take(NUMBER);
    if (digits === null) return this.#unexpected('a JSON value');
    const value = Number(digits);
    if (Number.isFinite(value)) return { value, text: digits };
    // Go refuses such a number anywhere, even in a member that it ignores
    this.#at = start;
    return this.#fail(`the number ${quoted(digits)}`, 'one that a double can hold');
  }

  /** Moves past the match at this position and returns it; null when there is none. */
  #take(pattern: RegExp): string | null {
    pattern.lastIndex = this.#at;
    const matched = pattern.exec(this.#text)?.[0];
    if (matched === undefined) return null;
    this.#at += matched.length;
    return matched;
  }

  #skip(character: string): boolean {
    if (this.#text[this.#at] !== character) return false;
    this.#at += 1;
    return true;
  }

  #unexpected(expected: string): never {
    const point = this.#text.codePointAt(this.#at);
    return this.#fail(point === undefined ? 'the end' : quoted(String.fromCodePoint(point)), expected);
  }

  #fail(what: string, expected: string): never {
    throw new JsonError(`${what} at character ${this.#at + 1}, expected ${expected}`, this.#at);
  }
}
