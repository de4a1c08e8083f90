// The ready questions over a data directory that this process owns, from its first key to the report of the month.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { openAdministration } from '../../src/compose/administration.ts';
import { type Config, loadConfig } from '../../src/config.ts';
import type { ReadyAnswer, ReadyKind } from '../../src/domain/ready-question.ts';
import { ANY_RECORD } from '../../src/domain/records.ts';
import { parseNote } from '../../src/domain/signed-note.ts';
import { makeSigner } from '../clients/signer.ts';
import { openTempFolder } from '../clients/temp-folder.ts';
import { folderOf, sha256Hex } from '../store/lay.ts';

const taker = { command: 'test', host: 'here' };

function configOf(data: string): Config {
  return loadConfig({ flags: { data }, environment: {}, workingFolder: '/', parseYaml: null }).config;
}

test('the ready questions are answered whole, and what they are not about is refused', async () => {
  await using temp = await openTempFolder();
  await using administration = await openAdministration(configOf(temp.path), {
    taker,
    onRetry: () => undefined,
  });
  const { records } = administration;
  const erin = makeSigner('erin');
  await administration.keys.add(erin.certificate);
  const bytes = erin.sign({ repository: 'asked/app', tag: 'v1' });
  await administration.importBatch([{ fileName: null, bytes }], { dryRun: false });
  const image = folderOf('asked/app').replace('=', ':');
  const times = { since: null, until: null, repository: null, limit: 10 } as const;
  const ask = (kind: ReadyKind, subject: string | null, more: object = {}) =>
    records.ready({ kind, subject, ...times, ...more });
  const factsOf = ({ facts }: ReadyAnswer) =>
    Object.fromEntries(facts.map(({ name, value }) => [name, value]));
  const rowsOf = ({ tables }: ReadyAnswer, name: string) =>
    tables.find((one) => one.name === name)?.rows ?? [];

  const key = await ask('key', erin.fingerprint);
  assert.deepEqual([key.question, key.subject, key.dropped, key.gaps], ['key', erin.fingerprint, 0, []]);
  assert.ok(key.answeredAt instanceof Date);
  assert.deepEqual(
    rowsOf(key, 'events').map(([, , action, result]) => [action, result]),
    [
      ['import', 'created'],
      ['key-add', 'added'],
    ],
  );
  assert.deepEqual(
    rowsOf(key, 'stored').map(([name, number]) => [name, number]),
    [[image, 1]],
  );
  for (const subject of [image, 'asked/app:v1', 'registry.example/asked/app:v1']) {
    assert.equal(factsOf(await ask('image', subject))['stored signatures'], 1, subject);
  }
  const signature = await ask('signature', sha256Hex(bytes));
  assert.equal(factsOf(signature).events, 1);
  assert.deepEqual(
    rowsOf(signature, 'stored').map(([name, number]) => [name, number]),
    [[image, 1]],
  );
  const stale = await ask('stale', null, { since: new Date(Date.now() + 60_000), repository: 'asked' });
  assert.deepEqual(
    rowsOf(stale, 'images').map(([name]) => name),
    [image],
  );
  assert.match(stale.gaps.join(), /the access record begins/);
  assert.equal(factsOf(await ask('unsigned', null))['images without a signature'], 0);
  assert.equal(factsOf(await ask('exposure', erin.fingerprint)).addresses, 0);
  assert.equal(factsOf(await ask('who', '192.0.2.1')).requests, 0);
  const month = new Date().toISOString().slice(0, 7);
  const report = await ask('report', month);
  assert.ok(Number(factsOf(report)['last audit event']) > 1);
  assert.equal(report.tables.at(-1)?.name, 'checkpoint');
  const note = parseNote(`${rowsOf(report, 'checkpoint').join('\n')}\n`);
  // all events, that of the report itself too; seq counts from 1
  assert.equal(Number(note?.text.split('\n')[1]), Number(factsOf(report)['last audit event']));
  const newest = await records.page({ record: 'audit', filter: ANY_RECORD }, { cursor: null, limit: 3 });
  assert.deepEqual(
    newest.rows.map((row) => ('reason' in row ? row.reason : null)),
    [`report ${month}`, 'who 192.0.2.1', `exposure ${erin.fingerprint}`],
  );
  for (const [kind, subject] of [
    ['key', 'alice'],
    ['image', 'no image'],
    ['signature', image],
    ['report', '2026-13'],
    ['exposure', 'what'],
  ] as const) {
    await assert.rejects(ask(kind, subject), {
      code: 'REQUEST_INVALID',
      message: /cannot answer about .*; wanted/,
    });
  }
  const id = erin.fingerprint.slice(-16);
  assert.equal(factsOf(await ask('key', id.toLowerCase()))['stored signatures'], 1);
  assert.equal(factsOf(await ask('exposure', `0x${id}`)).addresses, 0);
  await assert.rejects(ask('key', '0123456789abcdef'), {
    code: 'REQUEST_INVALID',
    message: /^no registered key has the ID 0123456789ABCDEF; of a key that was removed, give the whole/,
  });
  const other = erin.sign({ repository: 'asked/other', tag: 'v1' });
  await administration.importBatch([{ fileName: null, bytes: other }], { dryRun: false });
  const first = await ask('key', erin.fingerprint, { limit: 1 });
  assert.deepEqual([factsOf(first)['stored signatures'], rowsOf(first, 'stored').length], [2, 1]);
  await assert.rejects(ask('image', 'asked/app:v2'), { code: 'NOT_FOUND', message: /no signature is for/ });
  await assert.rejects(ask('image', 'other.example/asked/app:v1'), {
    code: 'NOT_FOUND',
    message: /by its digest: asked\/app@sha256:…$/,
  });
});
