// Ctrl-C and SIGTERM for commands that finish the work under way.

export interface Stopping {
  /** Aborted by the first SIGINT or SIGTERM; the second one ends the process at once. */
  readonly signal: AbortSignal;
  /** The shell's exit code for the received signal: 130 for SIGINT, 143 for SIGTERM; null without one. */
  exitCode(): number | null;
}

const EXIT_CODES = { SIGINT: 130, SIGTERM: 143 } as const;

export function catchStopSignals(): Stopping {
  const controller = new AbortController();
  let received: number | null = null;
  for (const [name, exitCode] of Object.entries(EXIT_CODES)) {
    process.on(name, () => {
      if (received !== null) process.exit(exitCode);
      received = exitCode;
      controller.abort();
    });
  }
  return { signal: controller.signal, exitCode: () => received };
}
