// Rows into a table by COPY … FROM STDIN: the messages of the protocol, and the text format of the rows.
import type pg from 'pg';

/** So long are the messages in which rows are sent: few, and none of them large. */
const CHUNK_BYTES = 256 * 1024;
/** The longest that one UTF-16 unit becomes. */
const MOST_BYTES = 3;

/** pg's connection has these too, and its types do not say so. */
interface CopyConnection {
  sendCopyFromChunk(chunk: Uint8Array): void;
  endCopyFrom(): void;
}

/** A question for client.query() of pg, which calls the other methods with what the server says; all rows are in the table, or none. */
export class CopyIn {
  /** pg puts its own one around it, where it has a bound of time. */
  callback: (error: Error | null | undefined) => void;
  readonly #sql: string;
  readonly #chunks: readonly Uint8Array[];

  constructor(
    sql: string,
    chunks: readonly Uint8Array[],
    callback: (error: Error | null | undefined) => void,
  ) {
    this.#sql = sql;
    this.#chunks = chunks;
    this.callback = callback;
  }

  submit(connection: pg.Connection): void {
    connection.query(this.#sql);
  }

  handleCopyInResponse(connection: pg.Connection): void {
    const copying = connection as unknown as CopyConnection;
    for (const chunk of this.#chunks) copying.sendCopyFromChunk(chunk);
    copying.endCopyFrom();
  }

  handleCommandComplete(): void {}

  /** Also while rows are sent: the server then passes over the rest of them. */
  handleError(error: Error): void {
    this.callback(error);
  }

  handleReadyForQuery(): void {
    this.callback(null);
  }
}

/** Rows on their way, as bytes at once: as many texts would outlive the young generation until they are sent. */
export class CopyRows {
  readonly #chunks: Uint8Array[] = [];
  #buffer = Buffer.allocUnsafe(CHUNK_BYTES);
  #length = 0;

  /** One row in the text format: columns with tabs between them, each as copyText() has it. */
  add(row: string): void {
    if (this.#length + MOST_BYTES * row.length + 1 > this.#buffer.length) {
      this.#end();
      this.#buffer = Buffer.allocUnsafe(Math.max(CHUNK_BYTES, MOST_BYTES * row.length + 1));
    }
    this.#length += this.#buffer.write(row, this.#length);
    this.#buffer[this.#length] = LINE_FEED;
    this.#length += 1;
  }

  /** Afterwards nothing is added. */
  end(): readonly Uint8Array[] {
    this.#end();
    return this.#chunks;
  }

  #end(): void {
    if (this.#length > 0) this.#chunks.push(this.#buffer.subarray(0, this.#length));
    this.#length = 0;
  }
}

const LINE_FEED = 0x0a;
const SPECIAL = /[\0\\\t\n\r]/;
const ESCAPES: Readonly<Record<string, string>> = { '\\': '\\\\', '\t': '\\t', '\n': '\\n', '\r': '\\r' };

export const COPY_NULL = '\\N';

/** A text, or null, in the text format. */
export function copyText(text: string | null): string {
  if (text === null) return COPY_NULL;
  if (!SPECIAL.test(text)) return text;
  // the server would refuse the whole batch
  if (text.includes('\0')) throw new Error('PostgreSQL has no NUL in a text');
  return text.replace(/[\\\t\n\r]/g, (one) => ESCAPES[one] ?? one);
}

/** Bytes in the text format, for a column of type bytea. */
export function copyBytes(hex: string | null): string {
  return hex === null ? COPY_NULL : `\\\\x${hex}`;
}
