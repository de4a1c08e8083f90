import assert from 'node:assert/strict';
import { test } from 'node:test';
import { createProgram } from '../../src/cli/program.ts';

const TOOLS = { finish: () => undefined, signals: null };

const namesOf = async (named: string | undefined) => {
  const { commands } = await createProgram(TOOLS, named);
  return commands.map((command) => command.name());
};

test('each command is built with those of its group alone, and all for a word that is no command', async () => {
  const all = await namesOf(undefined);
  assert.ok(all.includes('push') && all.includes('mirror'), all.join());
  for (const word of ['--help', 'help', 'pusch', 'constructor', ''])
    assert.deepEqual(await namesOf(word), all);
  for (const name of all) {
    const group = await namesOf(name);
    assert.ok(group.includes(name), `${name} is not in its group: ${group.join()}`);
    assert.ok(group.length <= 3, `${name} is built with ${group.join()}`);
  }
});
