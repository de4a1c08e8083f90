// The form in which a lookaside server refuses: {"errors":[{"code","message","detail"}]}.
import { z } from 'zod/v3';
import { type ErrorCode, LookasideError } from '../domain/errors.ts';

/** Reads a value of any kind, or refuses it. */
export type SchemaOf<Value> = z.ZodType<Value, z.ZodTypeDef, unknown>;

/** The server's code, in the type of ours. A newer server may send others: we show them and never switch over them. */
export const errorCode = z.custom<ErrorCode>(
  (value) => typeof value === 'string' && /^[A-Z][A-Z0-9_]{0,63}$/.test(value),
);

/** Facts beside a message, for programs. */
export const detail = z.record(z.string(), z.unknown()).optional();

const refusal = z.object({
  errors: z.tuple([z.object({ code: errorCode, message: z.string().max(10_000), detail })]).rest(z.unknown()),
});

/** The refusal that this answer is; null when the answer is not a refusal of a lookaside server. */
export function readRefusal(value: unknown): LookasideError | null {
  const read = refusal.safeParse(value);
  if (!read.success) return null;
  const [{ code, message, detail }] = read.data.errors;
  return new LookasideError(code, message, detail === undefined ? {} : { detail });
}
