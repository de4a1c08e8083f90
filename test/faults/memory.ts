// The memory of another process, as the kernel counts it.
import { readFile } from 'node:fs/promises';

export interface Memory {
  readonly residentBytes: number;
  /** The most that was resident at any time. */
  readonly peakBytes: number;
}

export async function memoryOf(pid: number): Promise<Memory> {
  const status = await readFile(`/proc/${pid}/status`, 'utf8');
  const bytesOf = (name: string) =>
    Number(new RegExp(`^${name}:\\s+([0-9]+) kB$`, 'm').exec(status)?.[1]) * 1024;
  return { residentBytes: bytesOf('VmRSS'), peakBytes: bytesOf('VmHWM') };
}
