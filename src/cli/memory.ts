// How much memory sets of signatures may hold, by what this machine, container or service gives to the server.
import { totalmem } from 'node:os';
import { getHeapStatistics } from 'node:v8';

const MIB = 1024 * 1024;
/** The rest is for a registry beside the server, perhaps, and for the kernel's memory of the files. */
const SHARE = 1 / 16;
/** For the whole server, however large the machine is: some 120,000 images of one signature. */
const MOST_BYTES = 256 * MIB;
/** What each process has on a large machine. */
const ENOUGH_BYTES = 64 * MIB;
/** The promises about memory are tested with so much: docs/reliability.md, P7. */
const WANTED_BYTES = 512 * MIB;

export interface MemorySources {
  readonly machineBytes: number;
  /** The limit of this process's control group; 0 or more than the machine has where there is no limit. */
  readonly limitBytes: number;
  /** What V8 gives to objects, which is half of the memory unless an option says otherwise. */
  readonly heapBytes: number;
}

/** Bytes for the sets of each of so many processes that answer reads. They take them as sets are read, not ahead. */
export function setBytesOfEach(processes: number, sources: MemorySources = systemMemory()): number {
  const usable = Math.min(givenBytes(sources), 2 * sources.heapBytes);
  // each process of a large machine has enough of its own, as a set that it lacks costs two of them a look-up
  const most = Math.max(MOST_BYTES, processes * ENOUGH_BYTES);
  return Math.floor(Math.min(SHARE * usable, most) / processes);
}

/** What the log says where the server may use less memory than it is tested with; null where it may use as much. */
export function memoryShortage(
  sources: MemorySources = systemMemory(),
): { readonly givenMiB: number; readonly wantedMiB: number } | null {
  const given = givenBytes(sources);
  if (given >= WANTED_BYTES) return null;
  return { givenMiB: Math.floor(given / MIB), wantedMiB: WANTED_BYTES / MIB };
}

function givenBytes({ machineBytes, limitBytes }: MemorySources): number {
  return limitBytes > 0 ? Math.min(machineBytes, limitBytes) : machineBytes;
}

function systemMemory(): MemorySources {
  return {
    machineBytes: totalmem(),
    limitBytes: process.constrainedMemory(),
    heapBytes: getHeapStatistics().heap_size_limit,
  };
}
