// Who imports whom, read from the text of the files.
import { readdirSync, readFileSync } from 'node:fs';
import { join, posix, sep } from 'node:path';

/** The file below the same folder that a relative import of `file` names; starts with `..` when it lies outside. */
export function targetOf(file: string, specifier: string): string {
  return posix.normalize(posix.join(posix.dirname(file), specifier)).replace(/\.js$/, '.ts');
}

// Anchored at a line's start, so that no comment or string has to be understood; the formatter puts every
// statement there. Type imports count: they are knowledge of the other layer too.
const STATEMENT = /^[ \t]*(?:import|export)\b(?:[^;'"`=()]*?\bfrom)?\s*(['"])(?<specifier>[^'"]+)\1/gm;
const CALL = /\bimport\s*\(\s*(?:(['"`])(?<specifier>[^'"`$]+)\1\s*[,)]|(?<other>[^)\n]*))/g;
// Worker threads are started by file, not imported.
const WORKER = /\bnew URL\(\s*(['"])(?<specifier>\.[^'"]+\.[jt]s)\1,\s*import\.meta\.url/g;

/** What a file imports or starts as a worker, as it names them. */
export function importsOf(code: string): string[] {
  return [STATEMENT, CALL, WORKER]
    .flatMap((pattern) => [...code.matchAll(pattern)])
    .map(({ groups }) => groups?.specifier ?? `import(${groups?.other ?? ''}), which is not a literal`);
}

/** The text of each TypeScript file below a folder, by its path there, with slashes. */
export function sourcesBelow(folder: string): Map<string, string> {
  const files = readdirSync(folder, { recursive: true, encoding: 'utf8' })
    .filter((file) => file.endsWith('.ts'))
    .sort();
  return new Map(files.map((file) => [file.split(sep).join('/'), readFileSync(join(folder, file), 'utf8')]));
}
