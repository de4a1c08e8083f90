// Files with certificates and keys that the URL of a database names. node-postgres reads them in the constructor of every client.
// That happens in callbacks of timers too, where a file that is away for a moment would end the process.
import pg from 'pg';
import { LookasideError } from '../domain/errors.ts';

const FILES = new Set(['sslrootcert', 'sslcert', 'sslkey']);
/** What node-postgres makes one value of, with the files. */
const TLS = new Set([...FILES, 'sslmode', 'ssl', 'uselibpqcompat']);

/**
 * The class of clients of this database. Each reads the files anew, because certificates are renewed; while one cannot be read, what
 * was read before is used. @throws LookasideError STORE_UNAVAILABLE when a file cannot be read now
 */
export function clientClassOf(url: string): typeof pg.Client {
  const start = url.indexOf('?');
  const query = start === -1 ? [] : url.slice(start + 1).split('&');
  if (!query.some((part) => FILES.has(nameOf(part)))) return pg.Client;
  const others = query.filter((part) => !TLS.has(nameOf(part)));
  const connectionString = `${url.slice(0, start)}?${others.join('&')}`;
  let last = filesOf(url);
  return class extends pg.Client {
    constructor(config: pg.ClientConfig) {
      try {
        last = filesOf(url);
      } catch {
        // what was read before may still be right, and the server says so when it is not
      }
      super({ ...config, connectionString, ssl: last });
    }
  };
}

function nameOf(part: string): string {
  return [...new URLSearchParams(part).keys()][0] ?? '';
}

/** As node-postgres understands the URL. */
function filesOf(url: string): pg.ClientConfig['ssl'] {
  try {
    return new pg.Client({ connectionString: url }).ssl;
  } catch (error) {
    const why = error instanceof Error ? error.message : String(error);
    throw new LookasideError(
      'STORE_UNAVAILABLE',
      `a file with a certificate or key of the database cannot be read: ${why}; correct sslrootcert, sslcert and sslkey in the URL, or the permissions of the file`,
      { cause: error },
    );
  }
}
