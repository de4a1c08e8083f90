// A signer without gpg: a key that the server knows, a token, and signatures that take no process to make.
import { writeFile } from 'node:fs/promises';
import path from 'node:path';
import {
  certificate,
  compressed,
  type Method,
  makeKey,
  message,
  SIGNED_AT,
  type WriterKey,
} from '../openpgp/packet-writer.ts';
import { folderOf } from '../store/lay.ts';
import { describeOutcome } from './command.ts';
import { createToken, runLookaside } from './server.ts';

/** What is signed: an image, which folderOf() gives a digest, under one of its names. */
export interface Signable {
  readonly repository: string;
  /** What the digest is made of; the repository unless told. */
  readonly manifest?: string;
  readonly tag: string;
  /** Seconds since 1970, which make other bytes of the same statement. */
  readonly timestamp?: number;
  /** Bytes of filling that the payload is to have beside what it says. */
  readonly filling?: string;
}

export interface Signer {
  readonly name: string;
  /** Upper-case hex. */
  readonly fingerprint: string;
  readonly certificate: Uint8Array;
  /** As skopeo standalone-sign writes it, but not compressed. */
  sign(what: Signable): Buffer;
  signCompressed(what: Signable, method: Method): Buffer;
}

export const REGISTRY = 'registry.example';

export function makeSigner(name: string): Signer {
  const key = makeKey('ed25519');
  return {
    name,
    fingerprint: key.fingerprint,
    certificate: certificate(key, { userId: `${name} <${name}@example.invalid>` }),
    sign: (what) => signedBy(key, what),
    signCompressed: (what, method) => compressed(signedBy(key, what), method),
  };
}

function signedBy(key: WriterKey, what: Signable): Buffer {
  return message(key, payloadOf(what), { at: SIGNED_AT });
}

export function payloadOf({ repository, manifest = repository, tag, timestamp, filling }: Signable): Buffer {
  const digest = folderOf(repository, manifest).replace(/^.*@sha256=/, 'sha256:');
  return Buffer.from(
    JSON.stringify({
      critical: {
        type: 'atomic container signature',
        image: { 'docker-manifest-digest': digest },
        identity: { 'docker-reference': `${REGISTRY}/${repository}:${tag}` },
      },
      optional: { creator: 'signer.ts', timestamp, filling },
    }),
  );
}

/** Makes the signer's key known to the server that owns `data`, or will; a new token to upload with. */
export async function enrol(data: string, signer: Signer): Promise<string> {
  const file = path.join(data, `${signer.name}.gpg`);
  await writeFile(file, signer.certificate);
  const added = await runLookaside(['key', 'add', file, '--data', data]);
  if (added.status !== 0) throw new Error(describeOutcome(added));
  return createToken(data, signer.name, 'uploader');
}
