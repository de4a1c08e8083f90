// Started by restore-sync.test.ts under strace: puts the same bytes back twice, and prints what came of each.
import { isLookasideError } from '../../src/domain/errors.ts';
import { openTreeWriter } from '../../src/files/tree-writer.ts';
import { folderOf, signatureBytes } from '../store/lay.ts';

const [, , root = ''] = process.argv;
const writer = openTreeWriter({ root, nowMs: Date.now });
for (let time = 0; time < 2; time += 1) {
  const outcome = await writer.restore(folderOf('team/app'), 1, signatureBytes('one')).then(
    () => 'done',
    (error: unknown) => {
      if (!isLookasideError(error)) throw error;
      return error.code;
    },
  );
  process.stdout.write(`${outcome}\n`);
}
