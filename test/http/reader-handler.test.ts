// A reader process' handler, where its own parts fail.
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { test } from 'node:test';
import { createReaderHandler, type ReaderServices } from '../../src/http/reader-handler.ts';

test('a read that fails in a reader process closes its connection, and the log says why', async (t) => {
  const lines: string[] = [];
  const error = (fields: object, message: string) => {
    const { err } = fields as { err: Error };
    lines.push(`${message}: ${err.message}`);
  };
  const services = {
    clock: { now: () => new Date(), monotonicMs: () => performance.now() },
    places: () => [],
    settings: () => ({ prefix: '' }),
    isDraining: () => {
      throw new Error('broken state');
    },
  };
  const handler = createReaderHandler({
    services: services as unknown as ReaderServices,
    passOn: () => assert.fail('nothing is passed on'),
    log: { debug: () => undefined, info: () => undefined, warn: () => undefined, error },
  });
  const server = createServer(handler).listen(0, '127.0.0.1');
  t.after(() => void server.close());
  await once(server, 'listening');
  const { port } = server.address() as AddressInfo;
  await assert.rejects(fetch(`http://127.0.0.1:${port}/a@sha256=${'0'.repeat(64)}/signature-1`));
  assert.deepEqual(
    [...new Set(lines)],
    ['requests failed in a reader process, and their connections were closed: broken state'],
  );
});
