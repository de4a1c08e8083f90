// The words and options of the commands for the life of keys: lookaside key rotation, refresh, retire, revoke.
import { type Command, Option } from 'commander';
import { type CommandTools, type ServerOrDataOptions, withServerOrData } from './command-tools.ts';
import { loadExisting } from './load-config.ts';

type JsonOptions = ServerOrDataOptions & { readonly json?: boolean };

type RevokeFlags = JsonOptions & {
  readonly reason?: string;
  readonly withdraw?: boolean;
  readonly certificate?: string;
  readonly dryRun?: boolean;
  readonly yes?: boolean;
};

export function addKeyLifeCommands(key: Command, finish: CommandTools['finish']): void {
  withServerOrData(key.command('rotation'))
    .description('show which images one key signed that another has not signed yet, as a list of work')
    .argument('<old>', 'the key that ends: 40 hex digits, or the key ID of 16')
    .argument('<new>', 'the key that takes its place')
    .option('--json', 'print JSON')
    .action(async (old: string, next: string, options: JsonOptions) => {
      const { runKeyRotation } = await import('./key-rotation.ts');
      finish(await runKeyRotation(loadExisting(options), { old, next, json: options.json === true }));
    });
  withServerOrData(key.command('refresh'))
    .description(
      'merge what is new in registered keys: a later expiry, subkeys, a revocation; no other key is taken',
    )
    .argument('[fingerprint]', '40 hex digits, or the key ID of 16; by default all keys')
    .option(
      '--from <file|wkd|url>',
      'a file of public keys (- is standard input), the domains of the user ids (wkd), or a key server like hkps://keys.example.com (LOOKASIDE_KEY_REFRESH)',
    )
    .option('--json', 'print JSON')
    .action(async (name: string | undefined, options: JsonOptions & { readonly from?: string }) => {
      const { runKeyRefresh } = await import('./key-refresh.ts');
      const { from = null, json = false } = options;
      finish(await runKeyRefresh(loadExisting(options), { name: name ?? null, from, json }));
    });
  withServerOrData(key.command('retire'))
    .description('take no new signatures by a key; what it has signed counts and is served as before')
    .argument('<fingerprint>', '40 hex digits, or the key ID of 16')
    .option('--undo', 'take signatures by it again')
    .option('--json', 'print JSON')
    .action(async (name: string, options: JsonOptions & { readonly undo?: boolean }) => {
      const { runKeyRetire } = await import('./key-retire.ts');
      const { undo = false, json = false } = options;
      finish(await runKeyRetire(loadExisting(options), { name, undo, json }));
    });
  withServerOrData(key.command('revoke'))
    .description(
      'trust a key no longer, whatever its certificate says; first it lists what that breaks, and asks',
    )
    .argument('<fingerprint>', '40 hex digits, or the key ID of 16')
    .option('--reason <text>', 'why; it is kept and shown')
    .option('--withdraw', 'take every signature by the key away from clients, under one audit event')
    .option(
      '--certificate <file>',
      'merge the revocation that the key has signed, as gpg --gen-revoke writes it; - is standard input',
    )
    .addOption(new Option('--dry-run', 'list all that it breaks, and change nothing').conflicts('yes'))
    .option('--yes', 'do it without a question')
    .option('--json', 'print JSON')
    .action(async (name: string, options: RevokeFlags) => {
      const { runKeyRevoke } = await import('./key-revoke.ts');
      const { reason = null, withdraw = false, certificate = null } = options;
      const { dryRun = false, yes = false, json = false } = options;
      const wanted = { name, reason, withdraw, certificate, dryRun, yes, json };
      finish(await runKeyRevoke(loadExisting(options), wanted));
    });
}
