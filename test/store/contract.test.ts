// The contract of stores over trees of both kinds.
import path from 'node:path';
import { signatureStoreContract } from '../contract/signature-store.ts';
import { layFile } from './lay.ts';
import { openStore, SITE } from './open-store.ts';

for (const kind of ['shared', 'owned'] as const) {
  signatureStoreContract(`a store over a tree that is ${kind}`, async () => {
    // a clock that leaps, so that every listing compares the folder anew
    let nowMs = 0;
    const opened = await openStore({
      kind,
      monotonicMs: () => {
        nowMs += 10_000;
        return nowMs;
      },
    });
    await opened.scanner.scan(SITE);
    return {
      store: opened.store,
      appender: opened.appender,
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
