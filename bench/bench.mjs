// `npm run bench`: how fast signatures are read; `npm run bench -- start`: what it costs to start a command.
const name = process.argv[2] ?? 'read';
const benches = { read: './read.mjs', start: './start.mjs' };
const bench = benches[name];
if (bench === undefined) {
  process.stderr.write(`no bench ${name}; there are: ${Object.keys(benches).join(', ')}\n`);
  process.exit(2);
}
await import(bench);
