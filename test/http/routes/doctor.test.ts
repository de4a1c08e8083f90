// What a server says about an image that clients refuse, to who asks it directly and to `lookaside doctor`.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { LookasideError } from '../../../src/domain/errors.ts';
import { imageName } from '../../../src/domain/image.ts';
import type { UnsignedImage } from '../../../src/domain/records.ts';
import type { StoredSignature } from '../../../src/domain/stored-signature.ts';
import type { Withdrawn } from '../../../src/domain/tombstone.ts';
import { askServerDoctor } from '../../../src/upstream/server-doctor.ts';
import { HEX, IMAGE, key, signature, UNKNOWN } from '../../ui/scene.ts';
import { serveOver } from '../served.ts';

interface Stored {
  readonly signatures?: readonly StoredSignature[];
  readonly elsewhere?: readonly StoredSignature[];
  readonly withdrawn?: readonly Withdrawn[];
  readonly inVain?: readonly UnsignedImage[];
  readonly retiredAt?: Date | null;
  /** Images of a mirror whose upstream does not answer. */
  readonly silent?: readonly string[];
}

const part = <T>(value: unknown) => value as T; // of these services the route uses what is given

async function serve(stored: Stored) {
  const { signatures = [], elsewhere = [], withdrawn = [], inVain = [], retiredAt = null } = stored;
  type Parts = Parameters<typeof serveOver>[0];
  return serveOver({
    signatures: part<NonNullable<Parts['signatures']>>({
      async ofImage(image: Parameters<typeof imageName>[0]) {
        if (stored.silent?.includes(imageName(image)) === true)
          throw new LookasideError('UPSTREAM_UNAVAILABLE', 'it hangs');
        return imageName(image) === IMAGE ? signatures : [];
      },
      search: async ({ filter }: { readonly filter: { readonly tag: string | null } }) => ({
        signatures: [...signatures, ...elsewhere].filter(
          ({ dockerReference }) =>
            filter.tag === null || dockerReference?.endsWith(`:${filter.tag}`) === true,
        ),
        next: null,
        cursor: null,
      }),
    }),
    withdrawals: part<NonNullable<Parts['withdrawals']>>({ ofImage: async () => withdrawn }),
    keys: part<NonNullable<Parts['keys']>>({ list: async () => [key({ retiredAt })] }),
    records: part<NonNullable<Parts['records']>>({
      session: async (_about: null, _asker: unknown, act: (session: unknown) => Promise<unknown>) =>
        act({ unsigned: async () => ({ rows: inVain, gaps: [] }) }),
    }),
  });
}

async function findings(stored: Stored, image = IMAGE): Promise<readonly string[]> {
  await using served = await serve(stored);
  const headers = { authorization: `Bearer ${served.tokens.auditor}` };
  const answer = await fetch(`${served.url}/api/v1/doctor?${new URLSearchParams({ image })}`, { headers });
  assert.equal(answer.status, 200, await answer.clone().text());
  const { findings } = (await answer.json()) as { findings: readonly { code: string }[] };
  return findings.map(({ code }) => code);
}

const other = signature({ image: `copy/app@sha256:${HEX}`, dockerReference: 'registry.example/copy/app:v2' });
const gone = {
  ...{
    path: `/team/app@sha256=${HEX}/signature-1`,
    number: 1,
    signatureSha256: 'cd'.repeat(32),
    auditSeq: 1,
  },
  ...{ withdrawnAt: new Date('2026-11-02'), withdrawnBy: 'ops', reason: 'a leaked build', until: null },
};
const asked = {
  site: 'default',
  image: IMAGE,
  count: 7,
  firstAt: new Date(1),
  lastAt: new Date(2),
  lastAddress: '10.0.0.1',
};

for (const [what, stored, codes] of [
  ['never signed', {}, ['NEVER_SIGNED']],
  ['asked in vain', { inVain: [asked] }, ['NEVER_SIGNED', 'ASKED_IN_VAIN']],
  ['withdrawn', { withdrawn: [gone] }, ['WITHDRAWN']],
  ['signed under another path', { elsewhere: [other] }, ['OTHER_PATH']],
  [
    'served, by a key that is retired',
    { signatures: [signature()], retiredAt: new Date(5) },
    ['SERVED', 'KEY_RETIRED'],
  ],
  ['by a key that is revoked', { signatures: [signature({ state: 'key-revoked' })] }, ['KEY_REVOKED']],
  ['by a key that nobody registered', { signatures: [signature(UNKNOWN)] }, ['KEY_UNKNOWN']],
] as const satisfies readonly (readonly [string, Stored, readonly string[]])[]) {
  test(`a server says of an image: ${what}`, async () => {
    assert.deepEqual(await findings(stored), codes);
  });
}

test('a server is asked about a tag, with or without the registry', async () => {
  const stored = { signatures: [signature()] };
  for (const image of ['team/app:v1', 'registry.example/team/app:v1'])
    assert.deepEqual(await findings(stored, image), ['SERVED'], image);
  assert.deepEqual(await findings(stored, 'team/app:v9'), ['OTHER_TAG']);
});

test('a name that a mirror has, and no signature says, is told as such, with the rule that maps it', async () => {
  const moved = { signatures: [signature({ dockerReference: 'registry.redhat.io/team/app:v1' })] };
  for (const image of [
    'mirror.internal:5000/team/app:v1',
    `mirror.internal:5000/team/app@sha256:${HEX}`,
    `mirror.internal:5000/team/app:v2@sha256:${HEX}`,
  ]) {
    await using served = await serve(moved);
    const headers = { authorization: `Bearer ${served.tokens.auditor}` };
    const answer = await fetch(`${served.url}/api/v1/doctor?${new URLSearchParams({ image })}`, { headers });
    const { findings: given } = (await answer.json()) as { findings: { code: string; remedy: string }[] };
    assert.deepEqual(
      given.map(({ code }) => code),
      ['OTHER_NAME'],
      image,
    );
    assert.match(
      given[0]?.remedy ?? '',
      /"prefix":"mirror\.internal:5000\/team\/app","signedPrefix":"registry\.redhat\.io\/team\/app"/,
    );
  }
  // by its digest, any tag of the repository will do
  assert.deepEqual(await findings(moved, `registry.redhat.io/team/app@sha256:${HEX}`), ['SERVED']);
  assert.deepEqual(await findings(moved, `team/app@sha256:${HEX}`), ['SERVED'], 'no registry is named');
});

test('a mirror whose upstream does not answer is the reason, and not that nothing is signed', async () => {
  const unheard = `team/other@sha256:${HEX}`;
  const silent = { silent: [unheard] };
  assert.deepEqual(await findings({ ...silent, elsewhere: [signature()] }, unheard), ['UPSTREAM_SILENT']);
  assert.deepEqual(await findings(silent, `team/else@sha256:${HEX}`), ['NEVER_SIGNED']);
});

test('of a tag that only a wrong key may have signed, the key is the answer, and not the tag', async () => {
  const stranger = signature(UNKNOWN);
  assert.deepEqual(await findings({ signatures: [stranger] }, 'team/app:v1'), ['KEY_UNKNOWN']);
  const beside = { signatures: [stranger, signature()] };
  assert.deepEqual(await findings(beside, 'team/app:v9'), ['OTHER_TAG'], 'its image has a proven name');
});

test('what a server knows about an image is for who has a token, and names no client', async () => {
  await using served = await serve({ inVain: [asked] });
  const ask = (query: string, headers = {}) => fetch(`${served.url}/api/v1/doctor?${query}`, { headers });
  assert.equal((await ask(`image=${IMAGE}`)).status, 401);
  const headers = { authorization: `Bearer ${served.tokens.reader}` };
  assert.equal((await ask('image=UPPER', headers)).status, 400);
  assert.equal((await ask('', headers)).status, 400);
  const answer = await ask(`image=${IMAGE}`, headers);
  assert.doesNotMatch(await answer.text(), /10\.0\.0\.1/);
});

test('lookaside doctor reads what a server says', async () => {
  await using served = await serve({ withdrawn: [gone] });
  const options = {
    at: { url: served.url, token: served.tokens.reader, ca: null, hasProxies: false },
    onRetry: () => undefined,
    wait: async () => undefined,
    random: () => 0,
    patienceMs: 1000,
  };
  const [first] = await askServerDoctor(options, IMAGE);
  assert.equal(first?.code, 'WITHDRAWN');
  assert.match(first?.message ?? '', /a leaked build/);
});
