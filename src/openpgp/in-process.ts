// Verifies in the calling thread, for a command that ends when it has its answer: a thread takes as long to start as the
// work does. The server uses pool.ts, whose threads may also die.
import { createContext, runInContext } from 'node:vm';
import { LookasideError, systemCode } from '../domain/errors.ts';
import type { Verifier } from '../domain/ports.ts';
import { armorPublicKey } from './armor.ts';
import { usesOfCertificate } from './certificate-uses.ts';
import { cleanCertificates } from './certificates.ts';
import { warningsOfCertificate } from './key-warnings.ts';
import { createKeyring } from './keyring.ts';
import { CLEAN_LIMIT_MS, EXAMINE_LIMIT_MS } from './limits.ts';
import { examineMessage } from './verifier.ts';

/** One job at a time, with the limits of pool.ts: a job that takes longer ends with BUSY. */
export function openVerifierInProcess(): Verifier {
  let keyring = createKeyring([]);
  return {
    examine: async (untrusted, now) =>
      within(EXAMINE_LIMIT_MS, () => examineMessage(untrusted, keyring, now)),
    cleanCertificates: async (untrusted, now) =>
      within(CLEAN_LIMIT_MS, () => cleanCertificates(untrusted, keyring.certificates, now)),
    armor: armorPublicKey,
    warningsOf: warningsOfCertificate,
    usesOf: usesOfCertificate,
    setKeyring(certificates) {
      keyring = createKeyring(certificates);
    },
    async close() {},
  };
}

/**
 * What `work` returns. V8 ends it after `limitMs`, wherever it is, in a loop too. It does not end what follows the first
 * `await`: that is the second opinion on a signature that a trusted key has made, and the reading of what it signed.
 * @throws LookasideError BUSY
 */
export function within<Out>(limitMs: number, work: () => Out): Out {
  try {
    return runInContext('work()', createContext({ work }), { timeout: limitMs }) as Out; // what `work` returns
  } catch (error) {
    if (systemCode(error) !== 'ERR_SCRIPT_EXECUTION_TIMEOUT') throw error;
    throw new LookasideError('BUSY', `verification took longer than ${limitMs} ms. Try again later`, {
      cause: error,
    });
  }
}
