// Audit events: what somebody changed. A tamper-evident log is made over the leaves. A leaf names nobody; a salted hash
// binds it to who made the change.

export const AUDIT_ACTIONS = [
  'upload',
  'import',
  'restore',
  'key-add',
  'key-remove',
  'key-retire',
  'key-unretire',
  'key-revoke',
  'key-refresh',
  'token-create',
  'token-revoke',
  // to the web pages
  'log-in',
  'log-out',
  'query',
  'export',
  'forget',
  'signer-add',
  'signer-edit',
  'signer-disable',
  'signer-enable',
  'signer-remove',
  'grant-add',
  'grant-remove',
  'oidc-add',
  'oidc-remove',
  // the log's own: it signs under another name or key; it goes on from a smaller tree
  'log-identity',
  'log-rollback',
  // those in force from a start of the server on, and the certificate for TLS
  'settings',
  'certificate',
  'mirror-add',
  'mirror-edit',
  'mirror-remove',
  'mirror-sync',
  'mirror-grow',
  'withdraw',
  'withdraw-end',
] as const;
export type AuditAction = (typeof AUDIT_ACTIONS)[number];

/** Who did it and from where. It is kept beside the leaf, so that it can be deleted without breaking the log. */
export interface AuditPrivate {
  /** The token's name; `administrator` for commands on the server's machine; `server` for what the server did itself. */
  readonly actor: string;
  readonly address: string | null;
  readonly requestId: string | null;
  /** Why it was refused, or a remark. */
  readonly reason: string | null;
}

export interface NewAuditEvent {
  readonly at: Date;
  readonly action: AuditAction;
  readonly site: string;
  /** The image's folder (`team/app@sha256=…`), or null. */
  readonly image: string | null;
  readonly signatureSha256: string | null;
  /** The fingerprint of the key that the event is about. */
  readonly fingerprint: string | null;
  /** `created`, `added`, `updated`, `removed`, `revoked`, or the code of a refusal. */
  readonly result: string;
  /** When one event stands for several refusals: how many there were, and when the first was; `at` is when the last was. */
  readonly merged?: { readonly count: number; readonly since: Date };
  readonly private: AuditPrivate;
  /** 32 random bytes in hex. */
  readonly salt: string;
}

/** The private part in the form that is hashed: RFC 8785 JSON. */
export function privateText({ actor, address, requestId, reason }: AuditPrivate): string {
  return canonicalJson({ actor, address, requestId, reason });
}

/** The leaf of event number `seq`: RFC 8785 JSON, never rewritten. `privateHash` is the hex SHA-256 of salt‖private text. */
export function leafText(seq: number, privateHash: string, event: NewAuditEvent): string {
  const { at, action, site, image, signatureSha256, fingerprint, result, merged } = event;
  return canonicalJson({
    v: 1,
    seq,
    at: at.toISOString(),
    action,
    site,
    image,
    signatureSha256,
    fingerprint,
    result,
    ...(merged === undefined ? {} : { count: merged.count, since: merged.since.toISOString() }),
    private: privateHash,
  });
}

/**
 * RFC 8785 for a flat object: names sorted by their UTF-16 units, no blanks, numbers and strings as ECMAScript writes
 * them.
 */
function canonicalJson(members: Readonly<Record<string, string | number | null>>): string {
  const names = Object.keys(members).sort();
  return JSON.stringify(Object.fromEntries(names.map((name) => [name, wellFormed(members[name] ?? null)])));
}

// RFC 8785 does not allow a lone surrogate
function wellFormed(value: string | number | null): string | number | null {
  return typeof value === 'string' ? value.replace(/\p{Surrogate}/gu, '\ufffd') : value;
}
