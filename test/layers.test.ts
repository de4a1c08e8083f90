// The layers: who may import what, as data, held against the import lines of every file in src/.
// Keep in sync with CONTRIBUTING.md, "Layers".
import assert from 'node:assert/strict';
import { existsSync, readFileSync } from 'node:fs';
import { isBuiltin } from 'node:module';
import { join } from 'node:path';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { importsOf, sourcesBelow, targetOf } from './imports.ts';

const ROOT = fileURLToPath(new URL('../..', import.meta.url));

interface Layer {
  /** Other layers it may import from; its own always. */
  readonly src: readonly string[];
  readonly packages: readonly string[];
  /** Modules of Node.js beyond ORDINARY, without `node:`. */
  readonly node: readonly string[];
  /** Its one file that may import more layers, and which. */
  readonly door?: { readonly file: string; readonly src: readonly string[] };
}

/** Modules of Node.js that compute and hold, and touch nothing outside the process; for every layer but the domain. */
const ORDINARY = ['async_hooks', 'buffer', 'crypto', 'events', 'path', 'perf_hooks', 'querystring', 'stream']
  .concat(['stream/promises', 'string_decoder', 'timers', 'timers/promises', 'url', 'util', 'zlib'])
  .sort();

const FILES = ['fs', 'fs/promises'];
const NETWORK = ['dns', 'dns/promises', 'http', 'https', 'net', 'tls'];
const WEB_PACKAGES = ['express', 'helmet', 'multer', 'pino-http', 'prom-client', 'zod'];
/** For who keeps what it may forget; the domain keeps nothing. */
const CACHES = ['lru-cache'];

/** What signers' and administrators' commands load where they ask a server elsewhere: layers of their own within the folder. */
const CLIENTS = ['administration.ts', 'client.ts', 'client-config.ts', 'audit-proof.ts', 'doctor.ts']
  .concat(['access-file.ts', 'asked-signatures.ts', 'push.ts', 'verify.ts'])
  .map((file) => `compose/${file}`);

const NODE: Layer = {
  src: [
    'compose',
    'compose/clock.ts',
    'compose/administration.ts',
    'compose/node.ts',
    'compose/node-check.ts',
    'compose/node-questions.ts',
    'compose/node-sites.ts',
    'config.ts',
    'domain',
  ].concat(['openpgp', 'postgres', 'service']),
  packages: [],
  node: [],
};

/** A layer is a folder of src/, or a file; a file that has a row here belongs to no other. */
const LAYERS: Readonly<Record<string, Layer>> = {
  domain: { src: [], packages: ['zod'], node: [] },
  files: { src: ['domain'], packages: CACHES, node: [...FILES, 'worker_threads'] }, // one writes a tree, one walks through it, one looks at images
  sqlite: {
    src: ['domain', 'low-priority.ts'],
    packages: ['better-sqlite3'],
    node: [...FILES, 'worker_threads'],
  },
  postgres: { src: ['domain'], packages: ['pg'], node: FILES }, // files: migrations and certificates
  store: { src: ['domain'], packages: CACHES, node: [] },
  openpgp: {
    src: ['domain', 'low-priority.ts'],
    packages: ['openpgp'],
    node: ['os', 'vm', 'worker_threads'],
  }, // os: how many processors
  identity: { src: ['domain'], packages: ['jose', 'openid-client', ...CACHES], node: [] },
  upstream: { src: ['domain'], packages: ['undici', 'zod'], node: NETWORK },
  service: { src: ['domain'], packages: CACHES, node: [] },
  http: {
    src: ['domain', 'service'],
    packages: [...WEB_PACKAGES, ...CACHES],
    node: ['http', 'https', 'net', 'tls', 'zlib'],
  },
  readers: {
    src: ['compose/clock.ts', 'config.ts', 'domain', 'http', 'service', 'sqlite'],
    packages: [],
    node: ['child_process'],
  },
  'low-priority.ts': { src: [], packages: [], node: ['fs', 'os'] }, // which thread it is, and its priority
  ui: { src: ['domain', 'service'], packages: [], node: ['fs'] }, // fs: its style, script and icon
  'config.ts': { src: ['domain'], packages: ['smol-toml', 'yaml'], node: [...FILES, 'net'] }, // net: what is an address
  compose: {
    src: [
      'compose/clock.ts',
      'compose/remote.ts',
      'compose/walk-thread.ts',
      'config.ts',
      'domain',
      'files',
      'identity',
      'openpgp',
      'service',
      'sqlite',
      'store',
      'upstream',
    ],
    packages: ['pino'],
    node: [],
  },
  'compose/administration.ts': {
    src: [
      'compose',
      'compose/client.ts',
      'compose/node-administration.ts',
      'config.ts',
      'domain',
      'upstream',
    ],
    packages: [],
    node: [],
  },
  'compose/asked-signatures.ts': {
    src: ['compose/client.ts', 'compose/node-signatures.ts', 'config.ts'],
    packages: [],
    node: [],
  },
  'compose/audit-proof.ts': {
    src: ['compose', 'compose/client.ts', 'compose/node-log.ts', 'config.ts', 'domain', 'sqlite'],
    packages: [],
    node: [],
  },
  'compose/client.ts': {
    src: ['compose/clock.ts', 'compose/remote.ts', 'config.ts', 'domain', 'upstream'],
    packages: [],
    node: [],
  },
  ...Object.fromEntries(
    // what knows PostgreSQL is loaded by a node over it alone
    ['', '-administration', '-check', '-log', '-questions', '-signatures'].map((part) => [
      `compose/node${part}.ts`,
      NODE,
    ]),
  ),
  'compose/node-sites.ts': { ...NODE, src: [...NODE.src, 'store'] },
  'compose/moving.ts': {
    src: [
      ...['compose', 'compose/clock.ts', 'config.ts', 'domain', 'openpgp', 'postgres'],
      ...['service', 'sqlite', 'store'],
    ],
    packages: [],
    node: [],
  },
  'compose/walk-thread.ts': {
    src: ['domain', 'files', 'low-priority.ts', 'sqlite'],
    packages: [],
    node: ['worker_threads'],
  },
  'compose/moving-back.ts': {
    src: ['compose', 'compose/clock.ts', 'config.ts', 'domain', 'files', 'postgres', 'service', 'sqlite'],
    packages: [],
    node: [],
  },
  'compose/access-file.ts': { src: ['domain'], packages: ['yaml'], node: [] },
  'compose/remote.ts': { src: ['config.ts', 'domain'], packages: [], node: FILES },
  'compose/clock.ts': { src: ['domain'], packages: [], node: [] },
  'compose/push.ts': {
    src: ['compose/clock.ts', 'domain', 'files', 'openpgp', 'service'],
    packages: [],
    node: [],
  },
  'compose/doctor.ts': {
    src: [
      'compose/client.ts',
      'compose/clock.ts',
      'config.ts',
      'domain',
      'files',
      'openpgp',
      'service',
      'upstream',
    ],
    packages: ['smol-toml', 'yaml'],
    node: ['os'],
  },
  'compose/client-config.ts': {
    src: ['compose/client.ts', 'compose/clock.ts', 'config.ts', 'domain', 'files', 'openpgp', 'upstream'],
    packages: ['yaml'],
    node: [],
  },
  'compose/verify.ts': { src: ['domain', 'openpgp'], packages: [], node: [] },
  cli: {
    src: [
      'compose',
      ...CLIENTS,
      'compose/clock.ts',
      'compose/node.ts',
      'compose/moving.ts',
      'compose/moving-back.ts',
      'config.ts',
      'domain',
      'service',
      'upstream',
    ],
    packages: ['commander'],
    node: [...FILES, ...NETWORK, 'os', 'process', 'readline', 'readline/promises', 'v8'],
    door: { file: 'cli/serve.ts', src: ['http', 'readers', 'ui'] },
  },
  'main.ts': { src: ['cli'], packages: [], node: ['process'] },
};

/** Things that need no import, and the layers or files that may use them. */
const GLOBALS: readonly {
  readonly name: string;
  readonly pattern: RegExp;
  readonly owners: readonly string[];
}[] = [
  // the files of commands hand the environment on as an argument; SQLite's C code reads a variable that connect.ts sets
  {
    name: 'process.env',
    pattern: /\bprocess\.env\b/,
    owners: [
      'config.ts',
      'cli/server-commands.ts',
      'cli/client-commands.ts',
      'cli/mirror-commands.ts',
      'sqlite/connect.ts',
    ],
  },
  {
    name: 'argv, signals or the exit code',
    pattern: /\bprocess\.(?:argv|execArgv|exit|exitCode|kill|on|once|abort)\b/,
    owners: ['cli', 'main.ts', 'readers/process.ts'],
  },
  {
    name: 'the clock or chance',
    pattern: /\bDate\.now\b|\bnew Date\(\s*\)|\bperformance\.now\b|\bMath\.random\b/,
    owners: Object.keys(LAYERS).filter((layer) => !['domain', 'service'].includes(layer)),
  },
  {
    name: 'fetch',
    pattern: /(?:\bawait|\breturn|[=(,])\s*(?:globalThis\.)?fetch\(|\bglobalThis\.fetch\b/,
    owners: ['upstream'],
  },
  {
    name: 'a way round imports',
    pattern: /\bcreateRequire\b|\bgetBuiltinModule\b|\bprocess\.(?:binding|dlopen)\b|\brequire\(/,
    owners: [],
  },
];

/** One sentence for each line of this file that the table does not allow. `file` is below src, with slashes. */
function violations(file: string, code: string): string[] {
  const layer = layerOf(file);
  const rules = LAYERS[layer];
  if (rules === undefined) {
    return [`src/${file}: there is no layer ${layer}; known are ${Object.keys(LAYERS).join(', ')}`];
  }
  const violations: string[] = [];
  for (const specifier of importsOf(code)) {
    const complaint = judge(file, layer, rules, specifier);
    if (complaint !== null) violations.push(`src/${file} imports ${specifier}: ${complaint}`);
  }
  const live = withoutCommentLines(code);
  for (const { name, pattern, owners } of GLOBALS) {
    if (owners.includes(layer) || owners.includes(file) || !pattern.test(live)) continue;
    violations.push(`src/${file} uses ${name}: that is for ${ownersOf(owners)}`);
  }
  return violations;
}

/** What is wrong with this import, or null. */
function judge(file: string, layer: string, rules: Layer, specifier: string): string | null {
  if (specifier.startsWith('.')) {
    const target = targetOf(file, specifier);
    if (target.startsWith('..')) return 'src imports nothing from outside src';
    const allowed = [...rules.src, ...(rules.door?.file === file ? rules.door.src : [])];
    const targetLayer = layerOf(target);
    if (targetLayer === layer || allowed.includes(targetLayer)) return null;
    return `${layer} may import from ${list(allowed)} alone`;
  }
  if (isBuiltin(specifier)) {
    if (layer === 'domain') return 'domain is pure and imports nothing of Node.js';
    const name = specifier.replace(/^node:/, '');
    if (ORDINARY.includes(name) || rules.node.includes(name)) return null;
    const owners = Object.keys(LAYERS).filter((other) => LAYERS[other]?.node.includes(name));
    return `that is for ${ownersOf(owners)}`;
  }
  const name = specifier.split('/', specifier.startsWith('@') ? 2 : 1).join('/');
  if (rules.packages.includes(name)) return null;
  return `of packages ${layer} may import ${list(rules.packages)} alone`;
}

function list(names: readonly string[]): string {
  return names.length === 0 ? 'nothing' : names.join(', ');
}

function ownersOf(names: readonly string[]): string {
  return names.length === 0 ? 'nobody' : names.join(', ');
}

function layerOf(file: string): string {
  return Object.hasOwn(LAYERS, file) ? file : folderOf(file);
}

function folderOf(file: string): string {
  return file.split('/', 1)[0] ?? file;
}

/** Comments hold examples and reasons, which may name what the code must not touch. */
function withoutCommentLines(code: string): string {
  return code.replace(/^[ \t]*(?:\/\/|\/?\*).*$/gm, '').replace(/[ \t]\/\/ .*$/gm, '');
}

/** One import cycle as the list of its files, first file again at the end; null when there is none. */
function importCycle(sources: ReadonlyMap<string, string>): string[] | null {
  const finished = new Set<string>();
  const path: string[] = [];
  const visit = (file: string): string[] | null => {
    if (path.includes(file)) return [...path.slice(path.indexOf(file)), file];
    if (finished.has(file)) return null;
    path.push(file);
    for (const specifier of importsOf(sources.get(file) ?? '')) {
      const cycle = specifier.startsWith('.') ? visit(targetOf(file, specifier)) : null;
      if (cycle !== null) return cycle;
    }
    path.pop();
    finished.add(file);
    return null;
  };
  for (const file of sources.keys()) {
    const cycle = visit(file);
    if (cycle !== null) return cycle;
  }
  return null;
}

const sources = sourcesBelow(join(ROOT, 'src'));

test('every import in src points down and every power has one owner', () => {
  assert.ok(sources.size > 0, 'src has no files');
  const faults = [...sources].flatMap(([file, code]) => violations(file, code));
  assert.deepEqual(faults, [], faults.join('\n'));
});

test('no files in src import each other in a circle', () => {
  const cycle = importCycle(sources);
  assert.equal(cycle, null, `import cycle: ${cycle?.join(' -> ')}`);
});

test('every package that the server depends on has a layer that may import it', () => {
  const { dependencies } = JSON.parse(readFileSync(join(ROOT, 'package.json'), 'utf8'));
  const imported = new Set(Object.values(LAYERS).flatMap((layer) => layer.packages));
  const unowned = Object.keys(dependencies).filter((name) => !imported.has(name));
  assert.deepEqual(unowned, []);
});

const REFUSED: readonly (readonly [file: string, code: string, sentence: RegExp])[] = [
  ['domain/a.ts', "import { readSet } from '../service/read.ts';", /domain may import from nothing alone/],
  ['domain/a.ts', "import type { Request } from 'express';", /of packages domain may import zod alone/],
  ['domain/a.ts', "import { LRUCache } from 'lru-cache';", /of packages domain may import zod alone/],
  ['domain/a.ts', "import { createHash } from 'node:crypto';", /domain is pure/],
  ['domain/a.ts', "import { createHash } from 'crypto';", /domain is pure/],
  ['domain/a.ts', 'const now = new Date();', /the clock or chance/],
  ['service/a.ts', 'return Date.now() - start;', /the clock or chance: that is for files, sqlite/],
  ['service/a.ts', "import { Tree } from '../files/tree.ts';", /service may import from domain alone/],
  ['service/a.ts', "export * from '../sqlite/keys.ts';", /service may import from domain alone/],
  ['store/a.ts', "export { Tree } from '../files/tree.ts';", /store may import from domain alone/],
  [
    'store/a.ts',
    "import {\n  link,\n} from 'node:fs/promises';",
    /for files, sqlite, postgres, config\.ts, compose\/remote\.ts, cli/,
  ],
  ['files/a.ts', "import Database from 'better-sqlite3';", /of packages files may import lru-cache alone/],
  [
    'sqlite/a.ts',
    "import { Tree } from '../files/tree.ts';",
    /sqlite may import from domain, low-priority\.ts alone/,
  ],
  [
    'sqlite/a.ts',
    "new Worker(new URL('../openpgp/worker.js', import.meta.url))",
    /may import from domain, low-priority\.ts alone/,
  ],
  ['http/a.ts', "import { Worker } from 'node:worker_threads';", /for files, sqlite, openpgp/],
  ['http/a.ts', "import { open } from '../sqlite/open.ts';", /http may import from domain, service alone/],
  [
    'http/a.ts',
    'const port = process.env.PORT;',
    /process\.env: that is for config\.ts, cli\/server-commands\.ts/,
  ],
  ['cli/serve.ts', 'const port = process.env.PORT;', /process\.env: that is for config\.ts/],
  ['http/a.ts', 'const answer = await fetch(url);', /fetch: that is for upstream/],
  ['http/a.ts', "import got from '@scope/got/promises';", /@scope\/got\/promises: of packages http/],
  [
    'http/a.ts',
    "const page = await import('../ui/pages/start.ts');",
    /http may import from domain, service alone/,
  ],
  ['http/a.ts', 'const page = await import(name);', /not a literal/],
  ['http/a.ts', "process.on('SIGTERM', stop);", /signals or the exit code: that is for cli, main\.ts/],
  ['upstream/a.ts', "import { exec } from 'node:child_process';", /that is for readers/],
  ['upstream/a.ts', "const fs = process.getBuiltinModule('fs');", /a way round imports: that is for nobody/],
  [
    'cli/push.ts',
    "import { createApp } from '../http/app.ts';",
    /cli may import from compose, compose\/administration\.ts, compose\/client\.ts/,
  ],
  ['cli/a.ts', "import { sample } from '../../test/domain/sample.ts';", /nothing from outside src/],
  ['compose/a.ts', "import { createApp } from '../http/app.ts';", /compose may import from/],
  ['compose/client.ts', "import { createLog } from './log.ts';", /compose\/client\.ts may import from/],
  ['main.ts', "import { compose } from './compose/server.ts';", /main\.ts may import from cli alone/],
  ['utils/a.ts', '', /there is no layer utils/],
  ['index.ts', '', /there is no layer index\.ts/],
];

for (const [file, code, sentence] of REFUSED) {
  test(`the table refuses \`${code.replace(/\s+/g, ' ')}\` in src/${file}`, () => {
    const faults = violations(file, code);
    assert.equal(faults.length, 1, faults.join('\n'));
    assert.match(faults[0] ?? '', sentence);
    assert.ok(faults[0]?.includes(`src/${file}`));
  });
}

const ACCEPTED: readonly (readonly [file: string, code: string])[] = [
  ['domain/a.ts', "import { z } from 'zod';\nimport { limits } from './limits.ts';\nnew Date(row.storedAt);"],
  [
    'domain/a.ts',
    '// process.env and Date.now() are not for us\n/** nor `new Date()` */\nf(); // nor fetch(x)',
  ],
  [
    'sqlite/a.ts',
    "import Database from 'better-sqlite3';\nnew Worker(new URL('./writer.js', import.meta.url));",
  ],
  ['cli/serve.ts', "import { createApp } from '../http/app.ts';\nprocess.once('SIGTERM', stop);"],
  [
    'http/routes/a.ts',
    "import type { Request } from 'express';\nimport { readSet } from '../../service/read.ts';",
  ],
  ['config.ts', "import { readFileSync } from 'node:fs';\nconst env = process.env;"],
];

for (const [file, code] of ACCEPTED) {
  test(`the table accepts \`${code.replace(/\s+/g, ' ')}\` in src/${file}`, () => {
    assert.deepEqual(violations(file, code), []);
  });
}

test('an import circle over three files is found and named', () => {
  const circle = new Map([
    ['domain/a.ts', "import { b } from './b.ts';"],
    ['domain/b.ts', "import type { C } from './c.ts';"],
    ['domain/c.ts', "import { d } from './d.ts';\nimport { a } from './a.ts';"],
    ['domain/d.ts', ''],
  ]);
  assert.deepEqual(importCycle(circle), ['domain/a.ts', 'domain/b.ts', 'domain/c.ts', 'domain/a.ts']);
  circle.set('domain/c.ts', "import { d } from './d.ts';");
  assert.equal(importCycle(circle), null);
});

test('every folder and file that CONTRIBUTING names is there', () => {
  const text = readFileSync(join(ROOT, 'CONTRIBUTING.md'), 'utf8');
  const layers = [...text.matchAll(/^\| (`[^|]+`) \|/gm)].flatMap(([, cell = '']) => [
    ...cell.matchAll(/`([^`]+)`/g),
  ]);
  const named = [
    ...layers.map(([, name = '']) => `src/${name}`),
    ...[...text.matchAll(/`((?:src|test|docs|scripts|bench)\/[^`<* ]*)`/g)].map(([, name = '']) => name),
  ];
  assert.ok(named.length > 20, String(named));
  assert.deepEqual(
    named.filter((name) => !existsSync(join(ROOT, name))),
    [],
  );
});

test('what knows PostgreSQL is loaded by a node over it alone: every import of it from elsewhere is dynamic', () => {
  const ofNodes = (file: string) =>
    /^(?:postgres\/|compose\/(?:node(?:-[a-z]+)?|moving(?:-back)?)\.ts$)/.test(file);
  for (const [file, code] of sourcesBelow(join(ROOT, 'src'))) {
    if (ofNodes(file)) continue;
    const statements = [...code.matchAll(/^import (?!type )[^;]*? from '([^']+)'/gm)].map(
      ([, name = '']) => name,
    );
    const targets = statements.filter((name) => name.startsWith('.')).map((name) => targetOf(file, name));
    assert.deepEqual(
      targets.filter((target) => ofNodes(target)),
      [],
      file,
    );
    assert.ok(!statements.includes('pg'), file);
  }
});
