// What fsck names is wrong: an upload that is under way, or was when the server was killed, is not.

import assert from 'node:assert/strict';
import { createLog } from '../../src/compose/log.ts';
import { fsckReadOnly, sitesWithMirrors } from '../../src/compose/offline.ts';
import { loadConfig } from '../../src/config.ts';
import { describeOutcome } from '../clients/command.ts';
import { eventually } from '../clients/eventually.ts';
import { runLookaside, startServer } from '../clients/server.ts';
import { openTemplate } from './crash-scene.ts';
import { count, promise } from './promise.ts';
import { beginUploads } from './uploaders.ts';

const RUNS = count(25, 1);
const UPLOADS_A_RUN = count(20, 10);

const BESIDE_UPLOADS = {
  id: 'P5',
  what: 'fsck beside a server under 8 uploaders names nothing',
  wanted: `0 findings and exit status 0 in each of ${RUNS} runs`,
} as const;

promise(BESIDE_UPLOADS, async (see) => {
  await using template = await openTemplate();
  const data = template.folder.path;
  const { config } = loadConfig({ flags: { data }, environment: {}, workingFolder: '/', parseYaml: null });
  const [log, onProgress] = [createLog('error'), () => undefined];
  await using server = await startServer({ data });
  await eventually(() => assert.match(server.output(), /the tree was scanned/));
  const uploaders = beginUploads(server, template);
  try {
    for (let run = 1; run <= RUNS; run += 1) {
      await uploaders.more(UPLOADS_A_RUN);
      const outcome = await runLookaside(['fsck', '--data', data]); // done by the server
      assert.equal(outcome.status, 0, describeOutcome(outcome));
      const { findings } = await fsckReadOnly({ data, sites: sitesWithMirrors(config), log, onProgress }); // as beside a frozen server
      assert.deepEqual(findings, []);
      see(`0 findings in ${run} runs beside ${uploaders.acknowledged.length} uploads`);
    }
  } finally {
    await uploaders.stop();
  }
});
