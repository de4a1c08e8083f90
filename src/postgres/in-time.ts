// No request waits for the database for longer than five seconds: who asks is answered with 503, whatever comes of the question.

/** What any one waits for, whether for a connection, for others, or for the answer. */
export const LONGEST_MS = 4800;

/** As the promise settles; `late()` is thrown when it has not by then. */
export async function inTime<T>(promise: Promise<T>, late: () => Error, longestMs = LONGEST_MS): Promise<T> {
  let timer: NodeJS.Timeout | null = null;
  const tooLate = new Promise<never>((_, reject) => {
    timer = setTimeout(() => reject(late()), longestMs);
  });
  try {
    return await Promise.race([promise, tooLate]);
  } finally {
    if (timer !== null) clearTimeout(timer);
  }
}
