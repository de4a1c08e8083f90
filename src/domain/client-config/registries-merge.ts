// Merges where signatures lie into the files of registries.d. Clients refuse every pull while one section stands in two files,
// so that a section that is there is changed in its file.
import { mergeRegistriesD, type Section } from '../policy/registries-d.ts';
import { scopesFrom } from '../policy/scopes.ts';
import type { Note } from './policy-merge.ts';

/** A file of registries.d that clients read. */
export interface RegistriesFile {
  readonly name: string;
  readonly text: string;
  /** What the YAML holds. */
  readonly value: unknown;
}

/** One value of a section: the way to it, and what it becomes. */
export interface YamlChange {
  readonly at: readonly [string, string, string];
  readonly text: string;
}

/** The text with these values, every other part and all comments as they were. */
export type EditYaml = (text: string, changes: readonly YamlChange[]) => string;

export interface RegistriesToMerge {
  readonly files: readonly RegistriesFile[];
  readonly sections: readonly {
    readonly registry: string;
    /** Null: what stands there stays, and none is written. */
    readonly staging: string | null;
  }[];
  readonly lookaside: string;
  readonly editYaml: EditYaml;
}

export interface MergedRegistries {
  /** The new texts of the files that change, by name. */
  readonly changed: ReadonlyMap<string, string>;
  readonly notes: readonly Note[];
}

/** Where a section goes that no file has. */
const OUR_FILE = 'lookaside.yaml';

const HEADER = [
  '# Where clients find the signatures of these registries. Written by lookaside client-config.',
  '# lookaside is read by clients since containers/image 5.22, sigstore by older ones.',
  '',
].join('\n');

/** @throws RegistriesDFault where clients refuse the files */
export function mergeRegistries({
  files,
  sections,
  lookaside,
  editYaml,
}: RegistriesToMerge): MergedRegistries {
  const merged = mergeRegistriesD(files.map(({ name, value }) => ({ path: name, value })));
  const changes = new Map<string, YamlChange[]>();
  const notes: Note[] = [];
  for (const { registry, staging } of sections) {
    const section = merged.namespaces.get(registry) ?? null;
    const file = section?.file ?? OUR_FILE;
    const ofFile = changes.get(file) ?? [];
    for (const [name, inForce, text] of valuesOf(section, lookaside, staging)) {
      if (text !== null && inForce !== text) ofFile.push({ at: ['docker', registry, name], text });
    }
    if (ofFile.length > 0) changes.set(file, ofFile);
    if (section !== null) notes.push(...movedNote(registry, section, lookaside));
  }
  const changed = [...changes].map(([name, ofFile]): [string, string] => {
    const text = files.find((file) => file.name === name)?.text ?? null;
    return [name, text === null ? writeSections(ofFile) : editYaml(text, ofFile)];
  });
  return { changed: new Map(changed), notes };
}

type Value = readonly [name: string, inForce: string | null, wanted: string | null];

function valuesOf(section: Section | null, lookaside: string, staging: string | null): readonly Value[] {
  return [
    ['lookaside', section?.lookaside ?? null, lookaside],
    ['sigstore', section?.sigstore ?? null, lookaside],
    ['lookaside-staging', section?.lookasideStaging ?? null, staging],
    ['sigstore-staging', section?.sigstoreStaging ?? null, staging],
  ];
}

/** A new file. */
export function writeSections(changes: readonly YamlChange[]): string {
  const sections = new Map<string, string[]>();
  for (const { at, text } of changes) {
    const [, registry, name] = at;
    sections.set(registry, [...(sections.get(registry) ?? []), `    ${name}: ${scalar(text)}`]);
  }
  const lines = [...sections].flatMap(([registry, values]) => [`  ${scalar(registry)}:`, ...values]);
  return `${HEADER}docker:\n${lines.map((line) => `${line}\n`).join('')}`;
}

/** Plain where every YAML reader takes it for this text. JSON texts are YAML too. */
export function scalar(text: string): string {
  return /^[a-z][\w.~/@%+-]*(?::[\w.~/@%+-]+)*$/i.test(text) && /[./]/.test(text)
    ? text
    : JSON.stringify(text);
}

function movedNote(registry: string, section: Section, lookaside: string): readonly Note[] {
  const before = section.lookaside ?? section.sigstore;
  if (before === null || before === lookaside) return [];
  return [
    {
      code: 'LOOKASIDE_CHANGED',
      message: `clients asked ${withoutLogin(before)} for the signatures of ${registry} (${section.file}); they ask ${withoutLogin(lookaside)} from now on`,
    },
  ];
}

/** Notes go to terminals, logs and headers: a token in the URL does not. */
function withoutLogin(url: string): string {
  return url.replace(/^([a-z]+:\/\/)[^/@]*@/i, '$1');
}

/** Where signers' tools write now what belongs to this registry; null where nothing says so. @throws RegistriesDFault */
export function stagingInForce(files: readonly RegistriesFile[], registry: string): string | null {
  const { namespaces, standard } = mergeRegistriesD(files.map(({ name, value }) => ({ path: name, value })));
  const sections = [...scopesFrom(registry).flatMap((name) => namespaces.get(name) ?? []), standard];
  for (const section of sections) {
    const staging = section?.lookasideStaging ?? section?.sigstoreStaging ?? null;
    if (staging !== null) return staging;
  }
  return null;
}
