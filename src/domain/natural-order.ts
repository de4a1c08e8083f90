// The order that people expect for numbered names: signature-2 before signature-10.

const ZERO = 0x30;
const NINE = 0x39;

/** A key whose plain byte order is the natural order of names (ASCII). Digit runs compare as whole numbers. */
export function naturalKey(name: string): string {
  // no expression: a digest has some fifteen runs, and a scan makes a key of each image
  let key = '';
  let copied = 0;
  for (let at = 0; at < name.length; at += 1) {
    if (!isDigit(name, at)) continue;
    let significant = at;
    let end = at + 1;
    while (isDigit(name, end)) end += 1;
    while (significant < end - 1 && name.charCodeAt(significant) === ZERO) significant += 1;
    key += name.slice(copied, at) + lengthKey(end - significant);
    copied = significant;
    at = end;
  }
  return key + name.slice(copied);
}

function isDigit(name: string, at: number): boolean {
  const code = name.charCodeAt(at); // NaN beyond the end
  return code >= ZERO && code <= NINE;
}

/** The length first, in three digits (a sha512 has 128), so that a longer number sorts after a shorter one. */
function lengthKey(digits: number): string {
  return LENGTH_KEYS[digits] ?? lengthKeyOf(digits);
}

function lengthKeyOf(digits: number): string {
  return `0${String(digits).padStart(3, '0')}`;
}

const LENGTH_KEYS = Array.from({ length: 256 }, (_, digits) => lengthKeyOf(digits));
