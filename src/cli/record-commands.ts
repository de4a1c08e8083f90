// The groups of commands that ask the records: audit and access.
import type { Command } from 'commander';
import { addAccessExport } from './access-rule-commands.ts';
import { addAccessCommands, addAuditCommands } from './audit-commands.ts';
import type { CommandTools } from './command-tools.ts';
import { addAuditProofs } from './proof-commands.ts';

export function addRecords(program: Command, tools: CommandTools): void {
  const audit = program.command('audit').description('ask who signed, who uploaded and who changed what');
  addAuditCommands(audit, tools);
  addAuditProofs(audit, tools);
  const access = program.command('access').description('ask who fetched what; export who may sign what');
  addAccessCommands(access, tools);
  addAccessExport(access, tools);
}
