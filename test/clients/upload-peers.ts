// What gpg and skopeo themselves say of a signature file, asked on the command line with every key imported.
import { createHash } from 'node:crypto';
import { writeFile } from 'node:fs/promises';
import path from 'node:path';
import { run } from './command.ts';
import type { GnupgHome } from './keys.ts';
import type { Peers, PeerVerdict } from './upload-corpus.ts';

export interface PeerQuestion {
  readonly bytes: Uint8Array;
  /** As a reader asks for the image. */
  readonly reference: string;
  /** The fingerprint of the primary key that must have signed, upper-case hex. */
  readonly fingerprint: string;
}

export interface PeersOptions {
  /** For files. */
  readonly folder: string;
  readonly gnupg: GnupgHome;
  /** The manifest that all questions are about. */
  readonly manifestFile: string;
}

/** Several questions may be under way; the same one is asked once. */
export type AskPeers = (question: PeerQuestion) => Promise<Peers>;

export function createPeers({ folder, gnupg, manifestFile }: PeersOptions): AskPeers {
  const surroundings = {
    env: { PATH: process.env.PATH ?? '', LC_ALL: 'C', HOME: folder, GNUPGHOME: gnupg.folder },
  };
  const answers = new Map<string, Promise<Peers>>();

  async function ask(file: string, { bytes, reference, fingerprint }: PeerQuestion): Promise<Peers> {
    await writeFile(file, untagged(bytes));
    const byGpg = ['--batch', '--no-tty', '--no-auto-check-trustdb', '--trust-model', 'always'] as const;
    const gpg = await run(['gpg', ...byGpg, '--verify', file], surroundings);
    const bySkopeo = ['standalone-verify', manifestFile, reference, fingerprint, file] as const;
    const skopeo = await run(['skopeo', ...bySkopeo], surroundings);
    return { gpg: verdictOf(gpg.status), skopeo: verdictOf(skopeo.status) };
  }

  return (question) => {
    const { bytes, reference, fingerprint } = question;
    const name = createHash('sha256').update(bytes).update(`\n${reference}\n${fingerprint}`).digest('hex');
    const answer = answers.get(name) ?? ask(path.join(folder, name), question);
    answers.set(name, answer);
    return answer;
  };
}

function verdictOf(status: number | null): PeerVerdict {
  return status === 0 ? 'good' : 'bad';
}

const TAG = Buffer.from('\0simple-signing\n');

/** What a reader hands on to verify: the tag of the tagged form is cut off first (containers/image, signature.FromBlob). */
export function untagged(bytes: Uint8Array): Uint8Array {
  return Buffer.from(bytes.subarray(0, TAG.length)).equals(TAG) ? bytes.subarray(TAG.length) : bytes;
}
