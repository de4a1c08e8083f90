// What the request scripts talk about: a tree with a few images, and the values that scripts name in braces.
import { createHash } from 'node:crypto';
import { mkdir, symlink, utimes, writeFile } from 'node:fs/promises';
import { join } from 'node:path';

const hash = (bytes: Uint8Array) => createHash('sha256').update(bytes).digest('hex');

/** Not real signatures, but what the framing of one asks: a signature packet of the given length. */
function signatureBytes(fill: string, length: number): Buffer {
  return Buffer.concat([Buffer.from([0x89, length >> 8, length & 0xff]), Buffer.alloc(length, fill)]);
}

const FILES = {
  one: signatureBytes('1', 700),
  two: signatureBytes('2', 720),
  large: signatureBytes('3', 20_000),
  release: signatureBytes('4', 600),
};

const A = 'a'.repeat(64);
const B = 'b'.repeat(64);
const C = 'c'.repeat(64);
const E = 'e'.repeat(96);
const F = 'f'.repeat(128);

/** Every file's time, so that answers are the same in every run. */
const STORED_AT = new Date('2026-01-02T03:04:05Z');

export const SCENE_VALUES: Readonly<Record<string, string>> = {
  A: `sha256=${A}`,
  B: `sha256=${B}`,
  C: `sha256=${C}`,
  D: `sha256=${'d'.repeat(64)}`,
  E: `sha384=${E}`,
  F: `sha512=${F}`,
  UPPER: `sha256=${'A'.repeat(64)}`,
  SHORT: `sha256=${'a'.repeat(63)}`,
  LONG: `sha256=${'a'.repeat(65)}`,
  'a-encoded': `sha256%3D${A}`,
  'a-encoded-lower': `sha256%3d${A}`,
  'hash-one': hash(FILES.one),
  'hash-two': hash(FILES.two),
  'hash-large': hash(FILES.large),
  'hash-release': hash(FILES.release),
  // of every file of the scene: a detached signature is readable for clients, and never verifies
  facts:
    '"state":"unreadable","reason":"NOT_INLINE_SIGNED","form":"binary","fingerprint":null,"dockerReference":null,"signedAt":null,"warnings":[]',
  'size-one': String(FILES.one.length),
  'size-large': String(FILES.large.length),
  'stored-at': STORED_AT.toUTCString(),
  'stored-at-iso': STORED_AT.toISOString(),
  'long-name': 'x'.repeat(300),
  'long-target': 'x/'.repeat(5000),
};

export function sceneFile(name: string): Buffer {
  const file = FILES[name as keyof typeof FILES]; // undefined for any other name, which is told below
  if (file === undefined) throw new Error(`the scene has no file "${name}"`);
  return file;
}

/** Lays the scene out below `root`, and beside it a file that no request may reach. */
export async function layScene(root: string): Promise<void> {
  const place = async (path: string, bytes: Uint8Array | string) => {
    const file = join(root, path);
    await mkdir(join(file, '..'), { recursive: true });
    await writeFile(file, bytes);
    await utimes(file, STORED_AT, STORED_AT);
  };
  await place(`team/app@sha256=${A}/signature-1`, FILES.one);
  await place(`team/app@sha256=${A}/signature-2`, FILES.two);
  await place(`team/app@sha256=${A}/index.json`, '{}');
  await place(`team/app@sha256=${B}/signature-1`, FILES.large);
  // a gap: clients never see what is behind it
  await place(`team/app@sha256=${C}/signature-2`, FILES.one);
  // what no client could read is left out, and what follows moves up
  await place(`team/mixed@sha256=${A}/signature-1`, '<html>not found</html>');
  await place(`team/mixed@sha256=${A}/signature-2`, FILES.one);
  await place(`team/mixed@sha256=${A}/signature-3`, '-----BEGIN PGP MESSAGE-----\n');
  await place(`team/mixed@sha256=${A}/signature-4`, '');
  await place(`team/mixed@sha256=${A}/signature-5`, FILES.two);
  await place(`a/b/c/d/e@sha256=${A}/signature-1`, FILES.one);
  await place(`v2@sha256=${A}/signature-1`, FILES.one);
  await place(`v2/app@sha256=${A}/signature-1`, FILES.two);
  await place(`team/other@sha384=${E}/signature-1`, FILES.one);
  await place(`team/other@sha512=${F}/signature-1`, FILES.two);
  await place(`sha256=${A}/signature-1`, FILES.release);
  await place(`openshift/release/sha256=${B}/signature-1`, FILES.release);
  await place('empty/readme.txt', 'no signature here');
  await place('.lookaside/tmp/signature-1', FILES.one);
  await place('../secret/signature-1', FILES.one);
  await mkdir(join(root, `team/folder@sha256=${A}/signature-1`), { recursive: true });
  await mkdir(join(root, `team/links@sha256=${A}`), { recursive: true });
  await symlink('/etc/passwd', join(root, `team/links@sha256=${A}/signature-1`));
  await symlink(`../app@sha256=${A}/signature-2`, join(root, `team/links@sha256=${A}/signature-2`));
  await symlink(join(root, '../secret'), join(root, `team/out@sha256=${A}`));
  await symlink(join(root, `team/app@sha256=${A}`), join(root, `team/alias@sha256=${A}`));
}
