// The README's main story, its own code blocks run as they stand, one after the other. Two things differ: `npm start` is
// the built server (test/start/fresh-clone.test.ts runs npm's), and `apt-get install` is left out, because `npm test` has done that.
import assert from 'node:assert/strict';
import { mkdir, readFile, stat, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { after, before, describe, test } from 'node:test';
import { systemCode } from '../../src/domain/errors.ts';
import { needs } from './available.ts';
import { type Outcome, run } from './command.ts';
import { openPrivateHost, type PrivateHost } from './private-host.ts';
import { type LookasideServer, runLookaside, startServer } from './server.ts';
import { openTempFolder, type TempFolder } from './temp-folder.ts';

const PROJECT = path.join(import.meta.dirname, '../../..');
const README = path.join(PROJECT, 'README.md');
/** The folder of the README’s commands, which a person who follows them has as well. */
const OF_THE_MACHINE = '/tmp/lookaside-try';
/** Some twenty programs one after another, which take 20 s where nothing else runs. */
const SECTION_DEADLINE_MS = 180_000;
const INSTALLATION = /^apt-get install .*\n/m;

/** What Debian's golang-github-containers-common puts there. */
const DEBIAN_POLICY = '{"default": [{"type": "insecureAcceptAnything"}]}\n';

describe(
  'the README’s own commands',
  needs('podman', 'skopeo', 'docker-registry', 'gpg', 'curl', 'private host'),
  () => {
    let folder: TempFolder;
    let host: PrivateHost;
    let server: LookasideServer | undefined;
    let outcome: Outcome;
    let wasThere: number | null;

    before(async () => {
      wasThere = await changedAt(OF_THE_MACHINE);
      folder = await openTempFolder();
      const node = path.resolve(process.execPath, '../..');
      host = await openPrivateHost(folder.path, { network: true, tmpWith: [PROJECT, node] });
      await mkdir(path.join(folder.path, 'home'));
      await writeFile(path.join(folder.path, 'etc/policy.json'), DEBIAN_POLICY);
      const data = path.join(folder.path, 'data');
      server = await startServer({ data, listen: '127.0.0.1:8000', on: host.on });
      outcome = await runSection('## Sign, push, pull, refuse');
    });

    after(async () => {
      for (const group of backgroundGroups()) process.kill(-group);
      await run(['gpgconf', '--kill', 'all'], {
        env: { PATH: process.env.PATH ?? '', HOME: path.join(folder.path, 'home') },
      });
      for (const resource of [server, host, folder]) await resource?.[Symbol.asyncDispose]();
    });

    /** Runs the section's blocks but the first, which starts the server, as one script in the project's folder. */
    async function runSection(heading: string): Promise<Outcome> {
      const [serve, ...blocks] = await shellBlocks(heading);
      assert.equal(serve, 'npm start\n');
      assert.match(blocks[0] ?? '', INSTALLATION);
      const script = path.join(folder.path, 'section.sh');
      const undo = blocks.pop() ?? '';
      assert.match(undo, /^kill %1 %2\n/);
      const commands = [...blocks, 'ls /tmp/lookaside-try/copied', undo].join('\n').replace(INSTALLATION, '');
      const last = `echo "background $(jobs -p | tr '\\n' ' ')"`;
      // set -m: as in a terminal, what runs in the background can be ended with all that it has started
      await writeFile(script, `set -m\ncd '${PROJECT}'\n${commands}\n${last}\n`); // nsenter begins in /
      const ended = await run(host.on(['bash', '-e', script]), {
        env: {
          PATH: process.env.PATH ?? '',
          HOME: path.join(folder.path, 'home'),
          LC_ALL: 'C',
          LOOKASIDE_DATA: path.join(folder.path, 'data'), // in place of ./data
        },
        deadlineMs: SECTION_DEADLINE_MS,
      });
      assert.equal(ended.status, 0, ended.stdout + ended.stderr);
      return ended;
    }

    function backgroundGroups(): readonly number[] {
      const pids = /^background ([0-9 ]+)$/m.exec(outcome?.stdout ?? '')?.[1] ?? '';
      return pids.trim().split(' ').filter(Boolean).map(Number);
    }

    test('podman pulls what it has signed and push has sent', () => {
      assert.match(outcome.stderr, /Trying to pull localhost:5001\/team\/signed:v1[\s\S]*Storing signatures/);
    });

    test('podman and skopeo refuse the unsigned image with the words that the README quotes', async () => {
      const quoted = /^> `Error: (.*)`$/m.exec(await readFile(README, 'utf8'))?.[1];
      assert.ok(quoted !== undefined);
      assert.equal(outcome.stderr.split(quoted).length - 1, 2, outcome.stderr);
      assert.equal(outcome.stdout.match(/^refused, as it should be$/gm)?.length, 3);
    });

    test('doctor says of both images what podman did', () => {
      assert.match(outcome.stdout, /^localhost:5001\/team\/signed:v1 is pulled$/m);
      assert.match(outcome.stdout, /^localhost:5001\/team\/unsigned:v1 is refused: /m);
    });

    test('skopeo reads what it has signed and push has sent', () => {
      assert.match(outcome.stdout, /^signature-1$/m);
    });

    test('what undoes it leaves no key, no token in force and no file behind', async () => {
      const asked = async (...args: readonly string[]) => {
        const { stdout } = await runLookaside([...args, '--json', '--data', path.join(folder.path, 'data')]);
        return JSON.parse(stdout);
      };
      assert.deepEqual((await asked('key', 'list')).keys, []);
      const { tokens } = await asked('token', 'list');
      assert.deepEqual(
        tokens.map(({ name, state }: { name: string; state: string }) => [name, state]),
        [['pipeline', 'revoked']],
      );
      assert.match(outcome.stdout, /^3 stored signatures verified by it; they go on being served/m);
      assert.equal(await readFile(path.join(folder.path, 'etc/policy.json'), 'utf8'), DEBIAN_POLICY);
      for (const gone of ['etc/registries.d/lookaside.yaml', 'etc/signer.asc', 'tmp/lookaside-try'])
        assert.equal(await changedAt(path.join(folder.path, gone)), null, gone);
      const keys = await run(host.on(['gpg', '--list-keys', '--list-secret-keys']), {
        env: { PATH: process.env.PATH ?? '', HOME: path.join(folder.path, 'home') },
      });
      assert.equal(keys.stdout, '');
    });

    test('with the watcher running, podman push --sign-by was all that the signer typed', () => {
      assert.match(
        outcome.stderr,
        /Trying to pull localhost:5001\/team\/watched:v1[\s\S]*Storing signatures/,
      );
    });

    test('nothing of it is done in the machine’s own /tmp', async () => {
      assert.equal(await changedAt(OF_THE_MACHINE), wasThere);
    });

    test('each signature was read from the server, one by doctor too', async () => {
      const { stdout } = await run(host.on(['curl', '-sS', 'http://127.0.0.1:8000/metrics']), {
        env: { PATH: process.env.PATH ?? '' },
      });
      assert.match(stdout, /^lookaside_signature_reads_total\{site="default",result="hit"\} 4$/m);
    });

    test('list says what is verified', () => {
      assert.match(outcome.stdout, /^team\/signed.*verified/m);
      assert.match(outcome.stdout, /^team\/watched.*verified/m);
    });
  },
);

/** The `sh` blocks of one section, without their fences. */
async function shellBlocks(heading: string): Promise<readonly string[]> {
  const text = await readFile(README, 'utf8');
  const from = text.indexOf(heading);
  assert.notEqual(from, -1, `the README has no section "${heading}"`);
  const section = text.slice(from, text.indexOf('\n## ', from));
  return [...section.matchAll(/```sh\n([\s\S]*?)```/g)].map((match) => match[1] ?? '');
}

/** When something was last made or removed in the folder; null when there is none. */
async function changedAt(place: string): Promise<number | null> {
  const status = await stat(place).catch((error: unknown) => {
    if (systemCode(error) === 'ENOENT') return null;
    throw error;
  });
  return status?.mtimeMs ?? null;
}
