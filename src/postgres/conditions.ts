// Conditions of questions, with their parameters in order.
import { formatNetwork, overlaps, parseNetwork } from '../domain/network.ts';

export class Conditions {
  readonly #texts: string[] = [];
  readonly values: unknown[] = [];

  /** Each ? stands for the next of the values. */
  add(text: string, ...values: readonly unknown[]): void {
    let at = this.values.length;
    this.#texts.push(
      text.replaceAll('?', () => {
        at += 1;
        return `$${at}`;
      }),
    );
    this.values.push(...values);
  }

  get text(): string {
    return this.#texts.length === 0 ? 'true' : this.#texts.join('\n        AND ');
  }

  /** The place of one more parameter. */
  with(value: unknown): string {
    this.values.push(value);
    return `$${this.values.length}`;
  }
}

// what inet takes, as far as rows have it: addresses that were looked at when they came, networks of ours, and names
const LIKE_ADDRESS = '^[0-9a-fA-F]*[.:][0-9a-fA-F.:]*(/[0-9]{1,3}){0,1}$';

/** Adds that the address in the column is the one that was asked for, or that they have one in common, as overlaps() has it. */
export function addAddress(conditions: Conditions, column: string, asked: string): void {
  const network = parseNetwork(asked);
  if (network === null) conditions.add(`${column} = ?`, asked);
  else
    conditions.add(
      `CASE WHEN ${column} ~ '${LIKE_ADDRESS}' THEN ${column}::inet && ?::inet ELSE false END`,
      formatNetwork(network),
    );
}

/** Those of the addresses that are the one that was asked for, or overlap the network. */
export function addressesIn(addresses: readonly string[], asked: string): readonly string[] {
  const network = parseNetwork(asked);
  return addresses.filter((address) => {
    if (address === asked) return true;
    const one = network === null ? null : parseNetwork(address);
    return network !== null && one !== null && overlaps(one, network);
  });
}

/** The repository of a folder, or the folder of the release layout; as repositoryOf(). */
export function repositoryIn(column: string): string {
  return `regexp_replace(${column}, '(^|[@/])sha(256|384|512)=[0-9a-f]+$', '')`;
}

/** A folder and all below it, in a column that holds repositories. */
export function below(column: string): string {
  return `(${column} = ? OR starts_with(${column}, ? || '/'))`;
}
