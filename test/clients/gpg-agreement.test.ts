// Whatever is good to us is good to gpg, over signatures and certificates that no program would make.
import assert from 'node:assert/strict';
import { mkdir, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { describe, test } from 'node:test';
import fc from 'fast-check';
import { cleanCertificates } from '../../src/openpgp/certificates.ts';
import { createKeyring } from '../../src/openpgp/keyring.ts';
import { examineMessage } from '../../src/openpgp/verifier.ts';
import { count } from '../faults/promise.ts';
import {
  backSignature,
  binding,
  keyExpiresAfter,
  keyFlags,
  onKey,
  onUserId,
  primaryPacket,
  revocationReason,
  signatureExpiresAfter,
  subkeyPacket,
  T0,
  TYPES,
  userIdPacket,
} from '../openpgp/certificate-writer.ts';
import { makeKey, message } from '../openpgp/packet-writer.ts';
import { writtenKey } from '../openpgp/written-key.ts';
import { needs } from './available.ts';
import { openGnupgHome } from './keys.ts';
import { openTempFolder } from './temp-folder.ts';

const DAY_S = 86_400;
const PAYLOAD = Buffer.from(
  JSON.stringify({
    critical: {
      identity: { 'docker-reference': 'registry.example/team/app:v1' },
      image: { 'docker-manifest-digest': `sha256:${'0f'.repeat(32)}` },
      type: 'atomic container signature',
    },
    optional: {},
  }),
);

describe('gpg', needs('gpg'), () => {
  const owner = makeKey('ed25519', new Date(T0 * 1000));
  const other = makeKey('ed25519', new Date(T0 * 1000));
  const [key, subkey] = [writtenKey(owner), writtenKey(other)];

  const day = fc.constantFrom(0, 1, 10, 50, 99);
  const days = (...choice: readonly number[]) => fc.constantFrom(...choice).map((count) => count * DAY_S);
  const flags = fc.constantFrom(1, 2, 3, 3, 0x0c, null);
  const said = fc
    .record({
      keyLife: fc.option(days(0, 30, 60, 99, 120), { freq: 2 }),
      life: fc.option(days(0, 20, 200), { freq: 1 }),
    })
    .map(({ keyLife, life }) => [
      ...(keyLife === null ? [] : [keyExpiresAfter(keyLife)]),
      ...(life === null ? [] : [signatureExpiresAfter(life)]),
    ]);
  const madeOn = (on: number) => T0 + on * DAY_S + 100;

  const direct = fc.tuple(day, said, flags).map(([on, hashed, may]) =>
    onKey(key, {
      type: TYPES.direct,
      createdAt: madeOn(on),
      hashed: [...hashed, ...(may === null ? [] : [keyFlags(may)])],
    }),
  );
  const revocation = fc.tuple(day, fc.constantFrom(0, 1, 2, 3)).map(([on, reason]) =>
    onKey(key, {
      type: TYPES.keyRevocation,
      createdAt: madeOn(on),
      hashed: [revocationReason(reason)],
    }),
  );
  const userId = fc.constantFrom('a', 'b', 'c').chain((name) => {
    const certification = fc
      .tuple(day, said, flags)
      .map(([on, hashed, may]) => onUserId(key, name, { createdAt: madeOn(on), hashed, flags: may }));
    const revoked = day.map((on) =>
      onUserId(key, name, { type: TYPES.certificationRevocation, createdAt: madeOn(on), flags: null }),
    );
    return fc
      .tuple(fc.array(certification, { minLength: 1, maxLength: 3 }), fc.option(revoked, { freq: 2 }))
      .map(([some, last]) => Buffer.concat([userIdPacket(name), ...some, last ?? Buffer.alloc(0)]));
  });
  const bound = fc
    .tuple(day, said, fc.constantFrom(2, 2, 2, 0x20), fc.boolean(), fc.boolean())
    .map(([on, hashed, may, isBackHashed, isBacked]) =>
      binding(key, subkey, {
        createdAt: madeOn(on),
        hashed,
        flags: may,
        isBackHashed,
        back: isBacked ? backSignature(key, subkey, { createdAt: madeOn(on) }) : null,
      }),
    );
  const anyCertificate = fc
    .tuple(
      fc.array(direct, { maxLength: 2 }),
      fc.option(revocation, { freq: 1 }),
      fc.array(userId, { minLength: 1, maxLength: 3 }),
      fc.array(bound, { minLength: 1, maxLength: 2 }),
    )
    .map(([directs, revoked, userIds, bindings]) =>
      Buffer.concat([
        primaryPacket(key),
        ...directs,
        revoked ?? Buffer.alloc(0),
        ...userIds,
        subkeyPacket(subkey),
        ...bindings,
      ]),
    );

  test('takes what is good to us now, by the certificate as we keep it', async () => {
    const now = new Date((T0 + 100 * DAY_S) * 1000);
    const stamp = now.toISOString().replaceAll(/[-:]/g, '').slice(0, 15);
    await using folder = await openTempFolder();
    let runs = 0;
    await fc.assert(
      fc.asyncProperty(anyCertificate, fc.constantFrom(owner, other), async (file, signer) => {
        const [result] = cleanCertificates(file, new Map(), now);
        if (result?.kind !== 'clean') return;
        const bytes = message(signer, PAYLOAD, { at: new Date((T0 + 99.5 * DAY_S) * 1000) });
        const judged = await examineMessage(bytes, createKeyring([result.certificate]), now);
        if (judged.verdict !== 'good' || judged.refusal !== null) return;
        runs += 1;
        const [keyFile, messageFile] = [path.join(folder.path, 'key'), path.join(folder.path, 'message')];
        await writeFile(keyFile, result.certificate);
        await writeFile(messageFile, bytes);
        const home = path.join(folder.path, `h${runs}`);
        await mkdir(home);
        await using gnupg = await openGnupgHome(home);
        const clock = ['--faked-system-time', stamp, '--trust-model', 'always'];
        await gnupg.gpg(...clock, '--import', keyFile);
        const out = path.join(home, 'out');
        const status = await gnupg.gpg(
          ...clock,
          '--status-fd',
          '1',
          '--output',
          out,
          '--decrypt',
          messageFile,
        );
        assert.match(status, /GOODSIG/);
        assert.match(status, new RegExp(`VALIDSIG ${judged.signingFingerprint} `));
      }),
      { numRuns: count(120, 40) },
    );
    assert.ok(runs > 0, 'none of them was good');
  });
});
