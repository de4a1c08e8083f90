// Objects of a cluster, held to the types of their kinds by the TypeScript compiler: each as it is, and with each of its fields under another
// name or of another type, which must not compile.
import assert from 'node:assert/strict';
import { symlink, writeFile } from 'node:fs/promises';
import path from 'node:path';
import process from 'node:process';
import { fileURLToPath } from 'node:url';
import { parseAllDocuments } from 'yaml';
import { run } from './command.ts';
import { openTempFolder } from './temp-folder.ts';

const ROOT = fileURLToPath(new URL('../../..', import.meta.url));

const WHOLE =
  'type Whole<Kind extends { apiVersion?: unknown; kind?: unknown; metadata?: unknown }> = Kind & Required<Pick<Kind, "apiVersion" | "kind" | "metadata">>;';

export type Json = null | boolean | number | string | readonly Json[] | { readonly [name: string]: Json };

export interface ClusterObject {
  readonly kind: string;
  readonly [name: string]: Json;
}

export function objectsIn(texts: readonly string[]): readonly ClusterObject[] {
  return texts.flatMap((text) => parseAllDocuments(text).map((one) => one.toJS()));
}

/** Their members have names of one's own. */
const MAPS = new Set(['labels', 'annotations', 'matchLabels', 'nodeSelector', 'requests', 'limits']);
MAPS.add('data').add('binaryData').add('stringData');

/** Their values may be a number or a text. */
const EITHER = new Set(['port', 'targetPort', 'minAvailable', 'maxSurge', 'maxUnavailable']);

/** The selector of a Service is labels themselves. */
const isLabels = (name: string, value: Json) =>
  name === 'selector' && typeof value === 'object' && value !== null && !('matchLabels' in value);

/** The same value with one field of it under another name, or one text, number or truth of another type; one after the other. */
function* spoilt(value: Json, isMap = false): Generator<Json> {
  if (typeof value !== 'object' || value === null) {
    yield typeof value === 'number' ? 'a text' : 5;
    return;
  }
  if (Array.isArray(value)) {
    for (const [at, one] of value.entries()) for (const other of spoilt(one)) yield value.with(at, other);
    return;
  }
  for (const [name, one] of Object.entries(value)) {
    if (!isMap) {
      const { [name]: _, ...rest } = value as Record<string, Json>;
      yield { ...rest, [`${name}X`]: one };
    }
    if (EITHER.has(name) && typeof one !== 'object') continue;
    for (const other of spoilt(one, MAPS.has(name) || isLabels(name, one))) yield { ...value, [name]: other };
  }
}

/** `types`: the declarations of the kinds; at least so many wrong objects are tried. */
export async function assertKinds(
  types: string,
  objects: readonly ClusterObject[],
  leastWrong: number,
): Promise<void> {
  const kinds = [...new Set(objects.map(({ kind }) => kind))];
  const right = objects.map(
    (one, at) => `export const right${at}: Whole<${one.kind}> = ${JSON.stringify(one)};`,
  );
  const wrong: string[] = [];
  for (const kind of kinds) {
    // a longest one has the most fields
    const [one] = objects
      .filter((other) => other.kind === kind)
      .sort((a, b) => JSON.stringify(b).length - JSON.stringify(a).length);
    for (const other of spoilt(one ?? assert.fail(kind)))
      wrong.push(
        `// @ts-expect-error\nexport const wrong${wrong.length}: Whole<${kind}> = ${JSON.stringify(other)};`,
      );
  }
  assert.ok(wrong.length > leastWrong, `${wrong.length}`);

  await using temp = await openTempFolder();
  await symlink(path.join(ROOT, 'node_modules'), path.join(temp.path, 'node_modules'));
  await writeFile(path.join(temp.path, 'package.json'), '{"type":"module"}');
  await writeFile(path.join(temp.path, 'kinds.ts'), [types, WHOLE, ...right, ...wrong].join('\n'));
  const outcome = await run(
    [
      ...([path.join(ROOT, 'node_modules/.bin/tsc'), '--noEmit', '--strict', '--skipLibCheck'] as const),
      ...['--module', 'esnext', '--moduleResolution', 'bundler', '--target', 'es2023', 'kinds.ts'],
    ],
    { env: { PATH: process.env.PATH ?? '' }, cwd: temp.path },
  );
  assert.deepEqual([outcome.status, outcome.stdout.slice(0, 4000), outcome.stderr], [0, '', '']);
}
