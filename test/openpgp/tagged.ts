// The form of a signature that begins with NUL and the name of what follows.

export function tagged(name: string, data: Uint8Array): Uint8Array {
  return Buffer.concat([Buffer.from(`\0${name}\n`), data]);
}
