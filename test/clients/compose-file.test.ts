// docker-compose.yml, as the program that it is for understands it.
import assert from 'node:assert/strict';
import { readFile } from 'node:fs/promises';
import path from 'node:path';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { parse } from 'yaml';
import { needs } from './available.ts';
import { describeOutcome, run } from './command.ts';

const ROOT = fileURLToPath(new URL('../../..', import.meta.url));

test(
  'the compose file is taken without a warning, and every service in it is confined',
  needs('docker-compose'),
  async () => {
    const file = path.join(ROOT, 'docker-compose.yml');
    const config = await run(['docker-compose', '--file', file, 'config'], {
      env: { PATH: process.env.PATH ?? '' },
    });
    assert.equal(config.status, 0, describeOutcome(config));
    assert.equal(config.stderr, '');
    const { services } = parse(config.stdout);
    assert.deepEqual(Object.keys(services), ['lookaside', 'registry']);
    for (const [name, service] of Object.entries<Record<string, unknown>>(services)) {
      assert.equal(service.read_only, true, name);
      assert.deepEqual(service.cap_drop, ['ALL'], name);
      assert.deepEqual(service.security_opt, ['no-new-privileges:true'], name);
    }
  },
);

test('the health check of the compose file is the one of the Dockerfile', async () => {
  const { services } = parse(await readFile(path.join(ROOT, 'docker-compose.yml'), 'utf8'));
  const [, command = ''] =
    /^HEALTHCHECK .*CMD (\[.*\])$/m.exec(await readFile(path.join(ROOT, 'Dockerfile'), 'utf8')) ?? [];
  assert.deepEqual(services.lookaside.healthcheck.test, ['CMD', ...JSON.parse(command)]);
});
