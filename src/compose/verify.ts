// Builds what `verify` uses: OpenPGP, and the digest of a manifest.
import { createHash } from 'node:crypto';
import type { Digest } from '../domain/image.ts';
import { requireManifest } from '../domain/manifest.ts';
import type { Verifier } from '../domain/ports.ts';
import { openVerifierInProcess } from '../openpgp/in-process.ts';

/** A verifier without keys. */
export function openSignatureVerifier(): Verifier & AsyncDisposable {
  const verifier = openVerifierInProcess();
  return Object.assign(verifier, { [Symbol.asyncDispose]: () => verifier.close() });
}

/** The digest of the raw manifest, as containers/image computes it. @throws LookasideError CONFIG_INVALID */
export function digestOfManifest(manifest: Uint8Array): Digest {
  requireManifest(manifest);
  return { algorithm: 'sha256', hex: createHash('sha256').update(manifest).digest('hex') };
}
