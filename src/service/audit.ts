// Creates audit events: who did what to which image or key, with a salt for the part that names people.
import type { AuditAction, NewAuditEvent } from '../domain/audit.ts';
import { DEFAULT_SITE, type ImageId, imageFolder } from '../domain/image.ts';
import type { Clock } from '../domain/ports.ts';

/** Who asks for a change. */
export interface Actor {
  /** The token's name, or `administrator`. */
  readonly name: string;
  /** Null on the server's machine. */
  readonly address: string | null;
  readonly requestId: string | null;
  /** Name of the signer whose grants bind what it uploads; null or left out: none. */
  readonly signer?: string | null;
  /** The same caller as another signer, when an OIDC token is the subject of several: what no grant of one covers, one of another may. */
  readonly others?: readonly Actor[];
  /** It may upload whatever it likes: it could give itself every grant. */
  readonly isAdministrator?: boolean;
}

export const ADMINISTRATOR: Actor = {
  name: 'administrator',
  address: null,
  requestId: null,
  isAdministrator: true,
};

/** The actor for what the server does by itself. */
export const SERVER: Actor = { name: 'server', address: null, requestId: null };

/** The actor's name where nobody knows who it is. */
export const ANONYMOUS = 'anonymous';

export interface Deed {
  readonly action: AuditAction;
  readonly image?: ImageId | null;
  /** Where it happened, when it is about no image that is known. Left out with an image, and by what concerns all sites. */
  readonly site?: string;
  readonly signatureSha256?: string | null;
  readonly fingerprint?: string | null;
  readonly result: string;
  readonly reason?: string | null;
}

export type MakeEvent = (deed: Deed, actor: Actor) => NewAuditEvent;

export interface EventMakerOptions {
  readonly clock: Clock;
  readonly randomBytes: (count: number) => Uint8Array;
}

const SALT_BYTES = 32;

export function createEventMaker({ clock, randomBytes }: EventMakerOptions): MakeEvent {
  return (deed, { name: actor, address, requestId }) => ({
    at: clock.now(),
    action: deed.action,
    site: deed.image?.site ?? deed.site ?? DEFAULT_SITE,
    image: deed.image == null ? null : imageFolder(deed.image),
    signatureSha256: deed.signatureSha256 ?? null,
    fingerprint: deed.fingerprint ?? null,
    result: deed.result,
    private: { actor, address, requestId, reason: deed.reason ?? null },
    salt: Buffer.from(randomBytes(SALT_BYTES)).toString('hex'),
  });
}
