// docs/verify-log.py, which shares no code with lookaside: what a stranger runs with Python and openssl alone.
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { mkdir, readFile, writeFile } from 'node:fs/promises';
import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import path from 'node:path';
import { describe, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { tamper } from '../sqlite/log-scene.ts';
import { folderOf } from '../store/lay.ts';
import { needs } from './available.ts';
import { run } from './command.ts';
import { eventually } from './eventually.ts';
import { isByNodes } from './served-by.ts';
import { createReaderToken, runLookaside, startServer } from './server.ts';
import { enrol, makeSigner } from './signer.ts';
import { openTempFolder } from './temp-folder.ts';

const SCRIPT = fileURLToPath(new URL('../../../docs/verify-log.py', import.meta.url));

const urlOf = (server: Server) => `http://127.0.0.1:${(server.address() as AddressInfo).port}`;

describe('the verifier in the documentation', needs('python3', 'openssl'), () => {
  test('keeps its token from another server, and says of an answer that is cut off that it could not look', async () => {
    const sent: string[] = [];
    const other = createServer((req, res) => {
      sent.push(req.headers.authorization ?? 'none');
      res.writeHead(200, { 'content-length': 100 });
      res.write('short');
      setImmediate(() => res.destroy());
    });
    const named = createServer((req, res) => {
      sent.push(req.headers.authorization ?? 'none');
      res.writeHead(302, { location: `${urlOf(other)}/log/checkpoint` }).end();
    });
    for (const server of [other, named]) {
      server.listen(0, '127.0.0.1');
      await once(server, 'listening');
    }
    const env = { PATH: process.env.PATH ?? '', LOOKASIDE_TOKEN: 'secret' };
    const { status, stderr } = await run(['python3', SCRIPT, 'log', urlOf(named), 'a+b+c'], { env });
    for (const server of [other, named]) server.close();
    assert.equal(status, 2, stderr);
    assert.match(stderr, /^could not look: IncompleteRead/);
    assert.deepEqual(sent, ['Bearer secret', 'none']);
  });

  test('finds a proof and a log right, and names what was changed in either', async () => {
    await using temp = await openTempFolder();
    const at = (...names: readonly string[]) => path.join(temp.path, ...names);
    const text = async (url: string) => (await fetch(url)).text();
    const verify = (...args: readonly string[]) =>
      run(['python3', SCRIPT, ...args], { env: { PATH: process.env.PATH ?? '' } });
    const [APP, OTHER] = [folderOf('team/app'), folderOf('team/other')];
    const alice = makeSigner('alice');
    const token = await enrol(at('data'), alice);
    await writeFile(at('token'), token);
    for (const [image, repository] of [
      [APP, 'team/app'],
      [OTHER, 'team/other'],
    ] as const) {
      await mkdir(at('staging', image), { recursive: true });
      await writeFile(at('staging', image, 'signature-1'), alice.sign({ repository, tag: 'v1' }));
    }
    await using server = await startServer({ data: at('data') });
    const to = ['--server', server.url, '--token-file', at('token'), '--proof', at('proofs')];
    const pushed = await runLookaside(['push', at('staging'), ...to]);
    assert.equal(pushed.status, 0, pushed.stdout + pushed.stderr);
    const vkey = (await text(`${server.url}/log/key`)).trim();

    const proof = at('proofs', APP, 'signature-1.tlog-proof');
    const right = await verify('proof', proof, vkey);
    assert.equal(right.status, 0, right.stderr);
    assert.match(right.stdout, /"action":"upload".*\nright: entry \d+ of \d+\n$/);
    const kept = await readFile(proof, 'utf8');
    for (const [changed, why] of [
      [kept.replace(/^index (\d)/m, 'index 9$1'), /is not among|another root/],
      [kept.replace(/^extra ./m, 'extra A'), /another root|no base64/],
      [kept.replace(/^(\u2014 \S+ .{12})./m, '$1~'), /no base64/],
      [kept.replace(/\n\n(\S+)\n(\d+)\n/, '\n\n$1\n1$2\n'), /not signed/],
      ['x', /is not a proof/],
    ] as const) {
      await writeFile(at('changed'), changed);
      const wrong = await verify('proof', at('changed'), vkey);
      assert.equal(wrong.status, 1, wrong.stdout);
      assert.match(wrong.stderr, why);
    }

    await writeFile(at('kept'), await text(`${server.url}/log/checkpoint`));
    await createReaderToken(at('data'), 'one-more-event');
    await eventually(async () =>
      assert.notEqual(await text(`${server.url}/log/checkpoint`), await readFile(at('kept'), 'utf8')),
    );
    const whole = await verify('log', server.url, vkey, at('kept'));
    assert.equal(whole.status, 0, whole.stderr);
    assert.match(whole.stdout, /^right: all \d+ entries, going on from the checkpoint/);
    const foreign = await verify(
      'log',
      server.url,
      vkey.replace(/.$/, (last) => (last === 'A' ? 'B' : 'A')),
    );
    assert.equal(foreign.status, 1, foreign.stdout);
    const forgery = `UPDATE audit_event SET leaf = replace(leaf, 'team/app', 'team/apq') WHERE leaf LIKE '%team/app%'`;
    if (isByNodes) {
      const { askInsteadOf } = await import('./by-nodes.ts');
      await askInsteadOf(at('data'), `ALTER TABLE audit_event DISABLE TRIGGER USER; ${forgery}`);
    } else tamper(at('data'), forgery);
    const forged = await verify('log', server.url, vkey, at('kept'));
    assert.equal(forged.status, 1, forged.stdout);
    assert.match(forged.stderr, /not those of the checkpoint that was kept|another root/);
  });
});
