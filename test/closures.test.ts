// A function that is too long to be read at once gets chapters: functions of their own, or files. Closures that hold state are
// the ones that grow.
import assert from 'node:assert/strict';
import path from 'node:path';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { sourcesBelow } from './imports.ts';

const SRC = fileURLToPath(new URL('../../src/', import.meta.url));
const MAX_LINES = 150;

interface Block {
  readonly name: string;
  /** From 1 on. */
  readonly line: number;
  readonly lines: number;
}

// The formatter, which CI holds to, puts what opens a block at a line's end, and its end below it at the same indentation.
const OPENING = /^( *)(?! |(?:if|for|while|switch|try|do|else|class|interface|enum)\b)(.*)\{$/;
const CONTROL = /^\} (?:else|catch|finally)\b/;
/** `=> {`, `) {` or `): Result {`. */
const OF_A_FUNCTION = /(?:=> |\)(?:: [^=]*)? )$/;
const NAME =
  /(?:function\*? |(?:const|let|readonly) |^)(?:(?:export|default|async|static|get|set|\*) )*(?:function\*? )?([#\w$[\].]+)/;

/** Every function with a block, of code as the formatter leaves it. */
function functionsOf(code: string): readonly Block[] {
  const all = code.split('\n');
  return all.flatMap((text, position) => {
    const [, indentation = '', head = ''] = OPENING.exec(text) ?? [];
    if (!OF_A_FUNCTION.test(head) || CONTROL.test(head)) return [];
    const end = all.findIndex((other, at) => at > position && other.startsWith(`${indentation}}`));
    // parameters on lines of their own: the name stands where they begin
    const begin = /^[)}\]]/.test(head) ? lastAt(all, indentation, position) : position;
    const name = NAME.exec((all[begin] ?? '').trim())?.[1] ?? 'a function without a name';
    return [{ name, line: begin + 1, lines: end - begin + 1 }];
  });
}

/** The last line ahead of `position` that begins at this indentation with something other than an end. */
function lastAt(all: readonly string[], indentation: string, position: number): number {
  return all.findLastIndex(
    (other, at) =>
      at < position && other.startsWith(indentation) && /^[^\s)}\]]/.test(other.slice(indentation.length)),
  );
}

test('every kind of function is seen, with its name and its length', () => {
  const code = [
    'export function createThing(options: Options): Thing {',
    '  if (options.isOn) {',
    '    act();',
    '  } else {',
    '    rest();',
    '  }',
    '  const inner = async (one: string) => {',
    '    await one;',
    '  };',
    '  return {',
    '    async method(',
    '      one: string,',
    '      two: string,',
    '    ): Promise<void> {',
    '      await inner(one);',
    '    },',
    '  };',
    '}',
    '',
    'export async function openThing({',
    '  one,',
    '}: Options): Promise<Thing> {',
    '  return one;',
    '}',
    '',
    'class Held {',
    '  #start(): Worker {',
    '    this.#worker.on("exit", () => {',
    '      end();',
    '    });',
    '  }',
    '}',
  ].join('\n');
  assert.deepEqual(
    functionsOf(code).map(({ name, line, lines }) => [name, line, lines]),
    [
      ['createThing', 1, 18],
      ['inner', 7, 3],
      ['method', 11, 6],
      ['openThing', 20, 5],
      ['#start', 27, 5],
      ['this.#worker.on', 28, 3],
    ],
  );
});

test(`no function of src has more than ${MAX_LINES} lines`, () => {
  const functions = [...sourcesBelow(SRC)].flatMap(([file, code]) =>
    functionsOf(code).map((block) => ({ file, ...block })),
  );
  assert.ok(functions.length > 1000, `${functions.length} functions were found`);
  const long = functions
    .filter(({ lines }) => lines > MAX_LINES)
    .map(
      ({ file, name, line, lines }) => `${path.posix.join('src', file)}:${line} ${name} has ${lines} lines`,
    );
  assert.deepEqual(long, []);
});
