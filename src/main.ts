#!/usr/bin/env node
import { catchServerSignals } from './cli/server-signals.ts';

// ahead of loading all that a server is made of: until it is caught, SIGHUP ends a process
const signals = process.argv[2] === 'serve' ? catchServerSignals() : null;
const { runProgram } = await import('./cli/program.ts');
process.exitCode = await runProgram(process.argv, signals);
// left to itself, Node.js gives the signals back and then ends, so that SIGHUP could still make a death of it
if (signals !== null) process.once('beforeExit', () => process.exit());
