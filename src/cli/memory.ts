// How much memory sets of signatures may hold, by what this machine, container or service gives to the server.
import { totalmem } from 'node:os';
import { getHeapStatistics } from 'node:v8';

const MIB = 1024 * 1024;
/** Beside the server there is a registry, perhaps, and the kernel's memory of the files. */
const SHARE = 1 / 16;
/** Sets are of use up to this much, also where the share is less: it may be twice the share then. */
const ENOUGH_BYTES = 64 * MIB;
const SHARE_IF_SMALL = 2 * SHARE;
/** For the whole server, however large the machine is: some 120,000 images of one signature. */
const MOST_BYTES = 256 * MIB;

export interface MemorySources {
  readonly machineBytes: number;
  /** The limit of this process's control group; 0 or more than the machine has where there is no limit. */
  readonly limitBytes: number;
  /** What V8 gives to objects, which is half of the memory unless an option says otherwise. */
  readonly heapBytes: number;
}

/** Bytes for the sets of each of so many processes that answer reads. They take them as sets are read, not ahead. */
export function setBytesOfEach(processes: number, sources: MemorySources = systemMemory()): number {
  const { machineBytes, limitBytes, heapBytes } = sources;
  const limit = limitBytes > 0 ? limitBytes : machineBytes;
  const usable = Math.min(machineBytes, limit, 2 * heapBytes);
  const least = Math.min(ENOUGH_BYTES, SHARE_IF_SMALL * usable);
  // each process of a large machine has enough of its own, as a set that it lacks costs two of them a look-up
  const most = Math.max(MOST_BYTES, processes * ENOUGH_BYTES);
  return Math.floor(Math.min(Math.max(least, SHARE * usable), most) / processes);
}

function systemMemory(): MemorySources {
  return {
    machineBytes: totalmem(),
    limitBytes: process.constrainedMemory(),
    heapBytes: getHeapStatistics().heap_size_limit,
  };
}
