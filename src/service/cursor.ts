// Cursors of pages over the index: opaque to clients, and valid for one index file and one order.
import { LookasideError } from '../domain/errors.ts';
import type { SignaturePage } from '../domain/ports.ts';

export interface Cursor {
  /** Generation of the index that the id belongs to. */
  readonly generation: string;
  readonly order: SignaturePage['order'];
  /** Id of the last row seen; 0 before the first. */
  readonly id: number;
}

/** Letters, digits, `-` and `_`. */
export function formatCursor({ generation, order, id }: Cursor): string {
  return Buffer.from(JSON.stringify([generation, order, id])).toString('base64url');
}

/**
 * @throws LookasideError REQUEST_INVALID, detail `{"reason":"cursor"}`: the cursor is not from this server, or belongs to
 * another index or order
 */
export function parseCursor(text: string, { generation, order }: Omit<Cursor, 'id'>): number {
  const cursor = decode(text);
  if (cursor === null) return refuse('this server did not give out this cursor');
  if (cursor.generation !== generation)
    return refuse('the index was rebuilt after this cursor was given out');
  if (cursor.order !== order) return refuse(`the cursor is for order=${cursor.order}, not with ${order}`);
  return cursor.id;
}

function decode(text: string): Cursor | null {
  try {
    const value: unknown = JSON.parse(Buffer.from(text, 'base64url').toString());
    if (!Array.isArray(value)) return null;
    const [generation, order, id]: readonly unknown[] = value;
    if (typeof generation !== 'string' || (order !== 'newest' && order !== 'oldest')) return null;
    if (typeof id !== 'number' || !Number.isSafeInteger(id) || id < 0) return null;
    const cursor = { generation, order, id } as const;
    return formatCursor(cursor) === text ? cursor : null;
  } catch {
    return null; // only SyntaxError: not JSON
  }
}

function refuse(complaint: string): never {
  throw new LookasideError('REQUEST_INVALID', `${complaint}; begin again without a cursor`, {
    detail: { reason: 'cursor' },
  });
}
