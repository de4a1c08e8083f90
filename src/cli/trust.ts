// lookaside trust inspect: who signed the images of a repository, and who may.
import { connectServer } from '../compose/client.ts';
import type { Config } from '../config.ts';
import { LookasideError } from '../domain/errors.ts';
import { DEFAULT_SITE, parseImageName } from '../domain/image.ts';
import { ANY_SIGNATURE } from '../domain/remote.ts';
import type { StoredSignature } from '../domain/stored-signature.ts';
import { quoted } from '../domain/text.ts';
import { type SignedTag, type Trust, type TrustedSigner, trustOf } from '../domain/trust.ts';
import { administer } from './administer.ts';
import { nameIn, namesOf } from './image-name.ts';
import { EXIT, formatTable, print, printJson, QUESTION_PATIENCE_MS, tellRetry } from './terminal.ts';

export interface TrustInspectOptions {
  /** As it was written. */
  readonly what: string;
  readonly json: boolean;
}

/** @throws LookasideError CONFIG_INVALID when it names no repository */
export async function runTrustInspect(config: Config, { what, json }: TrustInspectOptions): Promise<number> {
  const asked = namesOf(what).map((name) => parseAsked(what, name));
  const { repository, signatures } = await firstFound(config, asked);
  const facts = await administer(config, async ({ keys, signers, grants }) => {
    return { keys: await keys.list(), signers: await signers.list(), grants: await grants.list(null) };
  });
  const trust = trustOf({ repository, signatures, ...facts });
  if (json) printJson(trust);
  else print(formatTrust(trust));
  return EXIT.done;
}

interface Asked {
  readonly repository: string;
  readonly digest: string | null;
}

function parseAsked(what: string, name: string): Asked {
  const image = parseImageName(DEFAULT_SITE, name);
  if (image === null) return { repository: name, digest: null };
  if (image.layout === 'repository')
    return { repository: image.path, digest: `${image.algorithm}:${image.hex}` };
  const message = `${quoted(what)} names no repository; wanted one like team/app, or an image of it like team/app@sha256:<64 lower-case hex digits>`;
  throw new LookasideError('CONFIG_INVALID', message);
}

/** What the likeliest meaning with signatures has; when no meaning has any, the likeliest one without. */
async function firstFound(config: Config, asked: readonly Asked[]) {
  await using server = connectServer(config, { onRetry: tellRetry, patienceMs: QUESTION_PATIENCE_MS });
  for (const { repository, digest } of asked) {
    const signatures: StoredSignature[] = [];
    for await (const stored of server.search({ ...ANY_SIGNATURE, repository, digest })) {
      // a search finds what lies below a folder too
      const image = parseImageName(stored.site, stored.image);
      if (image?.layout === 'repository' && image.path === repository) signatures.push(stored);
    }
    if (signatures.length > 0) return { repository, signatures };
  }
  return { repository: asked.at(-1)?.repository ?? '', signatures: [] };
}

export function formatTrust({ repository, signed, signers }: Trust): string {
  const images =
    signed.length === 0
      ? `No verified signatures for ${repository}`
      : `Signatures for ${repository}\n\n${formatTable([['TAG', 'DIGEST', 'SIGNERS', 'KEY', 'STATE'], ...signed.flatMap(rowsOf)])}`;
  const who =
    signers.length === 0
      ? `No signer has a grant for ${repository}; add one with: lookaside grant add`
      : `Signers and keys with a grant for ${repository}\n\n${formatTable([['SIGNER', 'KEY', 'STATE', 'USER ID'], ...signers.flatMap(signerRows)])}`;
  return `${images}\n\n${who}`;
}

function rowsOf({ site, tag, digest, signatures }: SignedTag): readonly (readonly string[])[] {
  return signatures.map(({ keyId, userId, signers, state }) => {
    const by = signers.length === 0 ? (userId ?? '-') : signers.join(', ');
    return [tag ?? '-', nameIn(site, digest), by, keyId, state];
  });
}

function signerRows({ name, isDisabled, keys }: TrustedSigner): readonly (readonly string[])[] {
  return keys.map(({ keyId, userId, state }) => {
    return [isDisabled ? `${name} (disabled)` : name, keyId, state ?? 'not registered', userId ?? '-'];
  });
}
