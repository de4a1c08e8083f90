// Three nodes over one PostgreSQL, each a process of its own.
import assert from 'node:assert/strict';
import { type LookasideServer, startServer } from '../clients/server.ts';

/** Each is started anew when it was killed. */
export class NodeProcesses {
  readonly #servers: LookasideServer[] = [];
  readonly #settings: Readonly<Record<string, string>>;

  constructor(settings: Readonly<Record<string, string>>) {
    this.#settings = settings;
  }

  async start(): Promise<void> {
    for (let n = 0; n < 3; n += 1) this.#servers.push(await this.#open());
  }

  #open(): Promise<LookasideServer> {
    return startServer({ data: null, settings: this.#settings });
  }

  at(n: number): LookasideServer {
    return this.#servers[n % 3] ?? assert.fail('there are three nodes');
  }

  async kill(n: number): Promise<void> {
    const killed = this.at(n);
    process.kill(killed.pid, 'SIGKILL');
    await killed.ended;
    this.#servers[n % 3] = await this.#open();
  }

  async close(): Promise<void> {
    for (const server of this.#servers) await server[Symbol.asyncDispose]();
  }
}
