import assert from 'node:assert/strict';
import { statSync } from 'node:fs';
import { get } from 'node:http';
import { networkInterfaces } from 'node:os';
import { join } from 'node:path';
import { describe, test } from 'node:test';
import { listen, listenOnSocket } from '../../src/http/listener.ts';
import { openTempFolder } from '../clients/temp-folder.ts';

const handler = (_: unknown, res: import('node:http').ServerResponse) => void res.end('ok');

function status(options: { host: string; port: number } | { socketPath: string }): Promise<number> {
  return new Promise((resolve, reject) => {
    get({ ...options, agent: false }, (answer) => {
      answer.resume();
      resolve(answer.statusCode ?? 0);
    }).once('error', reject);
  });
}

describe('a listener', () => {
  test('without a host is reached by every address of the machine', async () => {
    const server = await listen({ handler, host: null, port: 0, tls: null });
    try {
      const addresses = Object.values(networkInterfaces()).flatMap((all) => all ?? []);
      const own = addresses.filter(({ internal }) => internal).map(({ address }) => address);
      assert.ok(own.includes('127.0.0.1'));
      for (const host of own) assert.equal(await status({ host, port: server.port }), 200, host);
    } finally {
      server.abort();
      await server.drain();
    }
  });

  test('with a host is reached by that alone', async () => {
    const server = await listen({ handler, host: '127.0.0.1', port: 0, tls: null });
    try {
      assert.equal(server.url, `http://127.0.0.1:${server.port}`);
      assert.equal(await status({ host: '127.0.0.1', port: server.port }), 200);
      await assert.rejects(status({ host: '127.0.0.2', port: server.port }), { code: 'ECONNREFUSED' });
    } finally {
      server.abort();
      await server.drain();
    }
  });

  test('on a Unix socket lets in its owner alone', async () => {
    await using folder = await openTempFolder();
    const socketPath = join(folder.path, 'lookaside.sock');
    const server = await listenOnSocket(handler, socketPath);
    try {
      assert.equal(statSync(socketPath).mode & 0o777, 0o600);
      assert.equal(await status({ socketPath }), 200);
    } finally {
      server.abort();
      await server.drain();
    }
  });
});
