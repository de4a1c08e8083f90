// The order that people expect for numbered names: signature-2 before signature-10.

/** A key whose plain byte order is the natural order of names (ASCII). Digit runs compare as whole numbers. */
export function naturalKey(name: string): string {
  return name.replace(/[0-9]+/g, (digits) => {
    const significant = digits.replace(/^0+(?=.)/, '');
    // the length first, in three digits (a sha512 has 128), so that a longer number sorts after a shorter one
    return `0${String(significant.length).padStart(3, '0')}${significant}`;
  });
}
