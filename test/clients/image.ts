// Tiny container images as OCI layouts, made from nothing.
// Source: OCI image specification 1.0, image-layout.md, manifest.md, image-index.md.
import { createHash } from 'node:crypto';
import { mkdir, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { gzipSync } from 'node:zlib';

const INDEX = 'application/vnd.oci.image.index.v1+json';
const MANIFEST = 'application/vnd.oci.image.manifest.v1+json';
const CONFIG = 'application/vnd.oci.image.config.v1+json';
const LAYER = 'application/vnd.oci.image.layer.v1.tar+gzip';

interface Descriptor {
  readonly mediaType: string;
  readonly digest: string;
  readonly size: number;
  readonly platform?: { readonly architecture: string; readonly os: 'linux' };
}

/** An OCI layout of one image for amd64, tagged `latest`; `text` makes it differ from others. Returns its transport name. */
export async function writeImage(folder: string, text: string): Promise<string> {
  await writeLayout(folder, await writeManifest(folder, text, 'amd64'));
  return `oci:${folder}:latest`;
}

/** An OCI layout of an image list for amd64 and arm64, tagged `latest`. Returns its transport name. */
export async function writeImageList(folder: string, text: string): Promise<string> {
  const manifests: Descriptor[] = [];
  for (const architecture of ['amd64', 'arm64']) {
    const descriptor = await writeManifest(folder, `${text} for ${architecture}`, architecture);
    manifests.push({ ...descriptor, platform: { architecture, os: 'linux' } });
  }
  await writeLayout(
    folder,
    await writeJson(folder, INDEX, { schemaVersion: 2, mediaType: INDEX, manifests }),
  );
  return `oci:${folder}:latest`;
}

async function writeLayout(folder: string, top: Descriptor): Promise<void> {
  const tagged = { ...top, annotations: { 'org.opencontainers.image.ref.name': 'latest' } };
  await writeFile(path.join(folder, 'oci-layout'), '{"imageLayoutVersion":"1.0.0"}');
  await writeFile(path.join(folder, 'index.json'), JSON.stringify({ schemaVersion: 2, manifests: [tagged] }));
}

async function writeManifest(folder: string, text: string, architecture: string): Promise<Descriptor> {
  const tar = tarOf('about.txt', `${text}\n`);
  const config = {
    architecture,
    os: 'linux',
    config: {},
    rootfs: { type: 'layers', diff_ids: [`sha256:${sha256(tar)}`] },
  };
  return writeJson(folder, MANIFEST, {
    schemaVersion: 2,
    mediaType: MANIFEST,
    config: await writeJson(folder, CONFIG, config),
    layers: [await writeBlob(folder, LAYER, gzipSync(tar))],
  });
}

function writeJson(folder: string, mediaType: string, value: object): Promise<Descriptor> {
  return writeBlob(folder, mediaType, Buffer.from(JSON.stringify(value)));
}

async function writeBlob(folder: string, mediaType: string, bytes: Buffer): Promise<Descriptor> {
  const hex = sha256(bytes);
  await mkdir(path.join(folder, 'blobs/sha256'), { recursive: true });
  await writeFile(path.join(folder, 'blobs/sha256', hex), bytes);
  return { mediaType, digest: `sha256:${hex}`, size: bytes.length };
}

function sha256(bytes: Buffer): string {
  return createHash('sha256').update(bytes).digest('hex');
}

/** A ustar archive of one file. */
function tarOf(name: string, text: string): Buffer {
  const body = Buffer.from(text);
  const header = Buffer.alloc(512);
  const octal = (value: number, digits: number) => `${value.toString(8).padStart(digits, '0')}\0`;
  header.write(name, 0);
  header.write(octal(0o644, 7), 100); // mode
  header.write(octal(0, 7), 108); // owner
  header.write(octal(0, 7), 116); // group
  header.write(octal(body.length, 11), 124);
  header.write(octal(0, 11), 136); // modified
  header.write(' '.repeat(8), 148); // the checksum counts its own field as spaces
  header.write('0', 156); // regular file
  header.write('ustar\x0000', 257);
  const checksum = header.reduce((sum, byte) => sum + byte, 0);
  header.write(`${checksum.toString(8).padStart(6, '0')}\0 `, 148);
  const padding = Buffer.alloc((512 - (body.length % 512)) % 512);
  return Buffer.concat([header, body, padding, Buffer.alloc(1024)]);
}
