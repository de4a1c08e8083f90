// Certificates of registries on this machine, as clients trust them for a registry and for its lookaside.
import { readdir } from 'node:fs/promises';
import path from 'node:path';
import type { Certificates, StrayCertificate } from '../domain/client-machine.ts';
import { readOne } from './client-file.ts';
import type { ClientPlaces } from './client-places.ts';

/** The certificates in the first folder for that host that exists, as clients do it. */
export async function readCertificates(
  { certificates }: Pick<ClientPlaces, 'certificates'>,
  host: string,
): Promise<Certificates> {
  for (const folder of certificates.map((one) => path.join(one, host))) {
    const names = await namesIn(folder);
    if (names === null) continue;
    const ca: string[] = [];
    for (const name of names.filter((one) => one.endsWith('.crt')))
      ca.push(await textOf(path.join(folder, name)));
    const client = names.find((name) => name.endsWith('.cert')) ?? null;
    const key = client === null ? null : client.replace(/\.cert$/, '.key');
    const hasKey = key !== null && names.includes(key);
    return {
      folder,
      ca: ca.length === 0 ? null : ca.join('\n'),
      client:
        client === null || key === null || !hasKey
          ? null
          : {
              certificate: await textOf(path.join(folder, client)),
              key: await textOf(path.join(folder, key)),
            },
      withoutKey: client !== null && !hasKey ? path.join(folder, client) : null,
    };
  }
  return { folder: null, ca: null, client: null, withoutKey: null };
}

/** Files that somebody may have meant for that host: of other spellings of it, or with another ending. */
export async function strayCertificates(
  { certificates }: Pick<ClientPlaces, 'certificates'>,
  host: string,
  others: readonly string[],
): Promise<readonly StrayCertificate[]> {
  const bare = host.replace(/:\d+$/, '');
  const strays: StrayCertificate[] = [];
  for (const base of certificates) {
    const rightFile = path.join(base, host, 'ca.crt');
    const seek = async (folder: string, ending: RegExp) => {
      const names = ((await namesIn(folder)) ?? []).filter((name) => ending.test(name));
      strays.push(...names.map((name) => ({ file: path.join(folder, name), rightFile })));
    };
    await seek(path.join(base, host), /\.(?:pem|cer)$/);
    const beside = [...new Set([bare, ...others])].filter((other) => other !== host);
    for (const other of beside) await seek(path.join(base, other), /\.(?:crt|pem|cer)$/);
    await seek(base, /\.(?:crt|pem|cer)$/);
  }
  return strays;
}

/** Null: it is not there, or this user may not read it, which clients pass over. */
async function namesIn(folder: string): Promise<readonly string[] | null> {
  return readdir(folder).then(
    (names) => names.sort(),
    () => null,
  );
}

async function textOf(file: string): Promise<string> {
  const certificate = await readOne(file);
  return certificate.kind === 'read' ? new TextDecoder().decode(certificate.bytes) : '';
}
