// One at a time over all nodes: an advisory lock on a connection that is taken for as long.
import { type Connections, isKeptWaiting, isLockTimeout } from './connect.ts';

/** The key of the advisory lock for changes of keys: "lookkeys" in ASCII. */
export const KEYS = '7813586407190329715';

/** A machine that has lost its power says nothing: its lock would last for the two hours that systems wait otherwise. */
const GIVEN_BACK =
  'SET tcp_keepalives_idle = 10; SET tcp_keepalives_interval = 5; SET tcp_keepalives_count = 3';

/** So that a certificate is merged with what the database has, and not with what it had. @throws STORE_UNAVAILABLE, after 4 s in vain too */
export async function inTurnOfKeys<T>(connections: Connections, act: () => Promise<T>): Promise<T> {
  const { query, release } = await connections.take();
  try {
    await query(`${GIVEN_BACK}; SELECT pg_advisory_lock(${KEYS})`).catch((error: unknown) => {
      throw isLockTimeout(error) ? isKeptWaiting('changes of keys', error) : error;
    });
    return await act();
  } finally {
    release(true); // the lock goes with the session
  }
}
