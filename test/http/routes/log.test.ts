// The log of audit events on a closed site: entries name images, heads and hashes name nothing.
import assert from 'node:assert/strict';
import { BlockList } from 'node:net';
import { test } from 'node:test';
import { serveOver } from '../served.ts';

const ENTRY = Buffer.from('team/secret');

test('a closed site gives entries of the log to readers with a token alone, and heads and hashes to everybody', async () => {
  await using served = await serveOver({
    auditLog: {
      identity: { origin: 'log.example', vkey: 'log.example+0+key' },
      checkpoint: async () => null,
      tile: async ({ level }) => (level === null ? ENTRY : Buffer.alloc(32)),
    },
    settings: () => ({
      prefix: '',
      publicUrl: null,
      read: 'token',
      listing: true,
      ui: true,
      accessLog: 'off',
      trustedProxies: new BlockList(),
      maxSignatureBytes: 1024,
    }),
  });
  const entries = `${served.url}/log/tile/entries/000.p/1`;
  const refused = await fetch(entries);
  assert.equal(refused.status, 401);
  assert.doesNotMatch(await refused.text(), /secret/);
  const given = await fetch(entries, { headers: { authorization: `Bearer ${served.tokens.reader}` } });
  assert.deepEqual([given.status, await given.text()], [200, ENTRY.toString()]);
  assert.match(given.headers.get('cache-control') ?? '', /^private/);
  assert.equal((await fetch(`${served.url}/log/tile/0/000.p/1`)).status, 200);
  assert.equal((await fetch(`${served.url}/log/key`)).status, 200);
});
