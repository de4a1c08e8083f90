// Grants: what a signer, a person or pipeline that may upload, may sign; and the decision about an upload.
import { LookasideError } from './errors.ts';
import { isFingerprint } from './key.ts';
import {
  isRepositoryPattern,
  isTagPattern,
  matchesRepository,
  matchesTag,
  REPOSITORY_PATTERN_WANTED,
  TAG_PATTERN_WANTED,
} from './pattern.ts';
import { isRepositoryPath, isTag } from './reference.ts';
import { quoted } from './text.ts';

export interface Signer {
  readonly name: string;
  /** For people; perhaps empty. */
  readonly description: string;
  readonly createdAt: Date;
  /** Since when none of its credentials gives access; null: they do. */
  readonly disabledAt: Date | null;
}

/** What a signer may sign: an upload needs one grant that covers repository, key and tag. */
export interface Grant {
  /** Never used for another one. */
  readonly id: number;
  readonly signer: string;
  /** Patterns, as pattern.ts has them; at least one. */
  readonly repositories: readonly string[];
  /** Fingerprints of primary keys, 40 upper-case hex digits each; at least one. */
  readonly fingerprints: readonly string[];
  /** Patterns of the tag in the signed reference; empty: every reference, also one without a tag. */
  readonly tags: readonly string[];
  readonly createdAt: Date;
}

export type NewGrant = Omit<Grant, 'id'>;

export interface WantedGrant {
  readonly signer: string;
  readonly repositories: readonly string[];
  /** Fingerprints or key IDs of registered keys. */
  readonly keys: readonly string[];
  readonly tags: readonly string[];
}

export interface AddedGrant extends Grant {
  /** False: the signer had the same one already. */
  readonly created: boolean;
}

export interface GrantQuestion {
  readonly signer: string;
  /** Without the registry. */
  readonly repository: string;
  /** The fingerprint of a primary key; null: a key that nobody can verify, which no grant covers. */
  readonly fingerprint: string | null;
  /** Null: the signed reference has none. */
  readonly tag: string | null;
}

/** What no grant of the signer covers. `together`: each is covered, but not by one grant. */
export type MissingHalf = 'repository' | 'key' | 'tag' | 'together';

export interface GrantDecision {
  readonly allowed: boolean;
  /** The grant that covers it; null when none does. */
  readonly grant: number | null;
  readonly missing: readonly MissingHalf[];
  /** Why, and when it is not allowed, who could change that. */
  readonly message: string;
}

/** What `grants`, all of the signer, say. The signer exists and is not disabled. */
export function decideGrant(grants: readonly Grant[], question: GrantQuestion): GrantDecision {
  const covers = {
    repository: grants.filter(({ repositories }) =>
      repositories.some((pattern) => matchesRepository(pattern, question.repository)),
    ),
    key: grants.filter(
      ({ fingerprints }) => question.fingerprint !== null && fingerprints.includes(question.fingerprint),
    ),
    tag: grants.filter(({ tags }) => isTagCovered(tags, question.tag)),
  };
  const covering = covers.repository.find(
    (grant) => covers.key.includes(grant) && covers.tag.includes(grant),
  );
  if (covering !== undefined) {
    const message = `grant ${covering.id} of the signer "${question.signer}" covers ${whatOf(question)}`;
    return { allowed: true, grant: covering.id, missing: [], message };
  }
  const halves = (['repository', 'key', 'tag'] as const).filter((half) => covers[half].length === 0);
  // without any grant the tag is not what stands in the way
  const missing: readonly MissingHalf[] =
    halves.length === 0 ? ['together'] : halves.filter((half) => half !== 'tag' || halves.length === 1);
  return { allowed: false, grant: null, missing, message: whyNot(grants.length, missing, question) };
}

function isTagCovered(patterns: readonly string[], tag: string | null): boolean {
  return patterns.length === 0 || (tag !== null && patterns.some((pattern) => matchesTag(pattern, tag)));
}

function whatOf({ repository, fingerprint, tag }: GrantQuestion): string {
  const named = `the repository ${quoted(repository)} with the key ${fingerprint ?? 'that cannot be verified'}`;
  return tag === null ? named : `${named} and the tag ${quoted(tag)}`;
}

function whyNot(count: number, missing: readonly MissingHalf[], question: GrantQuestion): string {
  const { signer, repository, fingerprint, tag } = question;
  if (fingerprint === null) {
    return `the signer "${signer}" has grants for keys, and nothing here can verify which key made this signature; an administrator can make a token without a signer for it`;
  }
  const add = `an administrator adds one with: lookaside grant add --signer ${signer} --repository ${repository} --key ${fingerprint}`;
  if (count === 0) return `the signer "${signer}" has no grants, so it may sign nothing; ${add}`;
  const words: Readonly<Record<MissingHalf, string>> = {
    repository: `the repository ${quoted(repository)}`,
    key: `the key ${fingerprint}`,
    tag: tag === null ? 'a reference without a tag' : `the tag ${quoted(tag)}`,
    together: `${whatOf(question)} together, though each by itself`,
  };
  const missingWords = missing.map((half) => words[half]);
  return `no grant of the signer "${signer}" covers ${missingWords.join(' or ')}; ${add}`;
}

const MAX_PATTERNS = 100;
const MAX_KEYS = 100;

/** The lists as a grant keeps them: checked, sorted, without repeats. @throws LookasideError REQUEST_INVALID */
export function grantLists({
  repositories,
  fingerprints,
  tags,
}: Pick<Grant, 'repositories' | 'fingerprints' | 'tags'>) {
  if (repositories.length === 0) refuse(`a grant needs a repository; ${REPOSITORY_PATTERN_WANTED}`);
  if (fingerprints.length === 0)
    refuse('a grant needs a key; wanted a fingerprint or key ID of a registered key');
  for (const [what, list, most] of [
    ['patterns of repositories', repositories, MAX_PATTERNS],
    ['keys', fingerprints, MAX_KEYS],
    ['patterns of tags', tags, MAX_PATTERNS],
  ] as const) {
    if (list.length > most)
      refuse(`a grant has at most ${most} ${what}, and these are ${list.length}; add several grants`);
  }
  for (const pattern of repositories) {
    if (!isRepositoryPattern(pattern)) {
      refuse(`${quoted(pattern)} is not a pattern of repositories; ${REPOSITORY_PATTERN_WANTED}`);
    }
  }
  for (const pattern of tags) {
    if (!isTagPattern(pattern)) refuse(`${quoted(pattern)} is not a pattern of tags; ${TAG_PATTERN_WANTED}`);
  }
  return { repositories: sorted(repositories), fingerprints: sorted(fingerprints), tags: sorted(tags) };
}

/** @throws LookasideError REQUEST_INVALID */
export function checkQuestion({ repository, fingerprint, tag }: GrantQuestion): void {
  if (!isRepositoryPath(repository)) {
    refuse(
      `${quoted(repository)} is not a repository; wanted its path without the registry, in lower case, like team/app`,
    );
  }
  if (fingerprint !== null && !isFingerprint(fingerprint)) {
    refuse(`${quoted(fingerprint)} is not a fingerprint; wanted 40 hex digits`);
  }
  if (tag !== null && !isTag(tag))
    refuse(`${quoted(tag)} is not a tag; wanted letters, digits and . _ -, at most 128`);
}

/** The error NOT_FOUND. */
export function unknownSigner(name: string): LookasideError {
  return new LookasideError('NOT_FOUND', `no signer is named ${quoted(name)}; see: lookaside signer list`);
}

/** The error NOT_FOUND. */
export function unknownGrant(id: number): LookasideError {
  const which = Number.isSafeInteger(id) ? `grant ${id}` : 'grant of that number';
  return new LookasideError('NOT_FOUND', `there is no ${which}; see: lookaside grant list`);
}

function sorted(list: readonly string[]): readonly string[] {
  return [...new Set(list)].sort();
}

function refuse(message: string): never {
  throw new LookasideError('REQUEST_INVALID', message);
}
