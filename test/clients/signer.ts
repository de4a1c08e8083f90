// A signer without gpg: a key that the server knows, a token, and signatures that take no process to make.
import { writeFile } from 'node:fs/promises';
import path from 'node:path';
import { dressesOf } from '../openpgp/dresses.ts';
import {
  type CertificateOptions,
  certificate,
  makeKey,
  message,
  SIGNED_AT,
} from '../openpgp/packet-writer.ts';
import { folderOf } from '../store/lay.ts';
import { administered } from './administered.ts';
import { createToken } from './server.ts';

/** What is signed: an image under one of its names. */
export interface Signable {
  /** Host and port; registry.example unless told. */
  readonly registry?: string;
  readonly repository: string;
  /** The text that the digest is made of, as folderOf() does; the repository unless told. */
  readonly manifest?: string;
  readonly tag: string;
  /** Seconds since 1970, which make other bytes of the same statement. */
  readonly timestamp?: number;
  /** What makes the payload longer. */
  readonly filling?: string;
  /** What the signer's clock said; some day in the past unless told. */
  readonly signedAt?: Date;
}

export interface Signer {
  readonly name: string;
  /** Upper-case hex. */
  readonly fingerprint: string;
  readonly certificate: Uint8Array;
  /** The certificate with another self-signature or a revocation, as its owner exports it later. */
  certifiedAs(statement: Omit<CertificateOptions, 'userId'>): Uint8Array;
  /** As skopeo standalone-sign writes it, but not compressed. */
  sign(what: Signable): Buffer;
  /** One signature, as sign() makes it, written in many ways; the first as sign() writes it. */
  dresses(what: Signable): readonly Buffer[];
  /** As sign(), by a subkey that `certificate` is without; and the certificate with it. */
  readonly bySubkey: { readonly certificate: Uint8Array; sign(what: Signable): Buffer };
  /** Whatever it says. */
  signPayload(payload: Uint8Array): Buffer;
}

export function makeSigner(name: string): Signer {
  const key = makeKey('ed25519');
  const userId = `${name} <${name}@example.invalid>`;
  const subkey = makeKey('ed25519');
  return {
    name,
    fingerprint: key.fingerprint,
    certificate: certificate(key, { userId }),
    certifiedAs: (statement) => certificate(key, { userId, ...statement }),
    sign: ({ signedAt = SIGNED_AT, ...what }) => message(key, payloadOf(what), { at: signedAt }),
    dresses(what) {
      const plain = this.sign(what);
      return [plain, ...[...dressesOf(key, payloadOf(what))].map(({ bytes }) => bytes)];
    },
    bySubkey: {
      certificate: certificate(key, { userId, subkeys: [{ key: subkey }] }),
      sign: ({ signedAt = SIGNED_AT, ...what }) => message(subkey, payloadOf(what), { at: signedAt }),
    },
    signPayload: (payload) => message(key, payload, { at: SIGNED_AT }),
  };
}

function payloadOf({ registry = 'registry.example', repository, manifest, tag, ...rest }: Signable): Buffer {
  const digest = folderOf(repository, manifest).replace(/^.*@sha256=/, 'sha256:');
  const { timestamp, filling } = rest;
  return Buffer.from(
    JSON.stringify({
      critical: {
        type: 'atomic container signature',
        image: { 'docker-manifest-digest': digest },
        identity: { 'docker-reference': `${registry}/${repository}:${tag}` },
      },
      optional: { creator: 'signer.ts', timestamp, filling },
    }),
  );
}

/** Makes the signer's key known to the server that owns `data`, or will. The file of its certificate. */
export async function addKey(
  data: string,
  { name, certificate }: Pick<Signer, 'name' | 'certificate'>,
): Promise<string> {
  const results = await administered(data, ({ keys }) => keys.add(certificate));
  for (const added of results) if (added.result === 'refused') throw new Error(added.message);
  const file = path.join(data, `${name}.gpg`);
  await writeFile(file, certificate);
  return file;
}

/** Makes the signer's key known, and a new token to upload with. */
export async function enrol(data: string, signer: Signer): Promise<string> {
  await addKey(data, signer);
  return createToken(data, signer.name, 'uploader');
}
