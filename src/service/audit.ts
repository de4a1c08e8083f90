// Audit events as services make them: who did what to which image or key, with a salt for the part that names people.
import type { AuditAction, NewAuditEvent } from '../domain/audit.ts';
import { type ImageId, imageFolder } from '../domain/image.ts';
import type { Clock } from '../domain/ports.ts';

/** Who asks for a change. */
export interface Actor {
  /** The token's name, or `administrator`. */
  readonly name: string;
  /** Null on the server's machine. */
  readonly address: string | null;
  readonly requestId: string | null;
}

export const ADMINISTRATOR: Actor = { name: 'administrator', address: null, requestId: null };

/** What the server does of its own accord. */
export const SERVER: Actor = { name: 'server', address: null, requestId: null };

export interface Deed {
  readonly action: AuditAction;
  readonly image?: ImageId | null;
  readonly signatureSha256?: string | null;
  readonly fingerprint?: string | null;
  readonly result: string;
  readonly reason?: string | null;
}

export type MakeEvent = (deed: Deed, actor: Actor) => NewAuditEvent;

export interface EventMakerOptions {
  readonly site: string;
  readonly clock: Clock;
  readonly randomBytes: (count: number) => Uint8Array;
}

const SALT_BYTES = 32;

export function createEventMaker({ site, clock, randomBytes }: EventMakerOptions): MakeEvent {
  return (deed, { name: actor, address, requestId }) => ({
    at: clock.now(),
    action: deed.action,
    site,
    image: deed.image == null ? null : imageFolder(deed.image),
    signatureSha256: deed.signatureSha256 ?? null,
    fingerprint: deed.fingerprint ?? null,
    result: deed.result,
    private: { actor, address, requestId, reason: deed.reason ?? null },
    salt: Buffer.from(randomBytes(SALT_BYTES)).toString('hex'),
  });
}
