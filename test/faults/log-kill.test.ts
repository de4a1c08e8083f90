// The server is killed between an event, its hash, the head over it and the copy of that head: the next start agrees with all
// of them, and no acknowledged event is missing.
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdir, readFile, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { createInterface } from 'node:readline';
import { setTimeout as pause } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { makePrivateKey } from '../../src/service/note-keys.ts';
import { openTempFolder } from '../clients/temp-folder.ts';
import { openLogScene, verifyAt } from '../sqlite/log-scene.ts';
import { count, promise } from './promise.ts';

const CHILD = fileURLToPath(new URL('./log-child.js', import.meta.url));
const KILLS = count(100, 2);

promise(
  {
    id: 'P1',
    what: 'the log agrees with its events after kill -9',
    wanted: `0 lost, 0 faults in ${KILLS} kills`,
  },
  async (see) => {
    await using temp = await openTempFolder();
    const [data, key] = [path.join(temp.path, 'data'), path.join(temp.path, 'key')];
    await mkdir(data);
    await writeFile(key, makePrivateKey());
    let [acknowledged, lost, faults] = [0, 0, 0];
    for (let kill = 1; kill <= KILLS; kill += 1) {
      const child = spawn(process.execPath, [CHILD, data, key], { stdio: ['ignore', 'pipe', 'inherit'] });
      const exited = once(child, 'exit');
      const lines = createInterface({ input: child.stdout });
      lines.on('line', (line) => {
        acknowledged = Math.max(acknowledged, Number(line));
      });
      await once(lines, 'line');
      await pause(Math.random() * 150);
      child.kill('SIGKILL');
      await exited;
      const next = await openLogScene(data, { key: await readFile(key, 'utf8') });
      await next.keeper.publish(); // a start signs what came after the last head, and waits for it no longer
      const head = await next.keeper.checkpoint();
      await next.close();
      if ((head?.size ?? 0) < acknowledged) lost += 1;
      faults += (await verifyAt(data)).faults.length;
    }
    see(`${lost} lost, ${faults} faults in ${KILLS} kills, ${acknowledged} events`);
    assert.deepEqual([lost, faults], [0, 0]);
  },
);
