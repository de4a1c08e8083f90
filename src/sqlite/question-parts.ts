// What questions to both records have in common: statements, conditions in SQL, an end from outside.
import type { Database, Statement } from 'better-sqlite3';

export type Value = string | number | Uint8Array | null;

/** The statements of one connection. Each text is prepared once, because a statement is kept as long as its thread. */
export class Statements {
  readonly #db: Database;
  readonly #rows = new Map<string, Statement<Value[], unknown>>();
  readonly #plucked = new Map<string, Statement<Value[], unknown>>();
  readonly #raw = new Map<string, Statement<Value[], unknown>>();

  constructor(db: Database) {
    this.#db = db;
  }

  of<Row>(sql: string): Statement<Value[], Row> {
    const known = this.#rows.get(sql) ?? this.#db.prepare<Value[], unknown>(sql);
    this.#rows.set(sql, known);
    return known as Statement<Value[], Row>; // whoever wrote the text knows its rows
  }

  /** Rows as lists of their columns, which are made in half the time. */
  raw<Row extends readonly unknown[]>(sql: string): Statement<Value[], Row> {
    const known = this.#raw.get(sql) ?? this.#db.prepare<Value[], unknown>(sql).raw();
    this.#raw.set(sql, known);
    return known as Statement<Value[], Row>;
  }

  /** The first column alone. */
  plucked<Column>(sql: string): Statement<Value[], Column> {
    const known = this.#plucked.get(sql) ?? this.#db.prepare<Value[], unknown>(sql).pluck();
    this.#plucked.set(sql, known);
    return known as Statement<Value[], Column>;
  }
}

/** Conditions that are joined by AND, with their parameters in order. */
export class Conditions {
  readonly #texts: string[] = [];
  readonly #values: (string | number | Uint8Array)[] = [];

  add(text: string, ...values: readonly (string | number | Uint8Array)[]): void {
    this.#texts.push(text);
    this.#values.push(...values);
  }

  get text(): string {
    return this.#texts.length === 0 ? '1' : this.#texts.join('\n          AND ');
  }

  get values(): readonly (string | number | Uint8Array)[] {
    return this.#values;
  }
}

/** Thrown between two pieces of work once nobody waits for the answer. */
export class Stopped extends Error {}

/** Called between pieces of work. @throws Stopped */
export type Pause = () => void;

/** A folder and all below it, as ranges of bytes: names are ASCII. `ends` are the characters that may follow the folder. */
export function below(column: string, folder: string, ends: readonly ('/' | '@')[]): Conditions {
  const conditions = new Conditions();
  const ranges = ends.map(() => `(${column} >= ? AND ${column} < ?)`).join(' OR ');
  const values = ends.flatMap((end) => [
    `${folder}${end}`,
    `${folder}${String.fromCharCode(end.charCodeAt(0) + 1)}`,
  ]);
  conditions.add(`(${ranges})`, ...values);
  return conditions;
}
