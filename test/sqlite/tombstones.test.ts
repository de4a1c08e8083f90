// Lists of what is withdrawn: page by page what a plain filter over all of it gives.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { type ImageId, imageFolder } from '../../src/domain/image.ts';
import { createWithdrawService } from '../../src/service/withdraw.ts';
import { auditEvent } from '../contract/audit-event.ts';
import { imageAt, sha256 } from '../contract/signature-index.ts';
import { createClock, createLog } from '../service/hand-driven.ts';
import { open, temporaryFolder } from './scratch.ts';

const unasked = () => assert.fail('not asked');

interface Laid {
  readonly image: ImageId;
  readonly text: string;
  readonly by: string;
  readonly at: Date;
}

const PATHS = ['team', 'team/', 'team/app', 'team/app-2', 'team/app/sub', 'team~', ''] as const;
const TIMES = [new Date('2026-11-01T00:00:00Z'), new Date('2026-11-02T00:00:00Z')] as const;
const someLaid = fc.uniqueArray(
  fc.record({
    site: fc.constantFrom('default', 'b-site'),
    path: fc.constantFrom(...PATHS),
    digest: fc.constantFrom('one', 'two'),
    text: fc.constantFrom('a', 'b'),
    by: fc.constantFrom('alice', 'bob'),
    at: fc.constantFrom(...TIMES),
  }),
  { maxLength: 12, selector: ({ site, path, digest, text }) => `${site} ${path} ${digest} ${text}` },
);
const someFilter = fc.record({
  site: fc.constantFrom(null, 'default', 'b-site'),
  path: fc.constantFrom(null, ...PATHS),
  digest: fc.constantFrom(null, 'one'),
  by: fc.constantFrom(null, 'alice'),
  since: fc.constantFrom(null, TIMES[1]),
});

test('what is withdrawn is listed page by page, as a filter over all of it gives', async (t) => {
  const property = fc.asyncProperty(
    someLaid,
    someFilter,
    fc.integer({ min: 1, max: 4 }),
    async (laid, asked, limit) => {
      const { databases } = await open(temporaryFolder(t));
      try {
        const { tombstones } = databases;
        const service = createWithdrawService({
          appender: { withdraw: unasked, lift: unasked },
          tombstones,
          sites: () => ['default', 'b-site'],
          makeEvent: unasked,
          clock: createClock(),
          isAppendOnly: () => false,
          log: createLog(),
        });
        const rows: Laid[] = laid.map(({ site, path, digest, ...rest }) => ({
          image: imageAt(path, digest, site),
          ...rest,
        }));
        for (const { image, text, by: withdrawnBy, at: withdrawnAt } of rows) {
          const details = { image, sha256: sha256(text), number: 1, fillers: [], withdrawnAt, withdrawnBy };
          await tombstones.put({ ...details, reason: 'r', until: TIMES[0], bytes: null }, auditEvent());
        }
        const [lifted, ...inForce] = rows;
        if (lifted !== undefined) await tombstones.lift(lifted.image, sha256(lifted.text), auditEvent());
        const { hex, algorithm } = imageAt('x', 'one');
        const digest = asked.digest === null ? null : { hex, algorithm };
        const { site, path, by, since } = asked;
        const wanted = inForce
          .filter(({ image, ...row }) => {
            if (site !== null && image.site !== site) return false;
            if (path !== null && image.path !== imageAt(path, 'one').path) return false;
            if (digest !== null && image.hex !== hex) return false;
            if (since !== null && row.at < since) return false;
            return by === null || row.by === by;
          })
          .map(({ image, text }) => `${image.site} /${imageFolder(image)}/signature-1 ${sha256(text)}`)
          .sort();
        const hashes: string[] = [];
        let cursor: string | null = null;
        do {
          const filter = { path: path === null ? null : imageAt(path, 'one').path, digest, by, since };
          const page = await service.list({ site, filter, limit, cursor });
          assert.ok(page.withdrawn.length === limit || page.next === null);
          hashes.push(...page.withdrawn.map((one) => `${one.site} ${one.path} ${one.signatureSha256}`));
          cursor = page.next;
        } while (cursor !== null);
        assert.deepEqual(hashes.toSorted(), wanted);
        await assert.rejects(
          service.list({ site, filter: { path, digest, by, since }, limit, cursor: 'x' }),
          {
            code: 'REQUEST_INVALID',
          },
        );
      } finally {
        await databases.close();
      }
    },
  );
  await fc.assert(property, { numRuns: 25 });
});

test('a withdrawal is known once it is written, also to who found none of its site before or meanwhile', async (t) => {
  const { databases } = await open(temporaryFolder(t));
  t.after(() => databases.close());
  const { tombstones } = databases;
  const rowOf = (site: string) => ({
    image: imageAt('team/app', 'one', site),
    sha256: sha256('a'),
    number: 1,
    fillers: [],
    withdrawnAt: TIMES[0],
    withdrawnBy: 'alice',
    reason: 'r',
    until: null,
    bytes: null,
  });
  const writes: readonly [string, () => Promise<unknown>][] = [
    ['default', () => tombstones.put(rowOf('default'), auditEvent())],
    ['b-site', () => tombstones.putAll([rowOf('b-site')], 1)],
  ];
  for (const [site, write] of writes) {
    const { image } = rowOf(site);
    assert.deepEqual(await tombstones.ofImage(image), [], site);
    const writing = write();
    await tombstones.ofImage(image);
    await writing;
    assert.equal((await tombstones.ofImage(image)).length, 1, site);
  }
});
