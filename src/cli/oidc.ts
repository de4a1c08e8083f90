// lookaside signer oidc add, list, remove.
import type { Config } from '../config.ts';
import { type OidcSubject, parseClaims, subjectText } from '../domain/oidc.ts';
import { escapeTerminal } from '../domain/text.ts';
import { administer } from './administer.ts';
import { EXIT, formatTable, print, printJson } from './terminal.ts';

export interface OidcAddOptions {
  readonly signer: string;
  readonly issuer: string;
  /** NAME=PATTERN. */
  readonly claims: readonly string[];
  readonly json: boolean;
}

export async function runOidcAdd(
  config: Config,
  { signer, issuer, claims, json }: OidcAddOptions,
): Promise<number> {
  const wanted = { signer, issuer, claims: parseClaims(claims) };
  const subject = await administer(config, ({ subjects }) => subjects.add(wanted));
  if (json) printJson(subject);
  else if (subject.created) {
    print(`OIDC subject ${subject.id}: such tokens act as the signer "${signer}": ${subjectLine(subject)}.`);
  } else print(`OIDC subject ${subject.id} says so already; nothing was changed.`);
  return EXIT.done;
}

export async function runOidcList(
  config: Config,
  { signer, json }: { signer: string | null; json: boolean },
): Promise<number> {
  const subjects = await administer(config, (administration) => administration.subjects.list(signer));
  if (json) printJson({ subjects });
  else if (subjects.length > 0) print(subjectTable(subjects));
  else
    print('No OIDC subjects; add one with: lookaside signer oidc add NAME --issuer URL --claim NAME=PATTERN');
  return EXIT.done;
}

export async function runOidcRemove(
  config: Config,
  { id, json }: { id: number; json: boolean },
): Promise<number> {
  const subject = await administer(config, ({ subjects }) => subjects.remove(id));
  if (json) printJson(subject);
  else print(`OIDC subject ${id} of the signer "${subject.signer}" was removed: ${subjectLine(subject)}.`);
  return EXIT.done;
}

export function subjectTable(subjects: readonly OidcSubject[]): string {
  const rows = subjects.map(({ id, signer, issuer, claims }) => [
    String(id),
    signer,
    issuer,
    escapeTerminal(
      Object.entries(claims)
        .map(([name, pattern]) => `${name}=${pattern}`)
        .join(' '),
    ),
  ]);
  return formatTable([['SUBJECT', 'SIGNER', 'ISSUER', 'CLAIMS'], ...rows]);
}

function subjectLine(subject: OidcSubject): string {
  return escapeTerminal(subjectText(subject));
}
