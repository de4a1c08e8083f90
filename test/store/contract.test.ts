// The contract of stores over trees of both kinds.
import path from 'node:path';
import { distant } from '../contract/distant.ts';
import { signatureStoreContract } from '../contract/signature-store.ts';
import { layFile } from './lay.ts';
import { openStore, SITE } from './open-store.ts';

const TREES = [
  { kind: 'shared', where: 'here' },
  { kind: 'owned', where: 'here' },
  { kind: 'shared', where: 'elsewhere' },
  { kind: 'owned', where: 'elsewhere' },
] as const;

for (const { kind, where } of TREES) {
  signatureStoreContract(`a store over a tree that is ${kind}, with its databases ${where}`, async () => {
    // a clock that leaps, so that every listing compares the folder anew
    let nowMs = 0;
    const opened = await openStore({
      kind,
      between: (ports) =>
        where === 'here' ? ports : { ...ports, index: distant(ports.index), uploads: distant(ports.uploads) },
      monotonicMs: () => {
        nowMs += 10_000;
        return nowMs;
      },
    });
    await opened.scanner.scan(SITE);
    return {
      store: opened.store,
      appender: opened.appender,
      tell: opened.tell,
      async place(folder, files) {
        for (const [name, bytes] of Object.entries(files))
          await layFile(opened.root, `${folder}/${name}`, bytes);
        await layFile(opened.root, path.join(folder, 'note.txt'), 'an image folder may hold other files');
        // only we write to an owned tree, and then we say so to the index
        if (kind === 'owned') await opened.scanner.syncFolder(SITE, path.dirname(folder));
      },
      async close() {
        await opened[Symbol.asyncDispose]();
      },
    };
  });
}
