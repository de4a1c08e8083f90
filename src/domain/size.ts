// Sizes as people write them.

const UNIT_BYTES: Readonly<Record<string, number>> = {
  B: 1,
  KiB: 1024,
  MiB: 1024 ** 2,
  GiB: 1024 ** 3,
  TiB: 1024 ** 4,
};

/** The bytes that a text like `512MiB` or `4GiB` says; null for any other text. */
export function parseSizeBytes(text: string): number | null {
  const match = /^([0-9]{1,9})(B|KiB|MiB|GiB|TiB)$/.exec(text);
  const unit = UNIT_BYTES[match?.[2] ?? ''];
  return match === null || unit === undefined ? null : Number(match[1]) * unit;
}
