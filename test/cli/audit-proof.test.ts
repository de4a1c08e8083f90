// The way of an upload's proof, from `push --proof` to a stranger who has nothing but the key of the log.
import assert from 'node:assert/strict';
import { existsSync } from 'node:fs';
import { mkdir, readFile, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { after, before, describe, test } from 'node:test';
import { describeOutcome, type Outcome } from '../clients/command.ts';
import { type LookasideServer, runLookaside, startServer } from '../clients/server.ts';
import { enrol, makeSigner } from '../clients/signer.ts';
import { openTempFolder, type TempFolder } from '../clients/temp-folder.ts';
import { verifiedEntry } from '../domain/independent-log.ts';
import { tamper } from '../sqlite/log-scene.ts';
import { folderOf, sha256Hex } from '../store/lay.ts';

const APP = folderOf('team/app');

describe('proof of an upload', () => {
  const alice = makeSigner('alice');
  const signature = alice.sign({ repository: 'team/app', tag: 'v1' });
  let temp: TempFolder;
  let data: string;
  let kept: string;
  let server: LookasideServer;
  let vkey: string;
  let proof: string;

  const at = (...names: readonly string[]) => path.join(temp.path, ...names);
  const ask = async (target: string) => (await fetch(`${server.url}${target}`)).text();
  async function run(args: readonly string[], status = 0): Promise<Outcome> {
    const outcome = await runLookaside(args);
    assert.equal(outcome.status, status, describeOutcome(outcome));
    return outcome;
  }

  before(async () => {
    temp = await openTempFolder();
    data = at('data');
    kept = at('kept');
    const token = await enrol(data, alice);
    server = await startServer({
      data,
      settings: { LOOKASIDE_LOG_ORIGIN: 'log.example', LOOKASIDE_CHECKPOINT_FILE: kept },
    });
    await mkdir(at('staging', APP), { recursive: true });
    await writeFile(at('staging', APP, 'signature-1'), signature);
    await writeFile(at('token'), token);
    await run([
      'push',
      at('staging'),
      '--proof',
      at('proofs'),
      '--server',
      server.url,
      '--token-file',
      at('token'),
    ]);
    vkey = (await ask('/log/key')).trim();
    proof = at('proofs', APP, 'signature-1.tlog-proof');
  });
  after(async () => {
    await server?.[Symbol.asyncDispose]();
    await temp?.[Symbol.asyncDispose]();
  });

  test('push --proof writes it, and a verifier of others confirms it with the key alone', async () => {
    const event = JSON.parse(verifiedEntry(await readFile(proof, 'utf8'), vkey));
    assert.deepEqual(
      [event.action, event.image, event.signatureSha256, event.result],
      ['upload', APP, sha256Hex(signature), 'created'],
    );
    assert.throws(() => verifiedEntry('x'.repeat(10), vkey));
  });

  test('audit check tells what it proves, and refuses another key, signature or byte', async () => {
    const checked = JSON.parse(
      (
        await run([
          'audit',
          'check',
          proof,
          '--key',
          vkey,
          '--signature',
          at('staging', APP, 'signature-1'),
          '--json',
        ])
      ).stdout,
    );
    assert.equal(checked.event.signatureSha256, sha256Hex(signature));
    const text = await readFile(proof, 'utf8');
    await writeFile(at('changed'), text.replace(/^extra ./m, 'extra A'));
    const refused = await run(['audit', 'check', at('changed'), '--key', vkey, '--json'], 1);
    assert.equal(JSON.parse(refused.stdout).errors[0].code, 'PROOF_INVALID');
    await run(['audit', 'check', proof, '--key', vkey, '--signature', at('token')], 1);
  });

  test('anyone makes it later by the path of the signature, and verifies the whole log', async () => {
    const remote = ['--server', server.url];
    await run(['audit', 'prove', `${APP}/signature-1`, '-o', at('later'), ...remote]);
    assert.equal(
      verifiedEntry(await readFile(at('later'), 'utf8'), vkey).includes(sha256Hex(signature)),
      true,
    );
    const verified = JSON.parse((await run(['audit', 'verify', '--key', vkey, '--json', ...remote])).stdout);
    assert.deepEqual([verified.faults, verified.origin], [[], 'log.example']);
  });

  test('heads and tiles are for every cache, and what is not in the log is a 404 for none', async () => {
    const headers = async (target: string) => {
      const { status, headers } = await fetch(`${server.url}${target}`);
      return [status, headers.get('content-type'), headers.get('cache-control')];
    };
    const immutable = 'public, max-age=31536000, immutable';
    assert.deepEqual(await headers('/log/checkpoint'), [200, 'text/plain; charset=utf-8', 'no-cache']);
    assert.deepEqual(await headers('/log/tile/0/000.p/1'), [200, 'application/octet-stream', immutable]);
    assert.deepEqual(await headers('/log/tile/entries/000.p/1'), [
      200,
      'application/octet-stream',
      immutable,
    ]);
    for (const none of ['0/000', '0/0', '0/000.p/200', '1/000.p/1', 'entries/001.p/1', 'x', '0/000.p/1/']) {
      assert.deepEqual(
        (await headers(`/log/tile/${none}`)).filter((_, n) => n !== 1),
        [404, 'no-store'],
        none,
      );
    }
  });

  test('still holds once the uploader is forgotten, and names nobody then', async () => {
    const named = async () => (await run(['audit', 'query', '--data', data, '--json'])).stdout;
    assert.match(await named(), /alice/);
    const now = new Date().toISOString();
    const forgotten = await run(['audit', 'forget', '--actor', 'alice', '--before', now, '--data', data]);
    assert.match(forgotten.stdout, /^\d+ events? no longer/);
    assert.doesNotMatch(await named(), /alice/);
    const printed = (await run(['show', APP.replace('@sha256=', '@sha256:'), '--data', data, '--json']))
      .stdout;
    assert.match(printed, /"uploader": ?"forgotten"/);
    await run(['audit', 'check', proof, '--key', vkey, '--signature', at('staging', APP, 'signature-1')]);
    const args = ['audit', 'verify', '--key', vkey, '--json', '--server', server.url];
    assert.deepEqual(JSON.parse((await run(args)).stdout).faults, []);
    await run(['audit', 'prove', `${APP}/signature-1`, '-o', at('after'), '--server', server.url]);
    assert.ok(verifiedEntry(await readFile(at('after'), 'utf8'), vkey).includes(sha256Hex(signature)));
  });

  test('an older state.db that was put back stops the next start, and a restore does not', async () => {
    await server.stop();
    assert.match(await readFile(kept, 'utf8'), /^log\.example\n/);
    await run(['backup', at('backup'), '--data', data]);
    await run(['token', 'create', '--name', 'later', '--data', data]);
    const settings = { LOOKASIDE_LOG_ORIGIN: 'log.example', LOOKASIDE_CHECKPOINT_FILE: kept };
    server = await startServer({ data, settings });
    await server.stop();
    const restored = at('restored');
    await run(['restore', at('backup'), '--data', restored]);
    assert.equal(existsSync(path.join(restored, 'log.key')), true);
    await assert.rejects(startServer({ data: restored, settings }), /--accept-rollback/);
    const again = at('again');
    const outcome = await runLookaside(['restore', at('backup'), '--data', again], settings);
    assert.equal(outcome.status, 0, describeOutcome(outcome));
    assert.match(outcome.stdout, /goes on from there, and an event says so: .*kept holds a checkpoint of/);
    server = await startServer({ data: again, settings });
    assert.equal((await ask('/log/key')).trim(), vkey);
    await server.stop();
    const { seq } = JSON.parse(verifiedEntry(await readFile(proof, 'utf8'), vkey));
    tamper(again, `UPDATE audit_event SET leaf = replace(leaf, 'created', 'createD') WHERE seq = ${seq}`);
    const report = JSON.parse((await run(['audit', 'verify', '--data', again, '--json'], 1)).stdout);
    assert.deepEqual([report.faults[0].kind, report.faults[0].seq], ['changed', seq]);
  });
});
