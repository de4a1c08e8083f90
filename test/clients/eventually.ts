// Waiting for what another process does: looked at again and again until it is so, or a deadline has passed.
import { setTimeout as pause } from 'node:timers/promises';

const DEADLINE_MS = 30_000;
const PAUSE_MS = 20;

/** What `look` returns once it no longer throws. @throws its last error after the deadline */
export async function eventually<T>(look: () => Promise<T> | T, deadlineMs = DEADLINE_MS): Promise<T> {
  for (const endMs = performance.now() + deadlineMs; ; ) {
    try {
      return await look();
    } catch (error) {
      if (performance.now() > endMs) throw error;
    }
    await pause(PAUSE_MS);
  }
}
