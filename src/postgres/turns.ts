// One at a time over all nodes: an advisory lock on a connection that is taken for as long.
import type { Connections } from './connect.ts';

/** The key of the advisory lock for changes of keys: "lookkeys" in ASCII. */
const KEYS = '7813586407190329715';

/** So that a certificate is merged with what the database has, and not with what it had. @throws STORE_UNAVAILABLE, after 4 s in vain too */
export async function inTurnOfKeys<T>(connections: Connections, act: () => Promise<T>): Promise<T> {
  const { query, release } = await connections.take();
  try {
    await query(`SELECT pg_advisory_lock(${KEYS})`);
    return await act();
  } finally {
    release(true); // the lock goes with the session
  }
}
