// Writes the JSON of a policy anew: every member stays, in its order, and strings keep their text.
import type { JsonMember, JsonValue } from '../strict-json.ts';

export function jsonText(text: string): JsonValue {
  return { kind: 'string', value: text };
}

export function jsonObject(members: Readonly<Record<string, JsonValue>>): JsonValue {
  return { kind: 'object', members: Object.entries(members).map(([name, value]) => ({ name, value })) };
}

export function jsonArray(items: readonly JsonValue[]): JsonValue {
  return { kind: 'array', items };
}

/** The object with that member changed, or added at its end; what is no object becomes one. */
export function withMember(value: JsonValue | null, name: string, member: JsonValue): JsonValue {
  const members: readonly JsonMember[] = value?.kind === 'object' ? value.members : [];
  const has = members.some((one) => one.name === name);
  const changed = members.map((one) => (one.name === name ? { name, value: member } : one));
  return { kind: 'object', members: has ? changed : [...members, { name, value: member }] };
}

export function memberOf(value: JsonValue | null, name: string): JsonValue | null {
  if (value?.kind !== 'object') return null;
  return value.members.find((one) => one.name === name)?.value ?? null;
}

/** As JSON.stringify with that indentation writes it. */
export function writeJson(value: JsonValue, indent: string): string {
  const line = (depth: number) => `\n${indent.repeat(depth)}`;
  const list = (open: string, parts: readonly string[], close: string, depth: number) =>
    parts.length === 0
      ? `${open}${close}`
      : `${open}${parts.map((part) => `${line(depth + 1)}${part}`).join(',')}${line(depth)}${close}`;
  const write = (one: JsonValue, depth: number): string => {
    switch (one.kind) {
      case 'null':
        return 'null';
      case 'string':
        return JSON.stringify(one.value);
      case 'boolean':
        return String(one.value);
      case 'number':
        return one.text;
      case 'array':
        return list(
          '[',
          one.items.map((item) => write(item, depth + 1)),
          ']',
          depth,
        );
      case 'object':
        return list(
          '{',
          one.members.map((member) => `${JSON.stringify(member.name)}: ${write(member.value, depth + 1)}`),
          '}',
          depth,
        );
    }
  };
  return `${write(value, 0)}\n`;
}

/** The indentation that the text has, else four spaces, as distributions write their policy.json. */
export function indentOf(text: string): string {
  return /\n([ \t]+)"/.exec(text)?.[1] ?? '    ';
}
