// Private certificate authorities, made by openssl.
import { mkdir, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { succeed } from './command.ts';

export interface ServerCertificate {
  /** The certificate of the authority that signed it. */
  readonly authorityFile: string;
  readonly certificateFile: string;
  readonly keyFile: string;
}

/** A new authority in `parent`/`name`, and a certificate by it for 127.0.0.1, localhost and these hosts. */
export function makeServerCertificate(
  parent: string,
  name: string,
  hosts: readonly string[] = [],
): Promise<ServerCertificate> {
  return make(parent, name, { holder: '127.0.0.1', usage: 'serverAuth', hosts });
}

/** The same for a client that is called so. */
export function makeClientCertificate(parent: string, holder: string): Promise<ServerCertificate> {
  return make(parent, `of-${holder}`, { holder, usage: 'clientAuth', hosts: [] });
}

interface Wanted {
  readonly holder: string;
  readonly usage: string;
  readonly hosts: readonly string[];
}

async function make(
  parent: string,
  name: string,
  { holder, usage, hosts }: Wanted,
): Promise<ServerCertificate> {
  const folder = path.join(parent, name);
  await mkdir(folder);
  const surroundings = { env: { PATH: process.env.PATH ?? '', HOME: folder }, cwd: folder };
  const newKey = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes'];
  await writeFile(
    path.join(folder, 'server.ext'),
    `subjectAltName = ${['IP:127.0.0.1', ...['localhost', ...hosts].map((host) => `DNS:${host}`)].join(', ')}\nextendedKeyUsage = ${usage}\n`,
  );
  await succeed(
    [
      'openssl',
      'req',
      '-x509',
      ...newKey,
      '-keyout',
      'ca.key',
      '-out',
      'ca.crt',
      '-days',
      '2',
      '-subj',
      `/CN=${name}`,
    ],
    surroundings,
  );
  await succeed(
    ['openssl', 'req', ...newKey, '-keyout', 'server.key', '-out', 'server.csr', '-subj', `/CN=${holder}`],
    surroundings,
  );
  await succeed(
    [
      'openssl',
      'x509',
      '-req',
      '-in',
      'server.csr',
      '-CA',
      'ca.crt',
      '-CAkey',
      'ca.key',
      '-CAcreateserial',
      '-days',
      '2',
      '-extfile',
      'server.ext',
      '-out',
      'server.crt',
    ],
    surroundings,
  );
  return {
    authorityFile: path.join(folder, 'ca.crt'),
    certificateFile: path.join(folder, 'server.crt'),
    keyFile: path.join(folder, 'server.key'),
  };
}
