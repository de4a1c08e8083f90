// What is kept beside prepared bytes until they are a complete signature: enough to finish, after a crash, what was
// begun.
import { z } from 'zod';
import { AUDIT_ACTIONS, type NewAuditEvent } from './audit.ts';
import { type ImageId, imageFolder, parseImageFolder } from './image.ts';

interface Intended {
  readonly image: ImageId;
  /** SHA-256 of the bytes, 64 lower-case hex digits. */
  readonly sha256: string;
  readonly event: NewAuditEvent;
}

export interface UploadIntent extends Intended {
  readonly kind: 'upload';
  readonly uploader: string;
  readonly storedAt: Date;
  readonly remap: string | null;
}

/** Puts an uploaded signature back where another program overwrote it. */
export interface RestoreIntent extends Intended {
  readonly kind: 'restore';
}

export type Intent = UploadIntent | RestoreIntent;

/** JSON, for parseIntent. */
export function intentText(intent: Intent): string {
  const { image, ...rest } = intent;
  return JSON.stringify({ v: 1, site: image.site, folder: imageFolder(image), ...rest });
}

/** Null when lookaside did not write the text, or when it is cut short. */
export function parseIntent(text: string): Intent | null {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    return null; // only SyntaxError: cut short
  }
  const { success, data } = INTENT.safeParse(value);
  if (!success) return null;
  const { site, folder, v: _, ...intent } = data;
  const image = parseImageFolder(site, folder);
  return image === null ? null : { ...intent, image };
}

const textOrNull = z.string().nullable();
const time = z.iso.datetime().transform((text) => new Date(text));
const sha256 = z.string().regex(/^[0-9a-f]{64}$/);

const event = z.strictObject({
  at: time,
  action: z.enum(AUDIT_ACTIONS),
  site: z.string(),
  image: textOrNull,
  signatureSha256: textOrNull,
  fingerprint: textOrNull,
  result: z.string(),
  private: z.strictObject({
    actor: z.string(),
    address: textOrNull,
    requestId: textOrNull,
    reason: textOrNull,
  }),
  salt: z.string(),
});

// one that was written before there were remaps has none
const remap = textOrNull.default(null);

const intended = { v: z.literal(1), site: z.string(), folder: z.string(), sha256, event };

const INTENT = z.discriminatedUnion('kind', [
  z.strictObject({ kind: z.literal('upload'), ...intended, uploader: z.string(), storedAt: time, remap }),
  z.strictObject({ kind: z.literal('restore'), ...intended }),
]);
