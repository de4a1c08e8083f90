// What the log says while state.db of an older version is brought up to date: nothing is served until then.
import type { Log } from '../domain/ports.ts';
import type { DatabasesOptions } from '../sqlite/databases.ts';

const SAY_EVERY_MS = 10_000;

export function sayOlderState(log: Log): NonNullable<DatabasesOptions['onOlderState']> {
  return (older) => {
    const startedMs = performance.now();
    const seconds = () => Math.round((performance.now() - startedMs) / 1000);
    log.info(
      { ...older },
      'state.db has the schema of an older version and is brought up to date before anything is served; each million audit events take some seconds',
    );
    const timer = setInterval(() => {
      log.info(
        { seconds: seconds() },
        'state.db is still being brought up to date; nothing is served until then',
      );
    }, SAY_EVERY_MS);
    return (isDone) => {
      clearInterval(timer);
      if (isDone) log.info({ seconds: seconds() }, 'state.db is up to date');
    };
  };
}
