// The examples that the help of each command ends with: there is one for each, and the command takes it.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Command } from 'commander';
import { EXAMPLES } from '../../src/cli/examples.ts';
import { createProgram } from '../../src/cli/program.ts';

const TOOLS = { finish: () => undefined, signals: null };

/** With what stands in front of it on the command line. */
function leavesOf(command: Command, names: readonly string[] = []): readonly [string, Command][] {
  if (command.commands.length === 0) return [[names.join(' '), command]];
  return command.commands.flatMap((below) => leavesOf(below, [...names, below.name()]));
}

/** As a shell takes a line that has no more than single quotes and a redirection in it. */
function wordsOf(line: string): readonly string[] {
  const [command = ''] = line.split(/ [<>] /);
  return [...command.matchAll(/'([^']*)'|\S+/g)].map(([word, quoted]) => quoted ?? word);
}

test('the help of each command ends with an example, and there are none of commands that are not there', async () => {
  const leaves = leavesOf(await createProgram(TOOLS, undefined));
  assert.deepEqual(Object.keys(EXAMPLES).sort(), leaves.map(([names]) => names).sort());
  for (const [names, leaf] of leaves) {
    let help = '';
    leaf.configureOutput({ writeOut: (text) => (help += text) }).outputHelp();
    for (const line of EXAMPLES[names] ?? [])
      assert.ok(help.trimEnd().includes(`\n  lookaside ${line}`), `${names}: ${help}`);
  }
});

test('each example is a command line that its command takes', async () => {
  for (const [names, lines] of Object.entries(EXAMPLES)) {
    assert.notEqual(lines.length, 0, names);
    for (const line of lines) {
      const program = await createProgram(TOOLS, line.split(' ')[0]);
      const taken: string[] = [];
      for (const [own, leaf] of leavesOf(program)) {
        leaf.exitOverride().configureOutput({ writeErr: () => undefined });
        leaf.action(() => {
          taken.push(own);
        });
      }
      await assert.doesNotReject(program.parseAsync(wordsOf(line), { from: 'user' }), line);
      assert.deepEqual(taken, [names], line);
    }
  }
});

test('the options that say which server is asked stand below those of the command', async () => {
  const leaves = leavesOf(await createProgram(TOOLS, undefined));
  for (const [names, leaf] of leaves) {
    const help = leaf.helpInformation();
    const common = help.indexOf('Server and data directory:');
    assert.ok(common === -1 || help.indexOf('\nOptions:') < common, `${names}: ${help}`);
  }
});

test('an option without which a command does nothing is marked as required', async () => {
  const leaves = new Map(leavesOf(await createProgram(TOOLS, undefined)));
  const help = (names: string) => leaves.get(names)?.helpInformation().replaceAll(/\s+/g, ' ') ?? '';
  assert.match(help('token create'), /--name <name> who or what will use it \(required\)/);
  assert.match(help('token list'), /^(?!.*\(required\))/);
});
