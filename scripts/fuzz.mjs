// `npm run fuzz [TARGET …]`: fuzzing led by coverage; see SECURITY.md.
import './node-version.mjs';
import { join } from 'node:path';
import process from 'node:process';
import { makeReady, ROOT } from './ready.mjs';
import { run, runMain } from './run.mjs';

runMain(async () => {
  await makeReady();
  const main = join(ROOT, 'dist/test/fuzz/main.js');
  process.exitCode = await run(process.execPath, [main, ...process.argv.slice(2)], {
    cwd: ROOT,
    stdio: 'inherit',
  });
});
