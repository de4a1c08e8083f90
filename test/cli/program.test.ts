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

test('a mistake names the help of the command in which it was made', async () => {
  const saidOf = async (...args: readonly string[]) => {
    const program = await createProgram(TOOLS, args[0]);
    const said: string[] = [];
    for (const command of [program, ...program.commands, ...program.commands.flatMap((one) => one.commands)])
      command.configureOutput({ writeErr: (text) => said.push(text) });
    await assert.rejects(program.parseAsync(args, { from: 'user' }));
    return said.join('');
  };
  assert.match(await saidOf('token', 'create'), /\(lookaside token create --help says/);
  assert.match(await saidOf('key', 'ad'), /\(lookaside key --help says/);
  assert.match(await saidOf('withdraw'), /\(lookaside withdraw --help says/);
  assert.match(await saidOf('pusch'), /\(lookaside --help lists/);
  assert.match(await saidOf('serve', '--port', '8080'), /Wanted --listen :8080, or --listen HOST:8080/);
});
