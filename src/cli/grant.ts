// lookaside grant add, remove, list, test.
import type { Config } from '../config.ts';
import type { TestedGrant } from '../domain/administration.ts';
import type { Grant, WantedGrant } from '../domain/grant.ts';
import { escapeTerminal } from '../domain/text.ts';
import { administer } from './administer.ts';
import { EXIT, formatTable, print, printJson } from './terminal.ts';

export async function runGrantAdd(
  config: Config,
  { json, ...wanted }: WantedGrant & { readonly json: boolean },
): Promise<number> {
  const grant = await administer(config, ({ grants }) => grants.add(wanted));
  if (json) printJson(grant);
  else if (grant.created)
    print(`Grant ${grant.id}: the signer "${grant.signer}" may sign ${grantText(grant)}.`);
  else print(`Grant ${grant.id} says so already; nothing was changed.`);
  return EXIT.done;
}

export async function runGrantRemove(
  config: Config,
  { id, json }: { id: number; json: boolean },
): Promise<number> {
  const grant = await administer(config, ({ grants }) => grants.remove(id));
  if (json) printJson(grant);
  else print(`Grant ${id} of the signer "${grant.signer}" was removed: ${grantText(grant)}.`);
  return EXIT.done;
}

export async function runGrantList(
  config: Config,
  { signer, json }: { signer: string | null; json: boolean },
): Promise<number> {
  const grants = await administer(config, (administration) => administration.grants.list(signer));
  if (json) printJson({ grants });
  else if (grants.length > 0) print(grantTable(grants));
  else
    print(
      'No grants; add one with: lookaside grant add --signer NAME --repository PATTERN --key FINGERPRINT',
    );
  return EXIT.done;
}

/** Ends with 1 when the upload would be refused. */
export async function runGrantTest(
  config: Config,
  { json, ...question }: TestedGrant & { readonly json: boolean },
): Promise<number> {
  const decision = await administer(config, ({ grants }) => grants.test(question));
  if (json) printJson(decision);
  else print(escapeTerminal(`${decision.allowed ? 'allowed' : 'refused'}: ${decision.message}`));
  return decision.allowed ? EXIT.done : EXIT.failed;
}

export function grantTable(grants: readonly Grant[]): string {
  const rows = grants.map(({ id, signer, repositories, fingerprints, tags }) => [
    String(id),
    signer,
    repositories.join(' '),
    tags.length === 0 ? '(any)' : tags.join(' '),
    fingerprints.join(' '),
  ]);
  return formatTable([['GRANT', 'SIGNER', 'REPOSITORIES', 'TAGS', 'KEYS'], ...rows]);
}

function grantText({ repositories, fingerprints, tags }: Grant): string {
  const bound = tags.length === 0 ? '' : ` for the tags ${tags.join(', ')}`;
  return escapeTerminal(`${repositories.join(', ')} by ${fingerprints.join(', ')}${bound}`);
}
