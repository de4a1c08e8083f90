// The values of options, read from text. Each reader throws InvalidArgumentError, which commander prints.
import { InvalidArgumentError } from 'commander';
import { durationMs } from '../domain/duration.ts';
import { isKeyName, parseKeyName } from '../domain/key.ts';
import { parseMonth } from '../domain/ready-question.ts';
import { isTag } from '../domain/reference.ts';
import { parseSizeBytes } from '../domain/size.ts';

/** The values of an option that may be given several times. */
export function collect(value: string, before: readonly string[] = []): readonly string[] {
  return [...before, value];
}

export function tagName(text: string): string {
  if (isTag(text)) return text;
  throw new InvalidArgumentError('Wanted letters, digits and . _ -, at most 128.');
}

export function keyName(text: string): string {
  if (isKeyName(text)) return parseKeyName(text);
  throw new InvalidArgumentError('Wanted a fingerprint of 40 hex digits or a key ID of 16.');
}

const TIME = /^\d{4}-\d{2}-\d{2}(?:T\d{2}:\d{2}(?::\d{2}(?:\.\d{1,3})?)?(?:Z|[+-]\d{2}:\d{2}))?$/;

export function time(text: string): Date {
  const at = new Date(TIME.test(text) ? text : Number.NaN);
  if (!Number.isNaN(at.getTime())) return at;
  throw new InvalidArgumentError('Wanted a day like 2026-11-22, or a time like 2026-11-22T10:00:00Z.');
}

export function age(text: string): number {
  const ms = durationMs(text);
  if (ms !== null) return ms;
  throw new InvalidArgumentError('Wanted a time like 1h, 30m or 7d.');
}

/** Null: `none`. */
export function sizeOrNone(text: string): number | null {
  if (text === 'none') return null;
  const bytes = parseSizeBytes(text);
  if (bytes !== null) return bytes;
  throw new InvalidArgumentError('Wanted a size like 512MiB or 4GiB, or none.');
}

export function month(text: string): string {
  if (parseMonth(text) !== null) return text;
  throw new InvalidArgumentError('Wanted a month like 2026-11.');
}
