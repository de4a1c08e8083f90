// One door: whoever administers gets the same answers in the process that owns the data directory, from the data directory on
// this machine with and without its server, through the socket and over the network.
import path from 'node:path';
import { setTimeout as wait } from 'node:timers/promises';
import { openAdministration } from '../../src/compose/administration.ts';
import { systemClock } from '../../src/compose/clock.ts';
import { createLog } from '../../src/compose/log.ts';
import { compose } from '../../src/compose/server.ts';
import { sitesOf } from '../../src/compose/site.ts';
import { type Config, loadConfig } from '../../src/config.ts';
import { createAdministration } from '../../src/service/administration.ts';
import { ADMINISTRATOR } from '../../src/service/audit.ts';
import { connectAdministration } from '../../src/upstream/administration.ts';
import { startServer } from '../clients/server.ts';
import { administrationContract } from '../contract/administration.ts';

const TAKER = { command: 'test', host: 'here' };
const WAYS = { onRetry: () => undefined, patienceMs: 10_000 };
const ASKING = { ...WAYS, wait: (ms: number) => wait(ms), random: Math.random };

function configOf(flags: { readonly data?: string; readonly url?: string }): Config {
  return loadConfig({ flags, environment: {}, workingFolder: '/', parseYaml: null }).config;
}

function throughSocket(data: string) {
  return connectAdministration({ at: { socketPath: path.join(data, 'lookaside.sock') }, ...ASKING });
}

administrationContract('in the process that owns the data directory', async (data) => {
  const config = configOf({ data });
  const log = createLog('error');
  const composed = await compose({
    config,
    current: () => config,
    sites: sitesOf(config),
    log,
    taker: TAKER,
  });
  return {
    administration: createAdministration({ ...composed, clock: systemClock, about: config }, ADMINISTRATOR),
    close: () => composed[Symbol.asyncDispose](),
  };
});

administrationContract('on a data directory that no server holds', async (data) => {
  const administration = await openAdministration(configOf({ data }), { taker: TAKER, ...WAYS });
  return { administration, close: () => administration[Symbol.asyncDispose]() };
});

administrationContract('on a data directory beside its server', async (data) => {
  const server = await startServer({ data });
  const administration = await openAdministration(configOf({ data }), { taker: TAKER, ...WAYS });
  return {
    administration,
    async close() {
      await administration[Symbol.asyncDispose]();
      await server.stop();
    },
  };
});

administrationContract("through a server's socket", async (data) => {
  const server = await startServer({ data });
  const administration = throughSocket(data);
  return {
    administration,
    async close() {
      await administration[Symbol.asyncDispose]();
      await server.stop();
    },
  };
});

administrationContract('over the network', async (data) => {
  const server = await startServer({ data });
  await using local = throughSocket(data);
  const { text: token } = await local.tokens.create({ name: 'network', role: 'admin', lifeMs: null });
  const administration = connectAdministration({
    at: { url: server.url, token, ca: null, hasProxies: false },
    ...ASKING,
  });
  return {
    administration,
    async close() {
      await administration[Symbol.asyncDispose]();
      await server.stop();
    },
  };
});
