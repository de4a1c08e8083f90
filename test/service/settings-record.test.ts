// The settings in force at a start as an audit event.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { NewAuditEvent } from '../../src/domain/audit.ts';
import { createEventMaker } from '../../src/service/audit.ts';
import { createCertificateRecord, createSettingsRecord } from '../../src/service/settings-record.ts';
import { createClock, createLog } from './hand-driven.ts';

const LISTEN = { name: 'LOOKASIDE_LISTEN', value: ':9000', source: 'flag' };
const READ = { name: 'LOOKASIDE_READ', value: 'public', source: 'default' };

function open(append?: () => Promise<number>) {
  const kept: NewAuditEvent[] = [];
  const log = createLog();
  const makeEvent = createEventMaker({
    clock: createClock(),
    randomBytes: (count) => new Uint8Array(count),
  });
  const audit = {
    append: append ?? (async (event: NewAuditEvent) => kept.push(event)),
    lastReason: async () => kept.at(-1)?.private.reason ?? null,
  };
  return {
    kept,
    log,
    start: createSettingsRecord({ audit, makeEvent, log }),
    certificate: createCertificateRecord({ audit, makeEvent, log }),
  };
}

test('settings are recorded with their sources, what somebody set first, and again only when they differ', async () => {
  const { kept, start } = open();
  await start([READ, LISTEN]);
  await start([READ, LISTEN]);
  assert.deepEqual(
    kept.map(({ action, result, private: { actor, reason } }) => [action, result, actor, reason]),
    [
      [
        'settings',
        'in-force',
        'server',
        '{"LOOKASIDE_LISTEN":{"value":":9000","source":"flag"},"LOOKASIDE_READ":{"value":"public","source":"default"}}',
      ],
    ],
  );
  await start([READ, { ...LISTEN, source: 'environment' }]);
  await start([READ, LISTEN]);
  assert.equal(kept.length, 3);
});

test('a reload right after the start records nothing twice', async () => {
  const { kept, start } = open();
  await Promise.all([start([READ]), start([READ]), start([LISTEN])]);
  assert.equal(kept.length, 2);
});

test('a start goes on where the settings cannot be recorded, and the log says so', async () => {
  const { log, start } = open(() => Promise.reject(new Error('disk full')));
  await start([READ, LISTEN]);
  assert.equal(log.lines.length, 1);
});

test('a certificate is recorded with what clients see of it, and again only when it was renewed', async () => {
  const { kept, certificate } = open();
  const details = {
    sha256: 'a'.repeat(64),
    names: 'DNS:signatures.example',
    issuer: 'CN=authority',
    notBefore: new Date('2026-11-01T00:00:00Z'),
    notAfter: new Date('2027-02-01T00:00:00Z'),
  };
  await certificate(details);
  await certificate(details);
  await certificate({ ...details, sha256: 'b'.repeat(64) });
  assert.deepEqual(
    kept.map(({ action, private: { reason } }) => [action, JSON.parse(reason ?? '').sha256]),
    [
      ['certificate', 'a'.repeat(64)],
      ['certificate', 'b'.repeat(64)],
    ],
  );
});
