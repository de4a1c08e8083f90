// What lookaside show prints.
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { namesOf } from '../../src/cli/image-name.ts';
import { firstStored, formatSignatures } from '../../src/cli/show.ts';
import { type ImageId, imageName, parseImageName } from '../../src/domain/image.ts';
import type { RemoteFilter } from '../../src/domain/remote.ts';
import { FINGERPRINT, HEX, storedSignature, unvouched } from './stored.ts';

describe('show', () => {
  test('prints all that is known of each signature, one below the other', () => {
    const subkey = 'CD'.repeat(20);
    const text = formatSignatures(
      `team/app@sha256:${HEX}`,
      [
        storedSignature({ signingFingerprint: subkey, expiresAt: new Date('2027-01-01T00:00:00Z') }),
        unvouched({
          number: 2,
          state: 'unknown-key',
          reason: 'KEY_UNKNOWN',
          issuer: '0123456789ABCDEF',
          uploader: null,
          auditSeq: null,
        }),
      ],
      { userIds: new Map([[FINGERPRINT, 'Alice <alice@example.com>']]), withdrawn: [], mirror: null },
    );
    const [head, first, second, ...rest] = text
      .split('\n\n')
      .map((block) => block.split('\n').map((line) => line.split(/ {2,}/)));
    assert.deepEqual(head, [['image', `team/app@sha256:${HEX}`]]);
    assert.deepEqual(first, [
      ['path', `/team/app@sha256=${HEX}/signature-1`],
      ['state', 'verified'],
      ['signed by', FINGERPRINT],
      ['user ID', 'Alice <alice@example.com>'],
      ['by its subkey', subkey],
      ['reference', 'registry.example/team/app:v1'],
      ['digest', `sha256:${HEX}`],
      ['creator', 'atomic 5.23.1'],
      ['signed', '2026-11-22T10:00:00.000Z'],
      ['expires', '2027-01-01T00:00:00.000Z'],
      ['stored', '2026-11-22T10:00:01.000Z'],
      ['uploaded by', 'alice'],
      ['audit event', '17'],
      ['form', 'binary'],
      ['size', '721 bytes'],
      ['sha256', HEX],
    ]);
    assert.deepEqual(second?.slice(1, 3), [
      ['state', 'unknown-key (KEY_UNKNOWN)'],
      ['names the key', '0123456789ABCDEF, which nothing vouches for'],
    ]);
    assert.deepEqual(rest, []);
  });

  test('names the clients that decide otherwise than the state says', () => {
    const readers = [
      { reader: 'sequoia', accepts: true, because: 'x' },
      { reader: 'openshift', accepts: null, because: 'y\u202e' },
    ] as const;
    const beside = { userIds: new Map(), withdrawn: [], mirror: null };
    const text = formatSignatures('a', [storedSignature({ state: 'key-expired', readers })], beside);
    assert.match(text, /^differs +clients built with Sequoia accept it, because x$/m);
    assert.match(text, /^differs +OpenShift's readers may decide otherwise, because y\\u202e$/m);
  });

  test('marks what is gone from the upstream of a mirror, and names what was left out', () => {
    const leftOut = [{ sha256: 'f'.repeat(64), code: 'DIGEST_MISMATCH' }];
    const at = new Date('2026-11-22T10:00:00Z');
    const mirror = {
      upstream: 'https://x.example/s',
      checkedAt: at,
      syncedAt: null,
      servedAs: ['/rh/team/app@sha256:ab', '/quay/app@sha256:ab'],
      goneUpstream: [HEX],
      leftOut,
    };
    const text = formatSignatures('a', [storedSignature()], { userIds: new Map(), withdrawn: [], mirror });
    assert.match(text, /^served as +\/rh\/team\/app@sha256:ab\nserved as +\/quay\/app@sha256:ab$/m);
    assert.match(text, /^mirrored from +https:\/\/x\.example\/s$/m);
    assert.match(text, /^left out +f{64}: DIGEST_MISMATCH$/m);
    assert.match(text, /^upstream +gone-upstream/m);
  });

  describe('looks for an image', () => {
    const OTHER = 'cd'.repeat(32);
    const mirror = {
      upstream: null,
      checkedAt: new Date(0),
      syncedAt: null,
      goneUpstream: [],
      leftOut: [],
    };
    /** What it has: by site and image, the names under which a mirror serves it. */
    const HAS: readonly (readonly [site: string, image: string, servedAs: readonly string[] | null])[] = [
      ['default', `team/app@sha256:${HEX}`, null],
      ['rh', `app@sha256:${HEX}`, [`/rh/app@sha256:${HEX}`, `/quay/team/app@sha256:${HEX}`]],
      ['ocp', `sha256:${OTHER}`, [`/ocp/sha256:${OTHER}`]],
    ];
    const server = {
      async *search({ digest, repository }: RemoteFilter) {
        for (const [site, image] of HAS) {
          if (image.endsWith(digest ?? '') && (repository === null || image.startsWith(`${repository}@`)))
            yield storedSignature({ site, image });
        }
      },
      async details(image: ImageId) {
        const has = HAS.find(([site, name]) => site === image.site && name === imageName(image));
        const servedAs = has?.[2];
        return {
          signatures: has === undefined ? [] : [storedSignature()],
          withdrawn: [],
          mirror: servedAs == null ? null : { ...mirror, servedAs },
        };
      },
    };
    const placeOf = async (written: string) => {
      const images = namesOf(written).flatMap((name) => parseImageName('default', name) ?? []);
      const stored = await firstStored(server, images);
      return stored === null ? null : `${stored.image.site}: ${imageName(stored.image)}`;
    };
    for (const [what, written, place] of [
      ['under its own name', `team/app@sha256:${HEX}`, `default: team/app@sha256:${HEX}`],
      ['of a mirror', `app@sha256:${HEX}`, `rh: app@sha256:${HEX}`],
      ['as a mirror serves it', `/quay/team/app@sha256:${HEX}`, `rh: app@sha256:${HEX}`],
      ['as a client asks for it', `/rh/app@sha256=${HEX}/signature-1`, `rh: app@sha256:${HEX}`],
      ['in the release layout as a mirror serves it', `/ocp/sha256:${OTHER}`, `ocp: sha256:${OTHER}`],
      ['under a name that nobody gives it', `/quay/app@sha256:${HEX}`, null],
    ] as const) {
      test(`${what}, and ${place === null ? 'finds none' : 'finds it'}`, async () => {
        assert.equal(await placeOf(written), place);
      });
    }
  });

  test('says of what was withdrawn when, by whom, why and for how long', () => {
    const withdrawn = {
      path: `/team/app@sha256=${HEX}/signature-2`,
      number: 2,
      signatureSha256: 'e'.repeat(64),
      withdrawnAt: new Date('2026-11-23T10:00:00Z'),
      withdrawnBy: 'alice',
      reason: 'leaked\u001b key',
      until: null,
      auditSeq: 21,
    };
    const beside = { userIds: new Map(), withdrawn: [withdrawn], mirror: null };
    for (const signatures of [[storedSignature()], []]) {
      const text = formatSignatures('a', signatures, beside);
      const block = text.split('\n\n').at(-1) ?? '';
      assert.deepEqual(
        block.split('\n').map((line) => line.split(/ {2,}/)),
        [
          ['path', withdrawn.path],
          ['state', 'withdrawn: clients do not get it, and its bytes are refused'],
          ['withdrawn', '2026-11-23T10:00:00.000Z'],
          ['by', 'alice'],
          ['because', 'leaked\\u001b key'],
          ['until', 'for good'],
          ['audit event', '21'],
          ['sha256', withdrawn.signatureSha256],
        ],
      );
    }
    const until = new Date('2026-12-24T00:00:00Z');
    const back = formatSignatures('a', [], { ...beside, withdrawn: [{ ...withdrawn, until }] });
    assert.match(back, /^until +2026-12-24T00:00:00\.000Z$/m);
  });

  test('escapes what others wrote', () => {
    const text = formatSignatures('a', [storedSignature({ creator: '\u001b]0;x\u0007\u202e' })], {
      userIds: new Map(),
      withdrawn: [],
      mirror: null,
    });
    assert.match(text, /^creator +\\u001b\]0;x\\u0007\\u202e$/m);
  });
});
