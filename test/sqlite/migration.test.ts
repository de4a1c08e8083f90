import assert from 'node:assert/strict';
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, it } from 'node:test';
import { isLookasideError } from '../../src/domain/errors.ts';
import { tagOf } from '../../src/domain/reference.ts';
import { openIndexReadOnly, openTokensReadOnly } from '../../src/sqlite/databases.ts';
import { ANY_SIGNATURE } from '../contract/any-signature.ts';
import { auditEvent } from '../contract/audit-event.ts';
import { imageAt, recordedImage, sha256, signature } from '../contract/signature-index.ts';
import { makeVersion, signatureInserts } from './old-version.ts';
import { type Cleanup, change, events, open, temporaryFolder } from './scratch.ts';

const SITE = 'default';
const large = { ...signature(3, 'x'.repeat(9000)), bytes: null };
const IMAGES = [
  ...Array.from({ length: 300 }, (_, n) =>
    recordedImage(imageAt(`team/app${n % 7}`, `${n}`), `one of ${n}`, 'two'),
  ),
  { image: imageAt('team/', 'a'), signatures: [signature(1, 'one'), large] },
  recordedImage(imageAt('team/app', 'a', 'mirror'), 'one'),
];
const SITES = `
  INSERT INTO site (name, tree, images, signatures, complete) VALUES ('default', 'owned', 301, 602, 1);
  INSERT INTO folder_entry (site, folder, sort_key, name, images) VALUES ('default', '', 'team', 'team', 301);`;

describe('an index of version 1', () => {
  function old(t: Cleanup, more = ''): string {
    const dataDir = temporaryFolder(t);
    const fill = signatureInserts(IMAGES, 'unverified') + SITES + more;
    makeVersion(1, join(dataDir, 'index.db'), 'index', fill);
    return dataDir;
  }

  it('keeps all that it recorded, and whose it is', async (t) => {
    const { databases, reasons } = await open(old(t));
    t.after(() => databases.close());
    const { index } = databases;
    assert.equal(databases.indexReplacedBecause, null);
    for (const { image, signatures } of IMAGES) {
      assert.deepEqual(
        (await index.recorded(image)).map(({ bytes, ...rest }) => ({
          ...rest,
          bytes: bytes && Buffer.from(bytes),
        })),
        signatures,
      );
    }
    assert.deepEqual(await index.counts(SITE), { images: 301, signatures: 602 });
    assert.equal(await index.treeOf(SITE), 'owned');
    assert.deepEqual((await index.listFolder(SITE, '', null, 5)).names, ['team']);
    await index.whenChecked();
    assert.equal(await index.isComplete(SITE), true);
    assert.match(await index.generation(), /^[0-9a-f]{32}$/);
    assert.deepEqual(reasons, []);
  });

  it('numbers its signatures in the order of their recording, and later ones after them', async (t) => {
    const { databases } = await open(old(t));
    t.after(() => databases.close());
    const { index } = databases;
    const ids: number[] = [];
    for (const { image } of IMAGES.toReversed())
      ids.push(...(await index.ofImage(image)).map(({ id }) => id));
    assert.deepEqual(
      ids,
      Array.from({ length: 603 }, (_, position) => position + 1),
    );
    await index.forgetFolder(SITE, '');
    const late = imageAt('late/app', 'a');
    await index.record([recordedImage(late, 'one')]);
    assert.equal((await index.ofImage(late))[0]?.id, 604);
  });

  it('has every signature judged, but for those that were', async (t) => {
    const dataDir = old(t, `UPDATE signature SET verdict = 'bad' WHERE number = 2`);
    const { databases } = await open(dataDir);
    t.after(() => databases.close());
    const unjudged = await databases.index.unjudged(SITE, new Date(), 0, 1000);
    assert.equal(unjudged.length, 302);
    assert.ok(unjudged.every(({ number }) => number !== 2));
  });

  it('is the same file with the same ids at the next start', async (t) => {
    const dataDir = old(t);
    const seen = [];
    for (let start = 0; start < 2; start += 1) {
      const { databases } = await open(dataDir);
      const { image } = IMAGES[0] ?? assert.fail();
      seen.push([await databases.index.generation(), await databases.index.ofImage(image)]);
      await databases.close();
    }
    assert.deepEqual(seen[0], seen[1]);
  });

  it('is not read by a command that only reads, which says what to do', (t) => {
    const dataDir = old(t);
    const before = readFileSync(join(dataDir, 'index.db'));
    assert.throws(
      () => openIndexReadOnly(dataDir),
      (error) => isLookasideError(error, 'INDEX_UNUSABLE') && /start the server once/.test(error.message),
    );
    assert.ok(before.equals(readFileSync(join(dataDir, 'index.db'))));
  });

  it('whose migration does not fit is begun anew', async (t) => {
    const dataDir = old(t, 'CREATE TABLE generation (x)');
    const { databases } = await open(dataDir);
    t.after(() => databases.close());
    assert.match(databases.indexReplacedBecause ?? '', /generation/);
    assert.deepEqual(await databases.index.counts(SITE), { images: 0, signatures: 0 });
  });
});

describe('an index of version 2', () => {
  it('has judged what was to be judged, at the time that it was kept for, and good ones for their traits', async (t) => {
    const dataDir = temporaryFolder(t);
    const images = ['good', 'bad', 'new', 'early'].map((content) =>
      recordedImage(imageAt('team/app', content), content),
    );
    const LATER_MS = Date.parse('2026-11-22T13:00:00.000Z');
    const changes = `
      UPDATE signature SET verdict = 'good', fingerprint = 'A1' WHERE sha256 = x'${sha256('good')}';
      UPDATE signature SET verdict = 'bad' WHERE sha256 = x'${sha256('bad')}';
      UPDATE signature SET judge_after_ms = ${LATER_MS} WHERE sha256 = x'${sha256('early')}';`;
    makeVersion(2, join(dataDir, 'index.db'), 'index', signatureInserts(images, 'unverified') + changes);
    const { databases } = await open(dataDir);
    t.after(() => databases.close());
    const { index } = databases;
    assert.equal(databases.indexReplacedBecause, null);
    const unjudged = async (at: number) =>
      (await index.unjudged(SITE, new Date(at), 0, 10)).map((row) => row.sha256);
    assert.deepEqual(await unjudged(LATER_MS - 1), [sha256('new'), sha256('good')]);
    assert.deepEqual(await unjudged(LATER_MS), [sha256('early'), sha256('new'), sha256('good')]);
    const [{ image } = assert.fail()] = images;
    assert.deepEqual(
      (await index.ofImage(image)).map(({ verdict, fingerprint }) => [verdict, fingerprint]),
      [['good', 'A1']],
    );
    await index.record([recordedImage(imageAt('team/app', 'late'), 'late')]);
    assert.equal((await unjudged(LATER_MS)).length, 4);
  });
});

describe('an index of version 4', () => {
  it('learns the tags that recorded references name, as they would be learned now', async (t) => {
    const references = [
      'registry.example/team/app:v1',
      'localhost:5000/app',
      `localhost:5000/a/b/b:1.2_3-x@sha256:${'ab'.repeat(32)}`,
      `a/b@sha256:${'ab'.repeat(32)}`,
      'busybox:v1',
      'busybox',
    ];
    const dataDir = temporaryFolder(t);
    const images = references.map((_, n) => recordedImage(imageAt('team/app', `${n}`), `${n}`));
    const fill = references.map(
      (reference, n) =>
        `UPDATE signature SET docker_reference = '${reference}' WHERE sha256 = x'${sha256(`${n}`)}';`,
    );
    const inserts = signatureInserts(images, 'good');
    makeVersion(4, join(dataDir, 'index.db'), 'index', [inserts, ...fill].join('\n'));
    const { databases } = await open(dataDir);
    t.after(() => databases.close());
    assert.equal(databases.indexReplacedBecause, null);
    for (const tag of new Set(references.map(tagOf))) {
      if (tag === null) continue;
      const page = { order: 'oldest', after: null, limit: 10 } as const;
      const rows = await databases.index.search(SITE, { ...page, filter: { ...ANY_SIGNATURE, tag } });
      assert.deepEqual(
        rows.map(({ dockerReference }) => dockerReference).sort(),
        references.filter((reference) => tagOf(reference) === tag).sort(),
      );
    }
  });
});

describe('a state of version 1', () => {
  const hash = sha256('secret of ci');
  const TOKENS = `
    INSERT INTO token (name, role, hash, created_at_ms, revoked_at_ms)
    VALUES ('ci', 'uploader', x'${hash}', 1000, NULL), ('old', 'admin', zeroblob(32), 2000, 3000);`;

  function old(t: Cleanup, fill = TOKENS): string {
    const dataDir = temporaryFolder(t);
    makeVersion(1, join(dataDir, 'state.db'), 'state', fill);
    return dataDir;
  }

  it('keeps its tokens, and begins its audit log at 1', async (t) => {
    const dataDir = old(t);
    const { databases } = await open(dataDir);
    t.after(() => databases.close());
    const free = { expiresAt: null, signer: null, disabledAt: null, lastUsedAt: null };
    const ci = { name: 'ci', role: 'uploader', createdAt: new Date(1000), revokedAt: null, ...free };
    assert.deepEqual(await databases.tokens.find(hash), ci);
    assert.deepEqual(await databases.tokens.list(), [
      ci,
      { name: 'old', role: 'admin', createdAt: new Date(2000), revokedAt: new Date(3000), ...free },
    ]);
    assert.deepEqual([await databases.keys.list(), events(dataDir)], [[], []]);
    assert.equal(await databases.audit.append(auditEvent()), 1);
  });

  it('that is damaged is refused before anything is written to it', async (t) => {
    const many = Array.from({ length: 300 }, (_, n) => `('token-${n}', 'reader', randomblob(32), 1)`).join();
    const dataDir = old(t, `INSERT INTO token (name, role, hash, created_at_ms) VALUES ${many}`);
    const file = join(dataDir, 'state.db');
    const content = readFileSync(file);
    content.fill('damage', 4096, 8192);
    writeFileSync(file, content);
    await assert.rejects(open(dataDir), (error) => isLookasideError(error, 'STATE_UNUSABLE'));
    assert.ok(content.equals(readFileSync(file)));
  });

  it('whose migration does not fit is refused by name', async (t) => {
    const dataDir = old(t);
    change(join(dataDir, 'state.db'), 'CREATE TABLE upload (x)');
    await assert.rejects(open(dataDir), (error) => {
      return isLookasideError(error, 'STATE_UNUSABLE') && /upload/.test(error.message);
    });
    assert.throws(
      () => openTokensReadOnly(dataDir),
      (error) => isLookasideError(error, 'STATE_UNUSABLE') && /start the server once/.test(error.message),
    );
  });
});

describe('a state of version 17', () => {
  it('keeps which releases its channels have', async (t) => {
    const dataDir = temporaryFolder(t);
    const hex = 'a'.repeat(64);
    const fill = `
      INSERT INTO mirror_release (site, hex, version, arch, channels)
      VALUES ('ocp', '${hex}', '4.18.1', 'amd64', '["fast-4.18","stable-4.18"]'), ('ocp', '${'b'.repeat(64)}', '4.18.2', '', '[]');`;
    makeVersion(17, join(dataDir, 'state.db'), 'state', fill);
    const { databases } = await open(dataDir);
    t.after(() => databases.close());
    for (const channel of ['fast-4.18', 'stable-4.18']) {
      const known = await databases.mirrors.releases(channel, 10);
      assert.deepEqual(known, [{ digest: `sha256:${hex}`, version: '4.18.1', arch: 'amd64' }]);
    }
    assert.equal((await databases.mirrors.releases('4.18.2', 10)).length, 1);
  });
});
