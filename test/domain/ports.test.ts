// Every look-up of a port is awaited, so that a database across a network can stand behind it; only what is named
// `peek…` answers at once, from memory. Held against all interfaces of the ports' files, those that come later too.
import assert from 'node:assert/strict';
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';

const DOMAIN = fileURLToPath(new URL('../../../src/domain', import.meta.url));
const FILES = ['ports.ts', 'tree.ts', 'backup.ts'];

/** What asks for nothing that is stored. */
const AT_ONCE: Readonly<Record<string, string>> = {
  'Clock.now': 'the time is asked of the system',
  'Clock.monotonicMs': 'the time is asked of the system',
  'Log.debug': 'nobody waits for a line of the log',
  'Log.info': 'nobody waits for a line of the log',
  'Log.warn': 'nobody waits for a line of the log',
  'Log.error': 'nobody waits for a line of the log',
  'Verifier.armor': 'it computes',
  'Withdrawal.event': 'it makes what is written',
  'Verifier.warningsOf': 'it computes',
  'Verifier.usesOf': 'it computes',
  'Verifier.setKeyring': 'it hands over what was looked up',
};

/** Stores have methods alone: a property cannot ask a database. */
const STORE = /(?:Store|Index|Log|Appender)$/;

/** `Interface.member` of each method that answers at once, and of each property of a store. */
function answersAtOnce(source: string): string[] {
  const text = source.replace(/\/\*[\s\S]*?\*\//g, '').replace(/\/\/.*$/gm, '');
  const names: string[] = [];
  for (const { 1: name = '', index } of text.matchAll(/export interface (\w+)[^{]*\{/g)) {
    const body = text.slice(text.indexOf('{', index) + 1);
    for (const member of membersOf(body)) {
      const method = /^(?:readonly )?(\w+)\??(?:<\w+>)?(?:: )?\((?!\()/.exec(member);
      const property = /^(?:readonly )?(\w+)\??:/.exec(member);
      if (method !== null) {
        const isAwaited = /\)(?::| =>) (?:Promise|AsyncIterable)<[\s\S]*>$/.test(member);
        if (!isAwaited && !method[1]?.startsWith('peek')) names.push(`${name}.${method[1]}`);
      } else if (property !== null && STORE.test(name)) {
        names.push(`${name}.${property[1]}`);
      }
    }
  }
  return names;
}

/** The members of an interface whose body begins here. */
function membersOf(body: string): string[] {
  const members: string[] = [];
  let [depth, start] = [0, 0];
  for (let at = 0; at < body.length; at += 1) {
    const character = body[at] ?? '';
    if ('{(['.includes(character)) depth += 1;
    if ('})]'.includes(character)) depth -= 1;
    if (depth < 0) break;
    if (character !== ';' || depth > 0) continue;
    members.push(body.slice(start, at).trim().replace(/\s+/g, ' '));
    start = at + 1;
  }
  return members;
}

test('every look-up of a port is awaited, or named peek and answered from memory', () => {
  const sources = FILES.map((file) => readFileSync(join(DOMAIN, file), 'utf8'));
  assert.deepEqual(sources.flatMap(answersAtOnce).sort(), Object.keys(AT_ONCE).sort());
});

test('a look-up that answers at once is found, in whatever form it is written', () => {
  const source = `
    export interface ThingStore {
      /** find(): Promise<Thing>; */
      find(name: string): Thing | null;
      readonly list: () => readonly Thing[];
      ofImage(
        image: { readonly path: string },
      ): readonly Thing[]; // Promise<void>
      count(): number | Promise<number>;
      readonly generation: string;
      asked<T>(what: (thing: Thing) => Promise<boolean>): T;
      peek(name: string): Thing | null;
      put(thing: Thing): Promise<{ readonly seq: number }>;
      walk(): AsyncIterable<Thing>;
    }
    export interface Tree {
      readonly root: string;
      isThere(): boolean;
    }`;
  assert.deepEqual(answersAtOnce(source), [
    'ThingStore.find',
    'ThingStore.list',
    'ThingStore.ofImage',
    'ThingStore.count',
    'ThingStore.generation',
    'ThingStore.asked',
    'Tree.isThere',
  ]);
});

test('what docs/decisions/one-process.md says of state in one process names files that are there', () => {
  const root = fileURLToPath(new URL('../../..', import.meta.url));
  const text = readFileSync(join(root, 'docs/decisions/one-process.md'), 'utf8');
  const named = [...text.matchAll(/^\| (`[^|]+`) \|/gm)].flatMap(([, cell = '']) =>
    [...cell.matchAll(/`([^`]+)`/g)].map(([, file = '']) => file),
  );
  const asked = ['service/keys', 'service/judge', 'service/import', 'service/problems', 'service/upkeep'];
  for (const file of [...asked, 'http/wrong-tokens', 'store/image-changes'])
    assert.ok(named.includes(file), file);
  for (const file of named) assert.ok(existsSync(join(root, 'src', `${file}.ts`)), file);
});
