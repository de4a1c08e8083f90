// How long the reads of this process wait, for work that gives way to them.
import { setTimeout as wait } from 'node:timers/promises';
import { createGivingWay, type GivingWay } from '../service/giving-way.ts';
import type { Reader } from '../service/read.ts';
import { systemClock } from './clock.ts';

/** `reader`: called once work has begun that gives way. */
export function openGivingWay(reader: () => Pick<Reader, 'cache'>): GivingWay {
  return createGivingWay({
    reads: () => reader().cache.hits + reader().cache.misses,
    clock: systemClock,
    wait: (ms) => wait(ms, undefined, { ref: false }),
  });
}
