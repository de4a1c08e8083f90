// What rows of stores mean, for records.
import type { AuditRow } from './records.ts';

/** A row of a table of audit events. */
export interface StoredEvent {
  readonly seq: number;
  readonly at_ms: number;
  readonly leaf: string;
  readonly private: string | null;
}

interface Leaf {
  readonly action: string;
  readonly site: string;
  readonly image: string | null;
  readonly signatureSha256: string | null;
  readonly fingerprint: string | null;
  readonly result: string;
  readonly count?: number;
  readonly since?: string;
}

interface Private {
  readonly actor: string;
  readonly address: string | null;
  readonly requestId: string | null;
  readonly reason: string | null;
}

export function auditRowOf({ seq, at_ms, leaf, private: text }: StoredEvent): AuditRow {
  // both are texts of our own, which their triggers keep as they are
  const {
    action,
    site,
    image,
    signatureSha256,
    fingerprint,
    result,
    count = 1,
    since,
  } = JSON.parse(leaf) as Leaf;
  const { actor, address, requestId, reason } = text === null ? FORGOTTEN : (JSON.parse(text) as Private);
  return {
    seq,
    at: new Date(at_ms),
    action,
    site,
    image: image?.replace('=', ':') ?? null,
    signatureSha256,
    fingerprint,
    result,
    count,
    since: since === undefined ? null : new Date(since),
    actor,
    address,
    requestId,
    reason,
  };
}

const FORGOTTEN = { actor: null, address: null, requestId: null, reason: null };
