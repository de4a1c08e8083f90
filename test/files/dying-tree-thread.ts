// A thread that writes a tree and dies: what it is to do for a folder says when.
import { writeFileSync } from 'node:fs';
import path from 'node:path';
import { parentPort, workerData } from 'node:worker_threads';
import { blockInThisThread } from '../../src/files/calls.ts';
import type { Request } from '../../src/files/tree-jobs.ts';
import { openTreeWriter } from '../../src/files/tree-writer.ts';

blockInThisThread();
const { root } = workerData as { readonly root: string };
const writer = openTreeWriter({ root, nowMs: Date.now });

parentPort?.on('message', async (jobs: Request) => {
  for (const { id, name, args } of jobs) {
    const folder = String(name === 'prepare' ? '' : name === 'place' ? args[1] : args[0]);
    if (folder.startsWith('dies-before')) process.exit(1);
    if (folder.startsWith('loses')) {
      const message = 'a write did not reach the disk';
      const failure = { code: 'STORE_UNAVAILABLE', message, detail: null, fault: message };
      parentPort?.postMessage([{ id, output: null, failure }]);
      writeFileSync(path.join(root, 'told'), '');
      process.exit(1);
    }
    // the cast is right because the names come with their own arguments
    const act = writer[name] as (...given: readonly unknown[]) => Promise<unknown>;
    const output = await act(...args);
    if (folder.startsWith('dies-after')) process.exit(1);
    parentPort?.postMessage([{ id, output, failure: null }]);
  }
});
