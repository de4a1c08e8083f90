// Listening sockets that another program has opened for the server.
import { LookasideError } from '../domain/errors.ts';

/** SD_LISTEN_FDS_START of sd_listen_fds(3). */
const FIRST_PASSED_SOCKET = 3;
const PASSED_SOCKETS = /^(?:0|[1-9][0-9]{0,2})$/;

/**
 * File descriptors of the listening sockets that systemd, or whoever speaks its protocol, has passed to this process:
 * none unless LISTEN_PID names it. The variables are removed, so that no child process takes the sockets for its own.
 * @throws LookasideError CONFIG_INVALID. Source: sd_listen_fds(3)
 */
export function takePassedSockets(environment: NodeJS.ProcessEnv, pid: number): readonly number[] {
  const { LISTEN_PID: addressee, LISTEN_FDS: count = '' } = environment;
  for (const name of ['LISTEN_PID', 'LISTEN_FDS', 'LISTEN_FDNAMES']) delete environment[name];
  if (addressee !== String(pid)) return [];
  if (!PASSED_SOCKETS.test(count)) {
    const message = `LISTEN_FDS is "${count}": wanted how many sockets are passed, like 1`;
    throw new LookasideError('CONFIG_INVALID', message);
  }
  return Array.from({ length: Number(count) }, (_, position) => FIRST_PASSED_SOCKET + position);
}
