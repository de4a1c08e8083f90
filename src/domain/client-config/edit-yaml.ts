// Changes values in a file of registries.d and nothing else: comments, order and every other section stay.
import { LookasideError } from '../errors.ts';
import type { EditYaml } from './registries-merge.ts';

/** What is used of the package yaml. */
export interface YamlLibrary {
  parse(text: string): unknown;
  parseDocument(text: string): YamlDocument;
  isMap(node: unknown): boolean;
}

interface YamlDocument {
  getIn(at: readonly string[], keepScalar: true): unknown;
  setIn(at: readonly string[], value: unknown): void;
  createNode(value: unknown): unknown;
  toJS(): unknown;
  toString(options: { readonly lineWidth: 0 }): string;
}

/** Throws LookasideError CONFIG_INVALID where YAML anchors would carry the change into another section. */
export function yamlEditor(yaml: YamlLibrary): EditYaml {
  return (text, changes) => {
    const document = yaml.parseDocument(text);
    const others = otherSections(document.toJS(), changes);
    for (const { at, text: value } of changes) {
      const [top, section] = at;
      const node = document.getIn([top, section], true);
      // nothing behind the name, or an alias of another section: neither can take a value
      if (node !== undefined && !yaml.isMap(node)) {
        const all = document.toJS() as Readonly<Record<string, Readonly<Record<string, unknown>>>>; // getIn() found it
        document.setIn([top, section], document.createNode(all[top]?.[section] ?? {}));
      }
      document.setIn(at, value);
    }
    const written = document.toString({ lineWidth: 0 });
    if (otherSections(yaml.parse(written), changes) === others) return written;
    throw new LookasideError(
      'CONFIG_INVALID',
      `the section ${changes[0]?.at[1]} in registries.d is used by another section through a YAML anchor, and both would change; write the other section out, then run the command again`,
    );
  };
}

/** All that is not to change, as one text. */
function otherSections(value: unknown, changes: Parameters<EditYaml>[1]): string {
  const changed = new Set(changes.map(({ at: [, section] }) => section));
  const root = { ...(value as Readonly<Record<string, unknown>> | null) };
  const docker = Object.entries({ ...(root.docker as object | null) });
  return JSON.stringify({ ...root, docker: docker.filter(([name]) => !changed.has(name)) });
}
