// Ends the process when Node.js is too old for the server. Import it first: this file and all that the start-up
// scripts import must parse on old releases, so they keep to ES2020 and to `node:` imports (Node.js 14.18).
import { readFileSync } from 'node:fs';

const { engines } = JSON.parse(readFileSync(new URL('../package.json', import.meta.url), 'utf8'));
const [major, minor] = versionParts(engines.node);
const [runningMajor, runningMinor] = versionParts(process.versions.node);

if (runningMajor < major || (runningMajor === major && runningMinor < minor)) {
  process.stderr.write(
    `lookaside needs Node.js ${major}.${minor} or newer, and this is ${process.versions.node} (${process.execPath})\n`,
  );
  process.exit(1);
}

function versionParts(text) {
  return /(\d+)\.(\d+)/.exec(text).slice(1).map(Number);
}
