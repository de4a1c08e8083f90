// Waiting for what another process does: looked at again and again until it is so, or a deadline has passed.
import { setTimeout as pause } from 'node:timers/promises';

const DEADLINE_MS = 30_000;
const PAUSE_MS = 20;

/** What `look` returns once it no longer throws. @throws its last error after the deadline */
export async function eventually<T>(look: () => Promise<T> | T): Promise<T> {
  for (const deadlineMs = performance.now() + DEADLINE_MS; ; ) {
    try {
      return await look();
    } catch (error) {
      if (performance.now() > deadlineMs) throw error;
    }
    await pause(PAUSE_MS);
  }
}
