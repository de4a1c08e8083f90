// lookaside signer add, list, show, disable, enable, remove.
import type { Config } from '../config.ts';
import { LookasideError } from '../domain/errors.ts';
import type { Signer } from '../domain/grant.ts';
import { type OidcSubject, parseClaims } from '../domain/oidc.ts';
import { escapeTerminal } from '../domain/text.ts';
import { administer } from './administer.ts';
import { grantTable } from './grant.ts';
import { subjectTable } from './oidc.ts';
import { EXIT, formatTable, plural, print, printJson } from './terminal.ts';
import { table as tokenTable } from './token.ts';

export interface SignerAddOptions {
  readonly name: string;
  readonly description: string;
  readonly subjects: readonly Pick<OidcSubject, 'issuer' | 'claims'>[];
  readonly json: boolean;
}

/** The subject that the options of signer add name, or none. @throws LookasideError CONFIG_INVALID, REQUEST_INVALID */
export function subjectsFrom({
  issuer,
  claims,
}: {
  readonly issuer: string | undefined;
  readonly claims: readonly string[];
}): SignerAddOptions['subjects'] {
  if (issuer === undefined && claims.length === 0) return [];
  if (issuer !== undefined) return [{ issuer, claims: parseClaims(claims) }];
  throw new LookasideError(
    'CONFIG_INVALID',
    '--oidc-claim is given without --oidc-issuer, whose tokens have such claims; give both',
  );
}

export async function runSignerAdd(
  config: Config,
  { name, description, subjects, json }: SignerAddOptions,
): Promise<number> {
  const wanted = { name, description, ...(subjects.length === 0 ? {} : { subjects }) };
  const signer = await administer(config, ({ signers }) => signers.add(wanted));
  if (json) printJson(signer);
  else {
    print(
      `The signer "${name}" was added. Say what it may sign: lookaside grant add --signer ${name} --repository PATTERN --key FINGERPRINT`,
    );
    if (subjects.length === 0) print(`Then let it in: lookaside token create --name NAME --signer ${name}`);
  }
  return EXIT.done;
}

export async function runSignerList(config: Config, json: boolean): Promise<number> {
  const signers = await administer(config, (administration) => administration.signers.list());
  if (json) printJson({ signers });
  else if (signers.length === 0) print('No signers yet; add one with: lookaside signer add NAME');
  else {
    const rows = signers.map((signer) => [
      signer.name,
      stateOf(signer),
      signer.createdAt.toISOString(),
      signer.description,
    ]);
    print(formatTable([['NAME', 'STATE', 'ADDED', 'DESCRIPTION'], ...rows]));
  }
  return EXIT.done;
}

export async function runSignerShow(
  config: Config,
  { name, json }: { name: string; json: boolean },
): Promise<number> {
  const signer = await administer(config, ({ signers }) => signers.show(name));
  if (json) {
    printJson(signer);
    return EXIT.done;
  }
  const { description, createdAt, disabledAt, grants, subjects, tokens } = signer;
  print(`${name}${description === '' ? '' : `: ${escapeTerminal(description)}`}`);
  print(`added ${createdAt.toISOString()}, ${stateOf(signer)}${sinceOf(disabledAt)}`);
  print(
    grants.length === 0
      ? `\nNo grants, so it may sign nothing; add one with: lookaside grant add --signer ${name} --repository PATTERN --key FINGERPRINT`
      : `\n${grantTable(grants)}`,
  );
  if (subjects.length > 0) print(`\n${subjectTable(subjects)}`);
  print(
    tokens.length === 0
      ? `\nNo tokens; make one with: lookaside token create --name NAME --signer ${name}`
      : `\n${tokenTable(tokens)}`,
  );
  return EXIT.done;
}

export interface SignerChange {
  readonly act: 'disable' | 'enable' | 'remove';
  readonly name: string;
  readonly json: boolean;
}

export async function runSignerChange(config: Config, { act, name, json }: SignerChange): Promise<number> {
  await administer(config, async ({ signers }) => {
    switch (act) {
      case 'disable':
      case 'enable': {
        const signer = await signers[act](name);
        if (json) printJson(signer);
        else if (act === 'disable')
          print(`The signer "${name}" is disabled: none of its tokens gives access.`);
        else print(`The signer "${name}" is enabled: its tokens give access again.`);
        return;
      }
      case 'remove': {
        const removed = await signers.remove(name);
        if (json) printJson(removed);
        else {
          const ended = removed.tokens.filter(({ revokedAt }) => revokedAt === null).length;
          print(
            `The signer "${name}" was removed with ${plural(removed.grants.length, 'grant')}, and ${plural(ended, 'token')} of it revoked.`,
          );
        }
        return;
      }
    }
  });
  return EXIT.done;
}

function stateOf({ disabledAt }: Signer): string {
  return disabledAt === null ? 'enabled' : 'disabled';
}

function sinceOf(disabledAt: Date | null): string {
  return disabledAt === null ? '' : ` since ${disabledAt.toISOString()}`;
}
