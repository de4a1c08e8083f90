// `npm run build`: dist/ from the sources, dependencies first where they are missing.
import './node-version.mjs';
import { makeReady } from './ready.mjs';
import { runMain } from './run.mjs';

runMain(makeReady);
