// Who is to be forgotten: which texts of the records mean that person.
import { overlaps, parseNetwork } from './network.ts';
import type { Person } from './records.ts';

/** Whether the address is that of the person: the same text, or within the network that was named. */
export function isAddressOf(asked: string, address: string): boolean {
  if (asked === address) return true;
  const [network, one] = [parseNetwork(asked), parseNetwork(address)];
  return network !== null && one !== null && one.prefix >= network.prefix && overlaps(one, network);
}

/** An event, with what its record says why. */
export interface Remark {
  readonly action: unknown;
  readonly reason: unknown;
}

/**
 * Whether what the event is about, or was asked for, is the person. Free text, such as why a signature was withdrawn, names nobody:
 * a word of it may be a name by chance, and its author would be forgotten with it.
 */
export function isNamedIn({ action, reason }: Remark, { kind, text }: Person): boolean {
  if (typeof reason !== 'string' || text === '') return false;
  if (kind === 'actor') return isAbout(String(action), reason, text);
  return reason.split(/[\s=]/).some((word) => isAddressOf(text, word));
}

/** The forms are those of src/service; names of who comes through an OpenID provider have blanks. */
function isAbout(action: string, reason: string, name: string): boolean {
  switch (action) {
    case 'token-create': {
      // `ci (uploader of the signer release until 2026-12-01T00:00:00.000Z)`
      const [, token, signer] =
        /^(.*) \([a-z]+(?: of the signer (.*?))?(?: until \S+)?\)$/s.exec(reason) ?? [];
      return token === name || signer === name;
    }
    case 'token-revoke':
    case 'signer-add':
    case 'signer-disable':
    case 'signer-enable':
      return reason === name;
    case 'signer-remove': {
      // `release, and its tokens revoked: ci, deploy`, or `release, with its grants, OIDC subjects and tokens`
      const [signer, tokens = ''] = reason.split(', and its tokens revoked: ');
      return signer === name || reason.startsWith(`${name}, with its `) || tokens.split(', ').includes(name);
    }
    case 'signer-edit':
    case 'grant-add':
    case 'grant-remove':
      return reason.startsWith(`${name}: `);
    case 'oidc-add':
    case 'oidc-remove':
      return reason.startsWith(`${name}: `) || isAnswerTo(reason, name);
    case 'log-out':
      return reason.startsWith(`${name}, logged in at `);
    case 'query':
    case 'export':
      return isAnswerTo(reason, name);
    case 'withdraw':
    case 'withdraw-end':
    case 'key-revoke':
      return false;
    case 'upload':
    case 'import':
    case 'key-add':
    case 'key-refresh':
    case 'log-in':
      // messages of refusals
      return reason.includes(`"${name}"`);
    default:
      return hasName(reason, name);
  }
}

/** `access actor=Alice Smith status=200`, `who ci`. */
function isAnswerTo(reason: string, name: string): boolean {
  return reason
    .split(/ (?=[a-zA-Z_-]+=)/)
    .some(
      (part) => part === `who ${name}` || (part.includes('=') && part.slice(part.indexOf('=') + 1) === name),
    );
}

/** The whole name, between blanks, `=`, quotes, a bracket, comma or colon behind it, or the ends. */
function hasName(reason: string, name: string): boolean {
  for (let at = reason.indexOf(name); at !== -1; at = reason.indexOf(name, at + 1)) {
    const isBegun = at === 0 || /[\s="]/.test(reason.charAt(at - 1));
    if (isBegun && /^(?:$|[\s=")]|[,:]\s)/.test(reason.slice(at + name.length))) return true;
  }
  return false;
}
