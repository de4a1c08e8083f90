// The signals of `serve`, from the first line that is ours until the end of the process.
import { EXIT } from './terminal.ts';

export interface ServerSignals {
  /** Calls `act` at each SIGHUP, and at once if one came before. After stop() has resolved it is not called any more. */
  onReload(act: () => void): void;
  /** Resolves at the next SIGTERM or SIGINT; the one after it ends the process at once. */
  stop(): Promise<void>;
}

/** Until stop() is called nothing was accepted, so SIGTERM and SIGINT end the process at once. */
export function catchServerSignals(): ServerSignals {
  let isReloadDue = false;
  let reload = () => {
    isReloadDue = true;
  };
  let stop: () => void = () => process.exit(EXIT.done);
  process.on('SIGHUP', () => reload());
  for (const signal of ['SIGTERM', 'SIGINT'] as const) process.on(signal, () => stop());
  return {
    onReload(act) {
      reload = act;
      if (isReloadDue) act();
    },
    stop: () =>
      new Promise((resolve) => {
        stop = () => {
          stop = () => process.exit(EXIT.failed);
          reload = () => undefined;
          resolve();
        };
      }),
  };
}
