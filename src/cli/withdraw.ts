// lookaside withdraw: takes a signature away from clients.
import type { Config } from '../config.ts';
import { escapeTerminal } from '../domain/text.ts';
import type { WantedWithdrawal } from '../domain/tombstone.ts';
import { administer } from './administer.ts';
import { EXIT, print, printJson } from './terminal.ts';

export async function runWithdraw(
  config: Config,
  { json, ...wanted }: WantedWithdrawal & { readonly json: boolean },
): Promise<number> {
  const path = asInTarget(wanted.path);
  const withdrawn = await administer(config, (administration) =>
    administration.withdraw({ ...wanted, path }),
  );
  const { signatureSha256, until } = withdrawn;
  if (json) printJson(withdrawn);
  else {
    const back = until === null ? '' : ` until ${until.toISOString()}`;
    print(
      escapeTerminal(
        `${withdrawn.path} is withdrawn${back}; clients do not get it, and its bytes are refused.`,
      ),
    );
    print(`sha256 ${signatureSha256}`);
  }
  return EXIT.done;
}

/** Images are listed as `team/app@sha256:<hex>`, and a path has `=` there. */
export function asInTarget(path: string): string {
  return path.replace(/(^\/?|@)(sha(?:256|384|512)):(?=[0-9a-f]+\/[^/]*$)/, '$1$2=');
}
