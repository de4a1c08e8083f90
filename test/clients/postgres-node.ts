// A node over PostgreSQL in this process, with its door for HTTP.
import { generateKeyPairSync } from 'node:crypto';
import { toServices } from '../../src/cli/serve.ts';
import { openAdministration } from '../../src/compose/administration.ts';
import type { Composed } from '../../src/compose/composed.ts';
import { createLog } from '../../src/compose/log.ts';
import { composeNode } from '../../src/compose/node.ts';
import { loadConfig } from '../../src/config.ts';
import { createHandler } from '../../src/http/app.ts';
import { listen } from '../../src/http/listener.ts';
import { type Uploads, uploadsTo } from './uploads.ts';

/** The log's key of all nodes. */
export const PEM = generateKeyPairSync('ed25519')
  .privateKey.export({ format: 'pem', type: 'pkcs8' })
  .toString();

export interface Node {
  readonly composed: Composed;
  readonly port: number;
  uploads(token: string): Uploads;
  close(): Promise<void>;
}

const settingsOf = (url: string) => ({ LOOKASIDE_DATABASE: url, LOOKASIDE_LOG_KEY: PEM });

export function configOf(url: string, settings: Readonly<Record<string, string>> = {}) {
  const environment = { ...settingsOf(url), ...settings };
  return loadConfig({ flags: {}, environment, workingFolder: '/', parseYaml: null }).config;
}

/** A node in this process; its log is kept to itself. */
export async function openNode(url: string, settings: Readonly<Record<string, string>> = {}): Promise<Node> {
  const config = configOf(url, settings);
  const log = createLog('error', () => undefined);
  const taker = { command: 'test', host: 'here' };
  const composed = await composeNode({
    config,
    current: () => config,
    sites: [],
    log,
    taker,
    offersLogIns: true,
  });
  const services = toServices({ composed, config: () => config, isDraining: () => false, log });
  const handler = createHandler({ services, isLocal: false });
  const listener = await listen({ handler, host: '127.0.0.1', port: 0, tls: null });
  const port = Number(new URL(listener.url).port);
  composed.judge.start();
  return {
    composed,
    port,
    uploads: (token) => uploadsTo(port, token),
    async close() {
      listener.abort();
      await listener.drain();
      await composed[Symbol.asyncDispose]();
    },
  };
}

/** As a command on the machine of the database does it. */
export async function administer(url: string) {
  const options = { taker: { command: 'test', host: 'here' }, onRetry: () => undefined, patienceMs: 1000 };
  return openAdministration(configOf(url), options);
}
