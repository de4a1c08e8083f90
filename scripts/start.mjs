// `npm start`: makes the checkout ready, then is the server, so that signals reach it without a process between.
import './node-version.mjs';
import { join } from 'node:path';
import process from 'node:process';
import { pathToFileURL } from 'node:url';
import { makeReady, ROOT } from './ready.mjs';
import { runMain } from './run.mjs';

runMain(async () => {
  await makeReady();
  const main = join(ROOT, 'dist/src/main.js');
  process.argv = [process.execPath, main, 'serve', ...process.argv.slice(2)];
  await import(pathToFileURL(main).href);
});
