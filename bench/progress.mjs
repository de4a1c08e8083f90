// What a row does for minutes is said meanwhile, so that nobody takes it for hanging.

const EACH_MS = 10_000;

/** Call what it returns often, with how much is done: it writes a line each ten seconds. */
export function progressOf(what, total = null) {
  let saidMs = performance.now();
  return (done = 0) => {
    const nowMs = performance.now();
    if (nowMs - saidMs < EACH_MS) return;
    saidMs = nowMs;
    process.stderr.write(total === null ? ` (${what})` : ` (${what}: ${done} of ${total})`);
  };
}
