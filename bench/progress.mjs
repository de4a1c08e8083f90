// What a row does for minutes is said meanwhile, so that nobody takes it for hanging.

const EACH_MS = 10_000;

/**
 * Call what it returns often, with how much is done. Every ten seconds it adds to the line that is being written: first what is done,
 * then figures alone. It rewrites nothing, so a log holds one line as well.
 */
export function progressOf(what, total = null) {
  let saidMs = performance.now();
  let isFirst = true;
  return (done = 0) => {
    const nowMs = performance.now();
    if (nowMs - saidMs < EACH_MS) return;
    saidMs = nowMs;
    if (total === null) process.stderr.write(isFirst ? ` (${what})` : '.');
    else process.stderr.write(isFirst ? ` (${what}: ${done} of ${total})` : ` ${done}`);
    isFirst = false;
  };
}
