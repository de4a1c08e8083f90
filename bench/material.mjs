// What is served and uploaded: trees of images, and signatures that verify. It is made once for a folder, and is the same
// in every run, so that a folder that is kept (--folder) spares making it again.
import { createHash } from 'node:crypto';
import { existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { createMessage, generateKey, readPrivateKey, sign } from 'openpgp';
import { progressOf } from './progress.mjs';

/** As many bytes as a signature by a key of RSA-4096 has. */
const SIGNATURE_BYTES = 850;
const SIGNED_AT_ONCE = 8;

export function digestOf(number) {
  return createHash('sha256').update(String(number)).digest('hex');
}

export function imagePath(number) {
  return `team/app-${number % 10}@sha256=${digestOf(number)}`;
}

/** The bytes of signature-1 of the image: each image has other ones, so that a mixed-up answer shows. */
export function bytesOf(number) {
  const bytes = Buffer.alloc(SIGNATURE_BYTES, digestOf(number));
  bytes.set([0x89, 0x03, 0x4f]); // a signature packet, as far as its first bytes tell
  return bytes;
}

/** A tree of so many images with one signature each, or its images from `from` to `to`. Returns its folder. */
export function layTree(folder, to, from = 0, images = to) {
  const done = `${folder}.laid`;
  if (existsSync(done)) return folder;
  mkdirSync(dirname(join(folder, imagePath(0))), { recursive: true });
  for (let number = from; number < to; number += 1) {
    const image = join(folder, imagePath(number));
    makeFolder(image);
    writeFileSync(join(image, 'signature-1'), bytesOf(number));
  }
  if (to === images) writeFileSync(done, '');
  return folder;
}

/** It may be there: a run that was ended has laid a part of the tree. */
function makeFolder(path) {
  try {
    mkdirSync(path);
  } catch (error) {
    if (error.code !== 'EEXIST') throw error;
  }
}

/** A prime that divides no number of images here. */
const STRIDE = 7919;

/**
 * The names that are asked for, a line each: signature-1 and signature-2 of each image in turn, or names of unsigned images. With `of`,
 * so many images spread over a tree of as many as that, none next to the one before.
 */
export function layNames(file, { images, areMissing, of = null }) {
  const lines = [];
  for (let turn = 0; turn < images; turn += 1) {
    const number = of === null ? turn : (turn * STRIDE) % of;
    if (areMissing) lines.push(`/team/app@sha256=${digestOf(`missing ${number}`)}/signature-1`);
    else lines.push(`/${imagePath(number)}/signature-1`, `/${imagePath(number)}/signature-2`);
  }
  writeFileSync(file, `${lines.join('\n')}\n`);
  return file;
}

/** A key of RSA-4096 and signatures by it, `each` of `count` images: a staging folder as podman writes it. */
export async function laySigned(folder, count, each = 1) {
  mkdirSync(folder, { recursive: true });
  const keys = await keyIn(folder);
  const staging = join(folder, 'staging');
  const missing = [];
  for (let number = 0; number < count; number += 1) {
    for (let signature = 1; signature <= each; signature += 1) {
      if (!existsSync(join(staging, signedPath(number), `signature-${signature}`)))
        missing.push([number, signature]);
    }
  }
  const [wanted, say] = [missing.length, progressOf('making signatures', missing.length)];
  while (missing.length > 0) {
    say(wanted - missing.length);
    await Promise.all(
      missing.splice(0, SIGNED_AT_ONCE).map((which) => signOne(staging, which, keys.privateKey)),
    );
  }
  return { staging, publicKey: keys.publicKey };
}

export function signedPath(number) {
  return `team/app@sha256=${digestOf(`signed ${number}`)}`;
}

async function keyIn(folder) {
  const [secret, publicKey] = [join(folder, 'secret.asc'), join(folder, 'key.gpg')];
  if (!existsSync(publicKey)) {
    const made = await generateKey({
      userIDs: [{ name: 'bench', email: 'bench@example.invalid' }],
      type: 'rsa',
      rsaBits: 4096,
      format: 'object',
    });
    writeFileSync(secret, made.privateKey.armor());
    writeFileSync(publicKey, made.publicKey.write());
  }
  return { privateKey: await readPrivateKey({ armoredKey: readFileSync(secret, 'utf8') }), publicKey };
}

async function signOne(staging, [number, which], privateKey) {
  const payload = JSON.stringify({
    critical: {
      type: 'atomic container signature',
      image: { 'docker-manifest-digest': `sha256:${digestOf(`signed ${number}`)}` },
      identity: { 'docker-reference': `registry.example/team/app:v${which}` },
    },
    optional: { creator: 'bench' },
  });
  const message = await createMessage({ binary: Buffer.from(payload) });
  const signature = await sign({ message, signingKeys: privateKey, format: 'binary' });
  const image = join(staging, signedPath(number));
  mkdirSync(image, { recursive: true });
  writeFileSync(join(image, `signature-${which}`), signature);
}
