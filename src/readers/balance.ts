// Whether one process answers much more than the others, and how many connections it should end for that. The kernel gives a new connection
// to whichever process takes it first, and nothing hands it on: docs/decisions/readers.md.

import type { Listener } from '../http/listener.ts';

/** What one process answers, or several together. */
export interface Traffic {
  readonly requestsPerSecond: number;
  readonly connections: number;
}

/** Below this, a process has more to give: it is some eighth of what one answers. */
const MUCH_PER_SECOND = 5000;
/** Times the mean of all: with 16 connections, 9 beside 7 are left as they are, and 10 beside 6 are not. */
const TOO_MUCH = 1.125;
/** A client that comes again pays for a handshake, and may come to the same process. */
const MOST_AT_ONCE = 16;
/** So often in a row. Connections that come and go are as uneven for a moment. */
const TURNS = 3;

/**
 * Call what it returns in even turns, with the processes in the same order: how many of their connections they are to end now. Only
 * a process that is ahead in each of the last turns ends some: where now one and now the other gets the processor, none would help.
 */
export function createBalance(): (all: readonly Traffic[]) => readonly number[] {
  let unevenTurns: readonly number[] = [];
  return (all) => {
    // a process that came or went changes the mean, and perhaps the order
    const before = unevenTurns.length === all.length ? unevenTurns : [];
    const surplus = surplusOf(all);
    unevenTurns = surplus.map((count, at) => (count > 0 ? (before[at] ?? 0) + 1 : 0));
    const ended = surplus.map((count, at) => ((unevenTurns[at] ?? 0) >= TURNS ? count : 0));
    // those that lose connections change the share of all
    if (ended.some((count) => count > 0)) unevenTurns = [];
    return ended;
  };
}

function surplusOf(all: readonly Traffic[]): readonly number[] {
  const mean = all.reduce((sum, { requestsPerSecond }) => sum + requestsPerSecond, 0) / all.length;
  return all.map(({ requestsPerSecond, connections }) => {
    if (requestsPerSecond < MUCH_PER_SECOND || requestsPerSecond <= TOO_MUCH * mean) return 0;
    const above = (requestsPerSecond - mean) / requestsPerSecond;
    return Math.min(MOST_AT_ONCE, Math.floor(connections * above));
  });
}

/** Reads how fast a count that only grows does so. */
export function createRate(nowMs: () => number): (count: number) => number {
  let before = { count: 0, atMs: nowMs() };
  return (count) => {
    const atMs = nowMs();
    const seconds = Math.max(1, atMs - before.atMs) / 1000;
    const perSecond = (count - before.count) / seconds;
    before = { count, atMs };
    return perSecond;
  };
}

export function trafficOf(
  listeners: readonly Pick<Listener, 'traffic'>[],
  rateOf: (count: number) => number,
): Traffic {
  const all = listeners.map(({ traffic }) => traffic);
  return {
    requestsPerSecond: rateOf(all.reduce((sum, { requests }) => sum + requests, 0)),
    connections: all.reduce((sum, { connections }) => sum + connections, 0),
  };
}

/** Most servers have one listener. Where there are several, each may end so many. */
export function letGo(listeners: readonly Pick<Listener, 'letGo'>[], connections: number): void {
  for (const listener of listeners) listener.letGo(connections);
}
