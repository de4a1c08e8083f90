import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { Agent, get } from 'node:http';
import { join } from 'node:path';
import { describe, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { openTempFolder } from '../clients/temp-folder.ts';
import { count } from './promise.ts';

const MAIN = fileURLToPath(new URL('../../src/main.js', import.meta.url));

/** Enough lines to fill any pipe many times over. */
const REQUESTS = count(6000, 2000);

describe('a reader of the access log', () => {
  for (const what of ['stands still', 'has gone'] as const) {
    test(`that ${what} holds up no request`, async () => {
      await using folder = await openTempFolder();
      const args = [MAIN, 'serve', '--listen', '127.0.0.1:0', '--data', join(folder.path, 'data')];
      const server = spawn(process.execPath, args, {
        env: { PATH: process.env.PATH, LOOKASIDE_ACCESS_LOG: 'json' },
        stdio: ['ignore', 'pipe', 'pipe'],
      });
      const agent = new Agent({ keepAlive: true, maxSockets: 8 });
      try {
        const port = await portOf(server.stderr); // standard output has the access log alone
        server.stderr.resume();
        if (what === 'stands still') server.stdout.pause();
        else server.stdout.destroy();
        const statuses = await Promise.all(
          Array.from({ length: REQUESTS }, () =>
            status(agent, port, `/team/app@sha256=${'a'.repeat(64)}/signature-1`),
          ),
        );
        assert.deepEqual(new Set(statuses), new Set([404]));
        assert.equal(server.exitCode, null, 'the server lives');
      } finally {
        agent.destroy();
        server.kill('SIGKILL');
        await once(server, 'exit');
      }
    });
  }
});

async function portOf(output: NodeJS.ReadableStream): Promise<number> {
  let text = '';
  for (;;) {
    const [chunk] = await once(output, 'data');
    text += String(chunk);
    const port = /listening on http:\/\/127\.0\.0\.1:([0-9]+)/.exec(text)?.[1];
    if (port !== undefined) return Number(port);
  }
}

function status(agent: Agent, port: number, path: string): Promise<number> {
  return new Promise((resolve, reject) => {
    get({ agent, host: '127.0.0.1', port, path }, (answer) => {
      answer.resume();
      answer.once('end', () => resolve(answer.statusCode ?? 0));
    }).once('error', reject);
  });
}
