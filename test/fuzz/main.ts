// `npm run fuzz [TARGET …]`: each target for FUZZ_SECONDS (60), with the corpus of the runs before.
import { createHash } from 'node:crypto';
import { mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import process from 'node:process';
import { fuzz, type Target } from './fuzzer.ts';
import { TARGETS } from './targets.ts';

const SECONDS = Number(process.env.FUZZ_SECONDS ?? 60);
const SEED = Number(process.env.FUZZ_SEED ?? Date.now() % 2 ** 31);
const FOLDER = path.join(tmpdir(), `lookaside-fuzz-${process.getuid?.() ?? 0}`);

const asked = process.argv.slice(2);
const unknown = asked.filter((name) => !TARGETS.some((target) => target.name === name));
if (unknown.length > 0 || !(SECONDS > 0)) {
  const names = TARGETS.map(({ name }) => name).join(', ');
  process.stderr.write(`no target ${unknown.join(', ')}, or no number of seconds; targets are ${names}\n`);
  process.exit(2);
}

process.stdout.write(`seed ${SEED}, corpus in ${FOLDER}\n`);
for (const target of TARGETS) {
  if (asked.length === 0 || asked.includes(target.name)) await runTarget(target);
}

async function runTarget(target: Target): Promise<void> {
  const folder = path.join(FOLDER, target.name);
  mkdirSync(folder, { recursive: true });
  const corpus = readdirSync(folder).map((name) => readFileSync(path.join(folder, name)));
  const endMs = performance.now() + SECONDS * 1000;
  const { executions, charactersBefore, charactersAfter, kept, slowestMs, crash } = await fuzz({
    target,
    corpus,
    seed: SEED,
    isEnough: () => performance.now() > endMs,
    onKept: (input) => writeFileSync(path.join(folder, nameOf(input)), input),
  });
  process.stdout.write(
    `${target.name}: ${executions} executions; ${charactersBefore} characters of code reached before, ${charactersAfter} after; ${kept} inputs kept; the slowest took ${slowestMs.toFixed(1)} ms\n`,
  );
  if (crash === null) return;
  const file = path.join(FOLDER, `crash-${target.name}-${nameOf(crash.input)}`);
  writeFileSync(file, crash.input);
  const { error } = crash;
  process.stdout.write(
    `${target.name}: CRASH, the input is ${file}\n${error instanceof Error ? error.stack : error}\n`,
  );
  process.exitCode = 1;
}

function nameOf(input: Uint8Array): string {
  return createHash('sha256').update(input).digest('hex').slice(0, 32);
}
