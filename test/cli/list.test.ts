// What lookaside list prints.
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import {
  CSV_TITLES,
  cellsOf,
  csvCellsOf,
  formatLine,
  type ListFilter,
  nothingFound,
  PIPE_LAYOUT,
  terminalLayout,
} from '../../src/cli/list.ts';
import { asInTarget } from '../../src/cli/withdraw.ts';
import { csvLine } from '../../src/domain/csv.ts';
import { ANY_SIGNATURE } from '../../src/domain/remote.ts';
import type { StoredSignature } from '../../src/domain/stored-signature.ts';
import { FINGERPRINT, HEX, storedSignature, unvouched } from './stored.ts';

const ALICE = new Map([[FINGERPRINT, 'Alice <alice@example.com>']]);

function line(
  signature: StoredSignature,
  layout = terminalLayout(120),
  userIds: ReadonlyMap<string, string> = ALICE,
): string {
  return formatLine(cellsOf(signature, userIds, layout), layout);
}

const words = (text: string) => text.split(/ {2,}/);

test('withdraw takes a path with the digest as lists write it', () => {
  const hex = 'ab'.repeat(32);
  const path = `team/app@sha256=${hex}/signature-2`;
  assert.equal(asInTarget(`team/app@sha256:${hex}/signature-2`), path);
  assert.equal(asInTarget(path), path);
  assert.equal(asInTarget(`sha256:${hex}/signature-1`), `sha256=${hex}/signature-1`);
  assert.equal(asInTarget('team/app:v1'), 'team/app:v1');
});

describe('list', () => {
  test('names image, signer and tag in short on a terminal', () => {
    assert.deepEqual(words(line(storedSignature({ number: 12 }))), [
      'team/app@0123456789ab',
      '12',
      'verified',
      'Alice <alice@example.co…',
      'v1',
      '2026-11-22',
    ]);
  });

  test('tells all on a pipe', () => {
    assert.deepEqual(words(line(storedSignature(), PIPE_LAYOUT)), [
      `team/app@sha256:${HEX}`,
      '1',
      'verified',
      'Alice <alice@example.com>',
      'registry.example/team/app:v1',
      '2026-11-22T10:00:01.000Z',
    ]);
  });

  test('names a signer without a user ID by the fingerprint, and nobody where nobody vouches', () => {
    assert.ok(words(line(storedSignature(), PIPE_LAYOUT, new Map())).includes(FINGERPRINT));
    assert.deepEqual(words(line(unvouched({ state: 'unknown-key' }))).slice(2, 5), ['unknown-key', '-', '-']);
  });

  test('shows of a reference without a tag its digest, and one that it cannot read as it is', () => {
    const tagOf = (dockerReference: string) => words(line(storedSignature({ dockerReference })))[4];
    assert.equal(tagOf(`registry.example/team/app@sha256:${HEX}`), '@0123456789ab');
    assert.equal(tagOf('Not A Reference'), 'Not A Reference');
  });

  test('fits every terminal from 72 columns on, whatever the names', () => {
    const long = storedSignature({
      image: `${'long/'.repeat(40)}app@sha256:${HEX}`,
      number: 127,
      state: 'key-revoked',
      dockerReference: `registry.example/app:${'t'.repeat(128)}`,
    });
    const signers = new Map([[FINGERPRINT, `\u001b[2J\u202e${'x'.repeat(300)}`]]);
    for (const columns of [72, 80, 100, 120, 200]) {
      const text = line(long, terminalLayout(columns), signers);
      assert.equal(text.length, columns);
      // the end tells images apart
      assert.match(text, /^….*app@0123456789ab {2}127 {2}key-revoked {2}\\u001b/);
      for (const hostile of '\u001b\u202e') assert.ok(!text.includes(hostile));
    }
  });

  test('without signatures says so, what was asked for, and how a repository behind a host is named', () => {
    const of = (name: string | null, filter: Partial<ListFilter> = {}, otherNames: readonly string[] = []) =>
      nothingFound('https://sig.example', { name, otherNames, filter: { ...ANY_SIGNATURE, ...filter } });
    assert.equal(of(null), 'https://sig.example has no signatures; send some with: lookaside push FOLDER');
    assert.equal(
      of('team/app', { tag: 'v1' }),
      'https://sig.example has no signatures of team/app with the tag v1',
    );
    // the folder of a repository that is there, which an equal name does not find
    assert.equal(
      of('team'),
      'https://sig.example has no signatures of team; a repository is named whole, like team/app: lookaside list lists all, and with --state withdrawn what was taken away',
    );
    const since = new Date('2026-11-22T10:00:00Z');
    assert.equal(
      of(null, { state: 'bad', fingerprint: FINGERPRINT, uploader: 'ci', since }),
      `https://sig.example has no signatures that are bad by the key ${FINGERPRINT} uploaded by ci stored since 2026-11-22T10:00:00.000Z`,
    );
    assert.match(
      of('reg.example/app', { tag: 'v1' }, ['app']),
      /with the tag v1; repositories are named without the registry's host: lookaside list app:v1$/,
    );
  });

  test('as CSV has what JSON has, with the user ID, and hostile text can neither calculate nor steer', () => {
    const signature = storedSignature({ creator: '=HYPERLINK("http://x","y")\u001b[2J', expiresAt: null });
    const cells = new Map(
      csvCellsOf(signature, new Map([[FINGERPRINT, '@evil, "quoted"']])).map((cell, i) => [
        CSV_TITLES[i],
        cell,
      ]),
    );
    assert.equal(cells.size, CSV_TITLES.length);
    for (const title of Object.keys(signature))
      assert.ok(cells.has(title as (typeof CSV_TITLES)[number]), title);
    assert.deepEqual(
      ['image', 'number', 'userId', 'expiresAt', 'storedAt', 'auditSeq'].map((title) =>
        cells.get(title as (typeof CSV_TITLES)[number]),
      ),
      [`team/app@sha256:${HEX}`, '1', '@evil, "quoted"', '', '2026-11-22T10:00:01.000Z', '17'],
    );
    const line = csvLine([...cells.values()]);
    assert.ok(line.includes(`,"'=HYPERLINK(""http://x"",""y"")\\u001b[2J",`), line);
    assert.ok(line.includes(`,"'@evil, ""quoted""",`), line);
  });
});
