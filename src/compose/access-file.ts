// Files of who may sign what: YAML, or JSON, which is YAML too. What is wrong is told with its line and column.
import {
  type Document,
  isAlias,
  isMap,
  isScalar,
  isSeq,
  LineCounter,
  type Node,
  type Pair,
  parseDocument,
  stringify,
  type YAMLMap,
} from 'yaml';
import {
  type AccessRules,
  checkRuledGrant,
  checkRuledKey,
  checkRuledSigner,
  checkRuledToken,
  checkRules,
  type GrantLists,
  type RuledKey,
  type RuledSigner,
  type RuledToken,
  type SubjectClaims,
} from '../domain/access-rules.ts';
import { isLookasideError, LookasideError } from '../domain/errors.ts';
import { checkSubject } from '../domain/oidc.ts';
import { ROLES } from '../domain/ports.ts';
import { quoted } from '../domain/text.ts';

/** @throws LookasideError CONFIG_INVALID naming the file, line and column */
export function parseAccessFile(text: string, file: string): AccessRules {
  const lines = new LineCounter();
  const reader = new Reader(file, lines);
  const root = reader.document(text);
  const { version, keys, signers, tokens } = reader.members(root, 'the file', [
    'version',
    'keys',
    'signers',
    'tokens',
  ]);
  if (version === undefined || !isScalar(version.value) || version.value.value !== 1)
    reader.refuse(version?.value ?? root, 'the version is missing or not known; wanted version: 1');
  const rules = {
    keys: reader.list(keys, (node) => key(reader, node)),
    signers: reader.list(signers, (node) => signer(reader, node)),
    tokens: reader.list(tokens, (node) => token(reader, node)),
  };
  return reader.checked(root, () => checkRules(rules));
}

function key(reader: Reader, node: Node): RuledKey {
  const members = ['fingerprint', 'certificate', 'retired'] as const;
  const { fingerprint, certificate, retired } = reader.members(node, 'a key', members);
  const ruledKey = {
    fingerprint: reader.text(reader.needed(node, fingerprint, 'fingerprint')),
    certificate: certificate === undefined ? null : reader.text(certificate.value),
    retired: retired === undefined ? null : reader.flag(retired.value),
  };
  return reader.checked(node, () => checkRuledKey(ruledKey));
}

function signer(reader: Reader, node: Node): RuledSigner {
  const { name, description, disabled, oidc, grants } = reader.members(node, 'a signer', [
    'name',
    'description',
    'disabled',
    'oidc',
    'grants',
  ]);
  const ruledSigner = {
    name: reader.text(reader.needed(node, name, 'name')),
    description: description === undefined ? null : reader.text(description.value),
    disabled: disabled === undefined ? null : reader.flag(disabled.value),
    oidc: reader.list(oidc, (one) => subject(reader, one)),
    grants: reader.list(grants, (one) => grant(reader, one)),
  };
  return reader.checked(node, () => checkRuledSigner(ruledSigner));
}

function subject(reader: Reader, node: Node): SubjectClaims {
  const { issuer, claims } = reader.members(node, 'an OIDC subject', ['issuer', 'claims']);
  const subject = {
    issuer: reader.text(reader.needed(node, issuer, 'issuer')),
    claims: reader.texts(reader.needed(node, claims, 'claims')),
  };
  return reader.checked(node, () => checkSubject(subject));
}

function grant(reader: Reader, node: Node): GrantLists {
  const { repositories, keys, tags } = reader.members(node, 'a grant', ['repositories', 'keys', 'tags']);
  const ruledGrant = {
    repositories: reader.list(repositories, (one) => reader.text(one)) ?? [],
    fingerprints: reader.list(keys, (one) => reader.text(one)) ?? [],
    tags: reader.list(tags, (one) => reader.text(one)) ?? [],
  };
  return reader.checked(node, () => checkRuledGrant(ruledGrant));
}

function token(reader: Reader, node: Node): RuledToken {
  const { name, role, signer } = reader.members(node, 'a token', ['name', 'role', 'signer']);
  const word = role === undefined ? 'uploader' : reader.text(role.value);
  const known = ROLES.find((one) => one === word);
  if (known === undefined)
    reader.refuse(role?.value ?? node, `the role is ${quoted(word)}; wanted ${ROLES.join(', ')}`);
  const ruledToken = {
    name: reader.text(reader.needed(node, name, 'name')),
    role: known,
    signer: signer === undefined ? null : reader.text(signer.value),
  };
  return reader.checked(node, () => checkRuledToken(ruledToken));
}

interface Member {
  readonly key: Node;
  readonly value: Node;
}

class Reader {
  readonly #file: string;
  readonly #lines: LineCounter;

  constructor(file: string, lines: LineCounter) {
    this.#file = file;
    this.#lines = lines;
  }

  document(text: string): Node {
    const document = this.#parse(text);
    const [fault] = document.errors;
    if (fault !== undefined) {
      // the parser's message has several lines and repeats the text that it did not understand
      this.#fail(
        fault.pos[0],
        `it is not YAML: ${(fault.message.split('\n')[0] ?? '').replace(/ at line \d+, column \d+:?$/, '')}`,
      );
    }
    const { contents } = document;
    if (contents === null) this.#fail(0, 'it is empty; wanted what lookaside access export prints');
    return contents as Node; // a document that was parsed has nodes alone
  }

  #parse(text: string): Document {
    if (isDeep(text)) this.#fail(0, TOO_DEEP);
    try {
      return parseDocument(text, {
        lineCounter: this.#lines,
        uniqueKeys: true,
        strict: true,
        keepSourceTokens: false,
      });
    } catch (error) {
      // nested so deeply that the parser has no room
      if (!(error instanceof RangeError)) throw error;
      return this.#fail(0, TOO_DEEP);
    }
  }

  /** The members of those names; others are refused. */
  members<Name extends string>(
    node: Node,
    what: string,
    names: readonly Name[],
  ): { readonly [N in Name]?: Member } {
    const map = this.#map(node, what, names);
    const members: { [N in Name]?: Member } = {};
    for (const { key, value } of this.#pairs(map)) {
      const text = this.text(key);
      const name = names.find((known) => known === text);
      if (name === undefined)
        this.refuse(key, `${what} has no member ${quoted(text)}; known are ${names.join(', ')}`);
      if (!isScalar(value) || value.value !== null) members[name] = { key, value };
    }
    return members;
  }

  needed(node: Node, member: Member | undefined, name: string): Node {
    return member === undefined ? this.refuse(node, `it lacks the member ${name}`) : member.value;
  }

  text(node: Node): string {
    this.#plain(node);
    if (isScalar(node) && typeof node.value === 'string') return node.value;
    // 1.10 and yes are other things than the texts that they look like
    return this.refuse(node, 'wanted a text; put it between quotes');
  }

  flag(node: Node): boolean {
    this.#plain(node);
    return isScalar(node) && typeof node.value === 'boolean'
      ? node.value
      : this.refuse(node, 'wanted true or false');
  }

  /** Null for a member that is not there. */
  list<T>(member: Member | undefined, read: (node: Node) => T): readonly T[] | null {
    if (member === undefined) return null;
    this.#plain(member.value);
    if (!isSeq(member.value)) return this.refuse(member.value, 'wanted a list');
    return member.value.items.map((item) => read(item as Node)); // a document that was parsed has nodes alone
  }

  /** The texts of a map of any names. */
  texts(node: Node): Readonly<Record<string, string>> {
    const map = this.#map(node, 'this', ['names with patterns']);
    return Object.fromEntries(this.#pairs(map).map(({ key, value }) => [this.text(key), this.text(value)]));
  }

  /** What `check` returns; a refusal of it is told with the place of the node. */
  checked<T>(node: Node, check: () => T): T {
    try {
      return check();
    } catch (error) {
      if (!isLookasideError(error, 'REQUEST_INVALID')) throw error;
      return this.refuse(node, error.message);
    }
  }

  refuse(node: Node, message: string): never {
    return this.#fail(node.range?.[0] ?? 0, message);
  }

  #map(node: Node, what: string, names: readonly string[]): YAMLMap {
    this.#plain(node);
    return isMap(node) ? node : this.refuse(node, `${what} is not a map; wanted ${names.join(', ')}`);
  }

  #pairs({ items }: YAMLMap): readonly Member[] {
    return items.map(({ key, value }: Pair) => ({ key: key as Node, value: value as Node })); // as in list()
  }

  /** An alias makes a short text long, and a tag makes it something else. */
  #plain(node: Node): void {
    if (isAlias(node) || ('anchor' in node && node.anchor !== undefined))
      this.refuse(node, 'anchors and aliases are not taken; write it out');
    if (node.tag?.startsWith('tag:yaml.org,2002:') === false)
      this.refuse(node, 'tags are not taken; leave it out');
  }

  #fail(offset: number, message: string): never {
    const { line, col } = this.#lines.linePos(offset);
    const at = line > 0 ? `, line ${line}, column ${col}` : '';
    throw new LookasideError('CONFIG_INVALID', `${this.#file}${at}: ${message}`);
  }
}

const TOO_DEEP = 'it is nested too deeply; wanted what lookaside access export prints';
/** A file that somebody means has ten levels. */
const MAX_OPEN = 1000;

/** Whether the parser, whose time grows with the square of the levels, would take long. */
function isDeep(text: string): boolean {
  if (/^[-? \t]{200}/m.test(text)) return true;
  let open = 0;
  for (const [bracket] of text.matchAll(/[[\]{}]/g)) {
    open += bracket === '[' || bracket === '{' ? 1 : -1;
    if (open > MAX_OPEN) return true;
  }
  return false;
}

/** As parseAccessFile() reads it again. */
export function writeAccessFile({ keys, signers, tokens }: AccessRules): string {
  return stringify(accessFileOf({ keys, signers, tokens }), { lineWidth: 0, aliasDuplicateObjects: false });
}

/** The value of the file. */
export function accessFileOf({ keys, signers, tokens }: AccessRules): object {
  return {
    version: 1,
    ...(keys === null ? {} : { keys: keys.map(withoutNull) }),
    ...(signers === null
      ? {}
      : {
          signers: signers.map(({ grants, ...signer }) =>
            withoutNull({
              ...signer,
              grants:
                grants?.map(({ repositories, fingerprints, tags }) => ({
                  repositories,
                  keys: fingerprints,
                  ...(tags.length === 0 ? {} : { tags }),
                })) ?? null,
            }),
          ),
        }),
    ...(tokens === null ? {} : { tokens: tokens.map(withoutNull) }),
  };
}

function withoutNull(value: object): object {
  return Object.fromEntries(Object.entries(value).filter(([, member]) => member !== null));
}
