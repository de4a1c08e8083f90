// What lookaside verify and skopeo standalone-verify say of the same manifest, name, key and signature.
import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { readFile, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { after, before, describe, test } from 'node:test';
import { systemClock } from '../../src/compose/clock.ts';
import { digestOfManifest, openSignatureVerifier } from '../../src/compose/verify.ts';
import { isLookasideError } from '../../src/domain/errors.ts';
import { parseReference } from '../../src/domain/reference.ts';
import { trustKeys, verifySignatures } from '../../src/service/verify.ts';
import { certificate, makeKey, message, SIGNED_AT } from '../openpgp/packet-writer.ts';
import { needs } from './available.ts';
import { describeOutcome, run, succeed } from './command.ts';
import { openGnupgHome, type SigningKey } from './keys.ts';
import { openTempFolder } from './temp-folder.ts';

const REFERENCE = 'registry.example:5000/team/app:v1';
const MANIFEST = '{"schemaVersion":2,"mediaType":"application/vnd.oci.image.manifest.v1+json"}';
const SCHEMA_1 = '{"schemaVersion":1,"name":"team/app"}';
const LATER = new Date(SIGNED_AT.getTime() + 24 * 3600 * 1000);

/** Keys written packet by packet, in states that take gpg long to make. */
const good = makeKey('ed25519');
const subkey = makeKey('ed25519');
const expired = makeKey('ed25519');
const revoked = makeKey('ed25519');
const stranger = makeKey('ed25519');
const CERTIFICATES = Buffer.concat([
  certificate(good, { userId: 'good', subkeys: [{ key: subkey }] }),
  certificate(expired, { userId: 'expired', expiresAt: LATER }),
  certificate(revoked, { userId: 'revoked', revoked: { at: LATER, reason: 3 } }),
]);

function payload({ manifest = MANIFEST, reference = REFERENCE } = {}): Buffer {
  return Buffer.from(
    JSON.stringify({
      critical: {
        identity: { 'docker-reference': reference },
        image: { 'docker-manifest-digest': `sha256:${createHash('sha256').update(manifest).digest('hex')}` },
        type: 'atomic container signature',
      },
      optional: {},
    }),
  );
}

/** Signs with gpg or skopeo themselves. */
interface Programs {
  skopeo(by: Algorithm): Promise<Buffer>;
  /** By the ed25519 key, with options of gpg. */
  gpg(...options: readonly string[]): Promise<Buffer>;
}

const ALGORITHMS = ['rsa2048', 'ed25519', 'nistp256'] as const;
type Algorithm = (typeof ALGORITHMS)[number];

interface Case {
  readonly what: string;
  readonly make: (programs: Programs) => Buffer | Promise<Buffer>;
  /** Who must have made it. */
  readonly by?: Algorithm | string;
  readonly manifest?: string;
  /** As it is asked for. */
  readonly reference?: string;
  /** Ours; null: accepted. */
  readonly code: string | null;
  readonly skopeo: 'good' | 'bad';
  /** Why we differ; null where we must agree. */
  readonly why: string | null;
}

type Rest = Omit<Case, 'what' | 'code' | 'skopeo' | 'why' | 'make'>;

const bothTake = (what: string, make: Case['make'], rest: Rest = {}): Case => {
  return { by: good.fingerprint, ...rest, what, make, code: null, skopeo: 'good', why: null };
};
const bothRefuse = (what: string, code: string, make: Case['make'], rest: Rest = {}): Case => {
  return { by: good.fingerprint, ...rest, what, make, code, skopeo: 'bad', why: null };
};
const signed = (...claim: Parameters<typeof payload>) => message(good, payload(...claim), { at: SIGNED_AT });

const CASES: readonly Case[] = [
  ...ALGORITHMS.map((by) => bothTake(`by skopeo with ${by}`, ({ skopeo }) => skopeo(by), { by })),
  bothTake('by gpg --sign', ({ gpg }) => gpg('--sign'), { by: 'ed25519' }),
  bothTake('for a short name of Docker Hub', () => signed({ reference: 'docker.io/library/busybox:1' }), {
    reference: 'busybox:1',
  }),
  bothTake('by a subkey that is asked for', () => message(subkey, payload()), { by: subkey.fingerprint }),
  bothRefuse('by another key', 'KEY_UNKNOWN', () => signed(), { by: expired.fingerprint }),
  bothRefuse('by a key that nobody has', 'KEY_UNKNOWN', () => message(stranger, payload()), {
    by: stranger.fingerprint,
  }),
  bothRefuse('for another tag', 'REFERENCE_MISMATCH', () => signed({ reference: `${REFERENCE}2` })),
  bothRefuse('for another repository', 'REFERENCE_MISMATCH', () => signed(), {
    reference: 'registry.example:5000/team/other:v1',
  }),
  bothRefuse('for the repository without a tag', 'REFERENCE_MISMATCH', () => signed(), {
    reference: 'registry.example:5000/team/app',
  }),
  bothRefuse('for another manifest', 'DIGEST_MISMATCH', () => signed(), { manifest: '{}' }),
  bothRefuse('by a key that has expired since', 'KEY_EXPIRED', () => message(expired, payload()), {
    by: expired.fingerprint,
  }),
  bothRefuse('by a key that was revoked since', 'KEY_REVOKED', () => message(revoked, payload()), {
    by: revoked.fingerprint,
  }),
  bothRefuse('with a changed payload', 'SIGNATURE_BAD', () => {
    const bytes = signed();
    bytes[bytes.indexOf('v1')] = 'w'.charCodeAt(0);
    return bytes;
  }),
  bothRefuse('that is cut', 'STRUCTURE_INVALID', () => signed().subarray(0, -20)),
  bothRefuse('that is empty', 'EMPTY', () => Buffer.alloc(0)),
  {
    what: 'by a subkey of the key that is asked for',
    make: () => message(subkey, payload()),
    by: good.fingerprint,
    code: null,
    skopeo: 'bad',
    why: 'since August 2025 skopeo too goes by the primary key',
  },
  {
    what: 'in ASCII armour',
    make: ({ gpg }) => gpg('--armor', '--sign'),
    by: 'ed25519',
    code: 'ARMORED',
    skopeo: 'good',
    why: 'no client reads it from a lookaside',
  },
  {
    what: 'that is clear-signed',
    make: ({ gpg }) => gpg('--clearsign'),
    by: 'ed25519',
    code: 'NOT_INLINE_SIGNED',
    skopeo: 'good',
    why: 'no client reads it from a lookaside',
  },
  {
    what: 'for a file that is no manifest',
    make: () => signed({ manifest: 'no manifest' }),
    manifest: 'no manifest',
    by: good.fingerprint,
    code: 'CONFIG_INVALID',
    skopeo: 'good',
    why: 'nothing can be pulled by it',
  },
  {
    what: 'for a schema 1',
    make: () => signed({ manifest: SCHEMA_1 }),
    manifest: SCHEMA_1,
    by: good.fingerprint,
    code: 'CONFIG_INVALID',
    skopeo: 'good',
    why: 'registries have given it up',
  },
];

describe('a signature', needs('skopeo', 'gpg'), () => {
  let scene: Awaited<ReturnType<typeof openScene>>;
  before(async () => {
    scene = await openScene();
  });
  after(() => scene[Symbol.asyncDispose]());

  for (const {
    what,
    make,
    by = '',
    manifest = MANIFEST,
    reference = REFERENCE,
    code,
    skopeo,
    why,
  } of CASES) {
    const ours = code === null ? 'accepted' : `refused with ${code}`;
    const sentence = why === null ? 'by skopeo too' : `and skopeo finds it ${skopeo}: ${why}`;
    test(`${what} is ${ours}, ${sentence}`, async () => {
      const question = { manifest, reference, fingerprint: scene.fingerprintOf(by) };
      const bytes = await make(scene.programs);
      assert.equal(await scene.askOurs(bytes, question), code);
      const theirs = await scene.askSkopeo(bytes, question);
      assert.equal(theirs.status === 0 ? 'good' : 'bad', skopeo, describeOutcome(theirs));
    });
  }
});

interface Question {
  readonly manifest: string;
  readonly reference: string;
  readonly fingerprint: string;
}

async function openScene() {
  const temp = await openTempFolder();
  const folder = temp.path;
  const gnupg = await openGnupgHome(folder);
  const inFolder = (name: string) => path.join(folder, name);
  const surroundings = {
    env: { PATH: process.env.PATH ?? '', LC_ALL: 'C', HOME: folder, GNUPGHOME: gnupg.folder },
  };
  await writeFile(inFolder('written.gpg'), CERTIFICATES);
  await gnupg.gpg('--import', inFolder('written.gpg'));
  const keys = new Map<string, SigningKey>();
  for (const algorithm of ALGORITHMS) keys.set(algorithm, await gnupg.makeKey(algorithm, { algorithm }));
  await gnupg.gpg('--output', inFolder('keyring.gpg'), '--export');
  await writeFile(inFolder('manifest'), MANIFEST);
  await writeFile(inFolder('payload'), payload());

  const verifier = openSignatureVerifier();
  const tools = { verifier, clock: systemClock };
  const keyring = { source: 'keyring.gpg', certificates: [await readFile(inFolder('keyring.gpg'))] };
  assert.deepEqual((await trustKeys(tools, [keyring])).refused, []);
  const output = inFolder('made');
  const fingerprintOf = (by: string) => keys.get(by)?.fingerprint ?? by;

  return {
    fingerprintOf,
    programs: {
      async skopeo(by: Algorithm) {
        const argv = [
          'skopeo',
          'standalone-sign',
          inFolder('manifest'),
          REFERENCE,
          fingerprintOf(by),
        ] as const;
        await succeed([...argv, '--output', output], surroundings);
        return readFile(output);
      },
      async gpg(...options: readonly string[]) {
        const user = fingerprintOf('ed25519');
        await gnupg.gpg('--local-user', user, '--output', output, ...options, inFolder('payload'));
        return readFile(output);
      },
    },
    async askOurs(bytes: Uint8Array, { manifest, reference, fingerprint }: Question): Promise<string | null> {
      const parsed = parseReference(reference) ?? assert.fail(reference);
      try {
        const digest = digestOfManifest(Buffer.from(manifest));
        const [checked] = await verifySignatures(
          tools,
          { digest, reference: parsed, fingerprints: new Set([fingerprint]), keysFrom: 'keyring' },
          [{ source: 'made', bytes }],
        );
        return checked?.refusal?.code ?? null;
      } catch (error) {
        if (isLookasideError(error)) return error.code;
        throw error;
      }
    },
    async askSkopeo(bytes: Uint8Array, { manifest, reference, fingerprint }: Question) {
      await writeFile(inFolder('asked'), bytes);
      await writeFile(inFolder('asked-manifest'), manifest);
      const argv = [
        'skopeo',
        'standalone-verify',
        inFolder('asked-manifest'),
        reference,
        fingerprint,
      ] as const;
      return run([...argv, inFolder('asked')], surroundings);
    },
    async [Symbol.asyncDispose]() {
      await verifier.close();
      await gnupg[Symbol.asyncDispose]();
      await temp[Symbol.asyncDispose]();
    },
  };
}
