// Far more files in one image's folder than an image can have: what is served, refused and counted does not grow with them.
import assert from 'node:assert/strict';
import { mkdir, readFile } from 'node:fs/promises';
import path from 'node:path';
import { describeOutcome } from '../clients/command.ts';
import { eventually } from '../clients/eventually.ts';
import { runLookaside, startServer } from '../clients/server.ts';
import { enrol, makeSigner } from '../clients/signer.ts';
import { openTempFolder } from '../clients/temp-folder.ts';
import { requestRaw } from '../http/raw-request.ts';
import { layImage, linkSignatures, signatureBytes } from '../store/lay.ts';
import { memoryOf } from './memory.ts';
import { count, isFull, promise } from './promise.ts';

/** In full nearly as many names as a file may have on every file system; else many times what is read of a folder at once. */
const FILES = count(60_000, 6000);
/** In a backup: of a shared tree none is. */
const KEPT = { shared: 0, owned: 127 } as const;

const MAX_MEMORY_BYTES = 512 * 1024 * 1024;

for (const kind of ['shared', 'owned'] as const) {
  promise(
    {
      id: 'P13',
      isLong: kind === 'owned',
      what: `${FILES} files of one image in a tree that is ${kind} keep neither reads nor an upload waiting, nor fill memory`,
      wanted: `the first 127 served, the upload 409, each in ≤ 5 s; memory ≤ 512 MiB; fsck counts 127, a backup ${KEPT[kind]}`,
    },
    async (see) => {
      await using temp = await openTempFolder();
      const data = path.join(temp.path, 'data');
      const root = kind === 'shared' ? path.join(temp.path, 'tree') : path.join(data, 'sigstore');
      const signer = makeSigner('alice');
      await mkdir(data);
      const token = await enrol(data, signer);
      const bytes = signatureBytes('many', 8192);
      const folder = await layImage(root, 'many/app', bytes);
      linkSignatures(root, folder, 2, FILES);
      await using server = await startServer({ data, ...(kind === 'shared' ? { root } : {}) });
      let slowestMs = 0;
      const ask = async (line: string, body?: Uint8Array) => {
        const startedMs = performance.now();
        const answer = await requestRaw(server.port, line, [`Authorization: Bearer ${token}`], body);
        slowestMs = Math.max(slowestMs, performance.now() - startedMs);
        return answer;
      };
      const upload = signer.sign({ repository: 'many/app', tag: 'v1' });
      const answers = [
        await ask(`GET /${folder}/signature-1`),
        await ask(`POST /${folder}`, upload),
        await ask(`GET /${folder}/signature-127`),
        await ask(`GET /${folder}/signature-128`),
      ].map(({ status }) => status);
      await eventually(() => assert.match(server.output(), /the tree was scanned/));
      const { peakBytes } = await memoryOf(server.pid);
      const over = FILES - 127;
      assert.match(server.output(), new RegExp(`"over-limit".*"msg":"this and ${over - 1} more: `));
      await server.stop();

      const tree = kind === 'shared' ? ['--root', root] : [];
      const checked = await runLookaside(['fsck', '--data', data, ...tree, '--json']);
      const { signatures, findings } = JSON.parse(checked.stdout);
      const backup = path.join(temp.path, 'backup');
      const backedUp = await runLookaside(['backup', backup, '--data', data, ...tree, '--json']);
      assert.equal(backedUp.status, 0, describeOutcome(backedUp));
      const { signatures: kept } = JSON.parse(await readFile(path.join(backup, 'backup.json'), 'utf8'));

      const seconds = (slowestMs / 1000).toFixed(1);
      const memory = Math.round(peakBytes / 1024 / 1024);
      see(
        `${answers.join(', ')} in ${seconds} s at most, memory ${memory} MiB; fsck ${signatures}, backup ${kept.count}`,
      );
      assert.deepEqual(answers, [200, 409, 200, 404]);
      assert.equal(signatures, 127);
      assert.deepEqual(
        findings.map(({ kind: foundKind, count: many }: { kind: string; count: number }) => [
          foundKind,
          many,
        ]),
        [['over-limit', over]],
      );
      assert.equal(kept.count, KEPT[kind]);
      assert.ok(peakBytes <= MAX_MEMORY_BYTES);
      if (isFull) assert.ok(slowestMs <= 5000);
    },
  );
}
