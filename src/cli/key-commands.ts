// The words and options of `lookaside key …`.
import { type Command, Option } from 'commander';
import { KEY_READERS, type KeyReaderName } from '../domain/key-readers.ts';
import { type CommandTools, type ServerOrDataOptions, withServerOrData } from './command-tools.ts';
import { addKeyLifeCommands } from './key-life-commands.ts';
import { loadExisting } from './load-config.ts';
import { age } from './option-values.ts';

export function addKeys(program: Command, { finish }: CommandTools): void {
  const key = program
    .command('key')
    .description('add, list, show, export and remove the keys that signatures are verified with');
  withServerOrData(key.command('add'))
    .description('add public keys, or what is new in them: a later expiry, a revocation')
    .argument('<file...>', 'what gpg --export writes, armoured or not; - is standard input')
    .option('--json', 'print JSON')
    .action(async (files: string[], options: ServerOrDataOptions & { json?: boolean }) => {
      const { runKeyAdd } = await import('./key.ts');
      finish(await runKeyAdd(loadExisting(options), { files, json: options.json === true }));
    });
  withServerOrData(key.command('list'))
    .description('list the keys')
    .option(
      '--expiring <time>',
      'only those that expire within that time, like 30d, by themselves or by a subkey that signs',
      age,
    )
    .option('--json', 'print JSON')
    .action(async (options: ServerOrDataOptions & { expiring?: number; json?: boolean }) => {
      const { runKeyList } = await import('./key.ts');
      const { expiring: expiringMs = null, json = false } = options;
      finish(await runKeyList(loadExisting(options), { expiringMs, json }));
    });
  withServerOrData(key.command('show'))
    .description('show a key with its subkeys, and print it armoured')
    .argument('<fingerprint>', '40 hex digits, or the key ID of 16')
    .option('--json', 'print JSON')
    .action(async (name: string, options: ServerOrDataOptions & { json?: boolean }) => {
      const { runKeyShow } = await import('./key.ts');
      finish(await runKeyShow(loadExisting(options), { name, json: options.json === true }));
    });
  withServerOrData(key.command('export'))
    .description('write keys, armoured in one block, for the file that a policy names')
    .argument('[fingerprint...]', '40 hex digits, or the key ID of 16; all keys unless named')
    .addOption(
      new Option(
        '--for <client>',
        'the client that reads them; keys that it cannot read are left out and named',
      )
        .choices(KEY_READERS)
        .default('gpg-2.2'),
    )
    .option('--json', 'print JSON')
    .action(
      async (names: string[], options: ServerOrDataOptions & { for: KeyReaderName; json?: boolean }) => {
        const { runKeyExport } = await import('./key-export.ts');
        const { for: reader, json = false } = options;
        finish(await runKeyExport(loadExisting(options), { names, reader, json }));
      },
    );
  withServerOrData(key.command('remove'))
    .description(
      'trust a key no longer; what it has signed goes on being served, as signed by an unknown key',
    )
    .argument('<fingerprint>', '40 hex digits, or the key ID of 16; keep a copy with: lookaside key export')
    .option('--json', 'print JSON')
    .action(async (name: string, options: ServerOrDataOptions & { json?: boolean }) => {
      const { runKeyRemove } = await import('./key.ts');
      finish(await runKeyRemove(loadExisting(options), { name, json: options.json === true }));
    });
  addKeyLifeCommands(key, finish);
}
