// The README's "Try it" and "Upload what you sign", their own code blocks run as they stand, one after the other. Two
// things differ: each `npm start` is the built server (test/start.test.ts runs npm's), and each `apt-get install` is
// left out, because `npm test` has done that.
import assert from 'node:assert/strict';
import { mkdir, readFile, rm, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { after, before, describe, test } from 'node:test';
import { needs } from './available.ts';
import { type Outcome, run } from './command.ts';
import { openPrivateHost, type PrivateHost } from './private-host.ts';
import { type LookasideServer, startServer } from './server.ts';
import { openTempFolder, type TempFolder } from './temp-folder.ts';

const PROJECT = path.join(import.meta.dirname, '../../..');
const README = path.join(PROJECT, 'README.md');
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
    let registry = 0;

    /** Runs the section's blocks but the first, which starts the server, as one script in the project's folder. */
    async function runSection(heading: string, serverCommand: string, last: string): Promise<Outcome> {
      const [serve, ...blocks] = await shellBlocks(heading);
      assert.equal(serve, serverCommand);
      assert.match(blocks[0] ?? '', INSTALLATION);
      const script = path.join(folder.path, 'section.sh');
      const commands = blocks.join('\n').replace(INSTALLATION, '');
      await writeFile(script, `cd '${PROJECT}'\n${commands}\n${last}\n`); // nsenter begins in /
      const outcome = await run(host.on(['bash', '-e', script]), {
        env: {
          PATH: process.env.PATH ?? '',
          HOME: path.join(folder.path, 'home'),
          LC_ALL: 'C',
          LOOKASIDE_DATA: path.join(folder.path, 'data'), // in place of ./data
        },
      });
      assert.equal(outcome.status, 0, outcome.stdout + outcome.stderr);
      return outcome;
    }

    async function metrics(): Promise<string> {
      const answer = await run(host.on(['curl', '-sS', 'http://127.0.0.1:8000/metrics']), {
        env: { PATH: process.env.PATH ?? '' },
      });
      return answer.stdout;
    }

    before(async () => {
      folder = await openTempFolder();
      host = await openPrivateHost(folder.path, { network: true });
      await mkdir(path.join(folder.path, 'home'));
      await writeFile(path.join(folder.path, 'etc/policy.json'), DEBIAN_POLICY);
    });

    after(async () => {
      if (registry !== 0) process.kill(registry);
      await run(['gpgconf', '--kill', 'all'], {
        env: { PATH: process.env.PATH ?? '', HOME: path.join(folder.path, 'home') },
      });
      for (const resource of [server, host, folder]) await resource?.[Symbol.asyncDispose]();
      await rm('/tmp/lookaside-try', { recursive: true, force: true }); // the README's folder
    });

    describe('"Try it"', () => {
      let outcome: Outcome;

      before(async () => {
        server = await startServer({
          root: '/var/lib/containers/sigstore',
          data: path.join(folder.path, 'shared'),
          listen: '127.0.0.1:8000',
          on: host.on,
        });
        outcome = await runSection(
          '## Try it',
          'npm start -- --root /var/lib/containers/sigstore\n',
          'echo "registry $!"',
        );
        registry = Number(/^registry ([0-9]+)$/m.exec(outcome.stdout)?.[1] ?? assert.fail(outcome.stdout));
      });

      test('the signed image is pulled', () => {
        assert.match(
          outcome.stderr,
          /Trying to pull localhost:5001\/team\/signed:v1[\s\S]*Storing signatures/,
        );
      });

      test('the unsigned image is refused with the words that the README quotes', async () => {
        const quoted = /^> `(Error: .*)`$/m.exec(await readFile(README, 'utf8'))?.[1];
        assert.ok(quoted !== undefined);
        assert.ok(outcome.stderr.includes(quoted), outcome.stderr);
        assert.match(outcome.stdout, /^refused, as it should be$/m);
      });

      test('the signature was read from the server', async () => {
        const text = await metrics();
        assert.match(text, /^lookaside_signature_reads_total\{result="hit"\} 1$/m);
        assert.match(text, /^lookaside_signature_reads_total\{result="miss"\} [1-9]/m);
      });
    });

    describe('"Upload what you sign"', () => {
      let outcome: Outcome;

      before(async () => {
        await server?.stop();
        server = await startServer({
          data: path.join(folder.path, 'data'),
          listen: '127.0.0.1:8000',
          on: host.on,
        });
        outcome = await runSection('## Upload what you sign', 'npm start\n', '');
      });

      test('all three are taken: by number, appended, and as a form', async () => {
        assert.equal(outcome.stdout.match(/"created":true/g)?.length, 3, outcome.stdout);
        for (const name of ['one', 'two', 'three']) {
          assert.match(outcome.stdout, new RegExp(`"path":"/team/${name}@sha256=[0-9a-f]{64}/signature-1"`));
        }
      });

      test('clients pull each by its signature, and still refuse the unsigned one', async () => {
        assert.match(outcome.stderr, /Trying to pull localhost:5001\/team\/one:v1[\s\S]*Storing signatures/);
        assert.match(outcome.stdout, /^refused, as it should be$/m);
        assert.match(await metrics(), /^lookaside_signature_reads_total\{result="hit"\} 3$/m);
      });

      test('the upload to the wrong image is refused as the README quotes', async () => {
        const quoted = /^> `(\{"errors".*)`$/m.exec(await readFile(README, 'utf8'))?.[1] ?? assert.fail();
        const pieces = quoted.split('…').map((piece) => piece.replace(/[^\w ]/g, '\\$&'));
        assert.match(outcome.stdout, new RegExp(`^${pieces.join('.*')}$`, 'm'));
      });
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
