// Audit events for tests of stores.
import { randomBytes } from 'node:crypto';
import type { NewAuditEvent } from '../../src/domain/audit.ts';

/** An event with a salt of its own. */
export function auditEvent(overrides: Partial<NewAuditEvent> = {}): NewAuditEvent {
  return {
    at: new Date('2026-11-22T10:00:00.123Z'),
    action: 'upload',
    site: 'default',
    image: null,
    signatureSha256: null,
    fingerprint: null,
    result: 'created',
    private: { actor: 'alice', address: '192.0.2.7', requestId: null, reason: null },
    salt: randomBytes(32).toString('hex'),
    ...overrides,
  };
}
