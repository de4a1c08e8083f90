// Who is to be forgotten: which texts of the records mean that person.
import { overlaps, parseNetwork } from './network.ts';
import type { Person } from './records.ts';

/** Whether the address is that of the person: the same text, or within the network that was named. */
export function isAddressOf(asked: string, address: string): boolean {
  if (asked === address) return true;
  const [network, one] = [parseNetwork(asked), parseNetwork(address)];
  return network !== null && one !== null && one.prefix >= network.prefix && overlaps(one, network);
}

/**
 * Words of a question: `who 192.0.2.7`, `access address=192.0.2.7`; of a token: `ci (uploader)`; of a session: `ci, logged in at …`; of
 * a grant: `ci: team/** by …`. The names of who comes through an OpenID provider have blanks.
 */
export function isNamedIn(reason: unknown, { kind, text }: Person): boolean {
  if (typeof reason !== 'string') return false;
  if (kind === 'actor') return hasName(reason, text);
  return reason.split(/[\s=]/).some((word) => isAddressOf(text, word));
}

/** The whole name, between blanks, `=`, quotes, a bracket, comma or colon behind it, or the ends. */
function hasName(reason: string, name: string): boolean {
  if (name === '') return false;
  for (let at = reason.indexOf(name); at !== -1; at = reason.indexOf(name, at + 1)) {
    const isBegun = at === 0 || /[\s="]/.test(reason.charAt(at - 1));
    if (isBegun && /^(?:$|[\s=")]|[,:]\s)/.test(reason.slice(at + name.length))) return true;
  }
  return false;
}
