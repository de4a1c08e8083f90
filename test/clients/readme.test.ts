// The README's "Try it", its own code blocks run as they stand. Two things differ: its `npm start` is the built
// server (test/start.test.ts runs npm's), and its `apt-get install` is left out, because `npm test` has done that.
import assert from 'node:assert/strict';
import { mkdir, readFile, rm, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { after, before, describe, test } from 'node:test';
import { needs } from './available.ts';
import { type Outcome, run } from './command.ts';
import { openPrivateHost, type PrivateHost } from './private-host.ts';
import { type LookasideServer, startServer } from './server.ts';
import { openTempFolder, type TempFolder } from './temp-folder.ts';

const README = path.join(import.meta.dirname, '../../../README.md');
const SERVER_COMMAND = 'npm start -- --root /var/lib/containers/sigstore\n';
const INSTALLATION = /^apt-get install .*\n/m;

/** What Debian's golang-github-containers-common puts there. */
const DEBIAN_POLICY = '{"default": [{"type": "insecureAcceptAnything"}]}\n';

describe(
  'the README’s own commands',
  needs('podman', 'docker-registry', 'gpg', 'curl', 'private host'),
  () => {
    let folder: TempFolder;
    let host: PrivateHost;
    let server: LookasideServer;
    let outcome: Outcome;

    before(async () => {
      const [serve, ...blocks] = await shellBlocks('## Try it');
      assert.equal(serve, SERVER_COMMAND);
      assert.match(blocks[0] ?? '', INSTALLATION);

      folder = await openTempFolder();
      host = await openPrivateHost(folder.path, { network: true });
      await mkdir(path.join(folder.path, 'home'));
      await writeFile(path.join(folder.path, 'etc/policy.json'), DEBIAN_POLICY);
      server = await startServer({
        root: '/var/lib/containers/sigstore',
        data: path.join(folder.path, 'data'),
        listen: '127.0.0.1:8000',
        on: host.on,
      });
      const script = path.join(folder.path, 'try-it.sh');
      await writeFile(
        script,
        `${blocks.join('\n').replace(INSTALLATION, '')}\nkill %1\ngpgconf --kill all\n`,
      );
      outcome = await run(host.on(['bash', '-e', script]), {
        env: { PATH: process.env.PATH ?? '', HOME: path.join(folder.path, 'home'), LC_ALL: 'C' },
      });
    });

    after(async () => {
      for (const resource of [server, host, folder]) await resource?.[Symbol.asyncDispose]();
      await rm('/tmp/lookaside-try', { recursive: true, force: true }); // the README's folder
    });

    test('the signed image is pulled', () => {
      assert.equal(outcome.status, 0, outcome.stdout + outcome.stderr);
      assert.match(outcome.stderr, /Trying to pull localhost:5001\/team\/signed:v1[\s\S]*Storing signatures/);
    });

    test('the unsigned image is refused with the words that the README quotes', async () => {
      const quoted = /^> `(Error: .*)`$/m.exec(await readFile(README, 'utf8'))?.[1];
      assert.ok(quoted !== undefined);
      assert.ok(outcome.stderr.includes(quoted), outcome.stderr);
      assert.match(outcome.stdout, /^refused, as it should be$/m);
    });

    test('the signature was read from the server', async () => {
      const metrics = await run(host.on(['curl', '-sS', `${server.url}/metrics`]), {
        env: { PATH: process.env.PATH ?? '' },
      });
      assert.match(metrics.stdout, /^lookaside_signature_reads_total\{result="hit"\} 1$/m);
      assert.match(metrics.stdout, /^lookaside_signature_reads_total\{result="miss"\} [1-9]/m);
    });
  },
);

/** The `sh` blocks of one section, without their fences. */
async function shellBlocks(heading: string): Promise<readonly string[]> {
  const text = await readFile(README, 'utf8');
  const from = text.indexOf(heading);
  const section = text.slice(from, text.indexOf('\n## ', from));
  return [...section.matchAll(/```sh\n([\s\S]*?)```/g)].map((match) => match[1] ?? '');
}
