// Asks a server which keys clients are to trust. Nothing that comes back is verified.
import { z } from 'zod/v3';
import type { Note } from '../domain/client-config/policy-merge.ts';
import { fingerprint, readAnswer, word } from './answers.ts';
import { type AskerOptions, connectAsker } from './asker.ts';

export interface KeyQuestion {
  readonly registry: string;
  readonly keys: readonly string[];
  readonly signers: readonly string[];
  readonly isAllKeys: boolean;
}

export interface OfferedKeys {
  readonly keys: readonly { readonly fingerprint: string; readonly untrusted: Uint8Array }[];
  readonly notes: readonly Note[];
}

const answer = z.object({
  keys: z.array(z.object({ fingerprint, certificate: z.string().base64() })),
  notes: z.array(z.object({ code: word<Note['code']>(), message: z.string() })),
});

/** In the order of the questions. @throws LookasideError NOT_FOUND, SERVER_UNREACHABLE, UNAUTHORIZED for signers without a token */
export async function askKeys(
  options: AskerOptions,
  questions: readonly KeyQuestion[],
): Promise<readonly OfferedKeys[]> {
  const asker = connectAsker(options);
  try {
    const offered: OfferedKeys[] = [];
    for (const { registry, keys, signers, isAllKeys } of questions) {
      const parameters = new URLSearchParams({ registry, lookaside: 'https://unused.invalid' });
      if (keys.length > 0) parameters.set('key', keys.join(','));
      if (signers.length > 0) parameters.set('signer', signers.join(','));
      if (isAllKeys) parameters.set('all-keys', '1');
      const path = `/api/v1/client-config/podman?${parameters}`;
      const { body } = await asker.ask({ method: 'GET', path, mayFindNothing: true });
      const answered = readAnswer(answer, { server: asker.name, body });
      offered.push({
        keys: answered.keys.map((key) => ({
          fingerprint: key.fingerprint,
          untrusted: Buffer.from(key.certificate, 'base64'),
        })),
        // what is planned is planned here
        notes: answered.notes.filter(({ code }) => code === 'KEY_LEFT_OUT'),
      });
    }
    return offered;
  } finally {
    await asker[Symbol.asyncDispose]();
  }
}
