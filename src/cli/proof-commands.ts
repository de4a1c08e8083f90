// The words and options of `lookaside audit verify`, `prove` and `check`.
import type { Command } from 'commander';
import { type CommandTools, type ServerOrDataOptions, withServerOrData } from './command-tools.ts';
import { loadExisting } from './load-config.ts';
import { collect } from './option-values.ts';

interface AuditCheckFlags {
  readonly key: string;
  readonly witness?: readonly string[];
  readonly signature?: string;
  readonly json?: boolean;
}

export function addAuditProofs(audit: Command, { finish }: CommandTools): void {
  withServerOrData(audit.command('verify'))
    .description(
      'check every audit event against the tree of the log, and the tree against its signed checkpoints',
    )
    .option('--from <checkpoint>', 'file of an older checkpoint that the log must go on from')
    .option(
      '--key <vkey>',
      "the log's verifier key, or a file that holds it; by default the one that the log itself names",
    )
    .option('--json', 'print JSON')
    .action(async (options: ServerOrDataOptions & { from?: string; key?: string; json?: boolean }) => {
      const { runAuditVerify } = await import('./audit-proof.ts');
      const { from = null, key = null, json = false } = options;
      finish(await runAuditVerify(loadExisting(options), { from, key, json }));
    });
  withServerOrData(audit.command('prove'))
    .description('write a proof that an event is in the log, to be checked without the server')
    .argument(
      '<path|seq>',
      'a signature like team/app@sha256=0123…/signature-1, or the number of an audit event',
    )
    .option(
      '-o, --output <file>',
      'where to write it, usually with the ending .tlog-proof (default: standard output)',
    )
    .option('--json', 'print JSON')
    .action(async (what: string, options: ServerOrDataOptions & { output?: string; json?: boolean }) => {
      const { runAuditProve } = await import('./audit-proof.ts');
      const { output = null, json = false } = options;
      finish(await runAuditProve(loadExisting(options), { what, output, json }));
    });
  audit
    .command('check')
    .description('check a proof with nothing but the key of the log, and show the event')
    .argument('<file>', 'the proof that lookaside audit prove has written; - is standard input')
    .requiredOption('--key <vkey>', "the log's verifier key, or a file that holds it")
    .option(
      '--witness <vkey>',
      'the verifier key of a witness that must have cosigned, or a file that holds it; repeatable',
      collect,
    )
    .option('--signature <file>', 'the signature that the proof must be about')
    .option('--json', 'print JSON')
    .action(async (file: string, options: AuditCheckFlags) => {
      const { runAuditCheck } = await import('./audit-check.ts');
      const { key, witness: witnesses = [], signature = null, json = false } = options;
      finish(await runAuditCheck({ file, key, witnesses, signature, json }));
    });
}
