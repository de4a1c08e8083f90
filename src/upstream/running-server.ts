// Whether a server answers at the socket of a data directory, for commands that can also do without one.
import { connect } from 'node:net';
import type { AboutTree } from '../domain/administration.ts';
import { nameOfServer } from './address.ts';
import { aboutAnswer, readAnswer } from './answers.ts';
import { openSocket } from './direct.ts';
import { readWhole } from './transport.ts';

/** A running server answers this within milliseconds. One that is frozen never does. */
const SILENCE_MS = 3000;

/**
 * The tree of the server that answers at that socket. Null when none answers: no server runs, this user may not open the
 * socket, or the server is frozen. Does not try again.
 */
export async function findRunningServer(socketPath: string): Promise<AboutTree | null> {
  const { open, close } = openSocket(socketPath);
  try {
    const stream = await open({
      method: 'GET',
      path: '/api/v1/server',
      headers: { host: 'localhost', accept: 'application/json', 'user-agent': 'lookaside' },
      body: null,
      patience: { silenceMs: SILENCE_MS, totalMs: SILENCE_MS },
    });
    const { body } = await readWhole(stream);
    return stream.status === 200
      ? readAnswer(aboutAnswer, { server: nameOfServer({ socketPath }), body })
      : null;
  } catch {
    return null; // ignored for any reason: the caller then does the work itself, and meets what is wrong with the files
  } finally {
    await close();
  }
}

/**
 * Whether a process listens at that socket, which a frozen one does too. False as well when this user may not open it. It costs no more
 * than the call: a command that then asks the server loads nothing that reads the files of the data directory.
 */
export function isListening(socketPath: string): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect({ path: socketPath });
    socket.setTimeout(SILENCE_MS, () => socket.destroy());
    socket.on('connect', () => {
      resolve(true);
      socket.destroy();
    });
    socket.on('error', () => resolve(false)); // ignored for any reason, as above
    socket.on('close', () => resolve(false));
  });
}
