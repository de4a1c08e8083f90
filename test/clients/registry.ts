// A container registry of one's own: Debian's docker-registry.
import { mkdir, writeFile } from 'node:fs/promises';
import path from 'node:path';
import type { ServerCertificate } from './certificate.ts';
import { type Argv, startBackground } from './command.ts';

export interface Registry extends AsyncDisposable {
  /** Host and port, as they stand in image names. */
  readonly host: string;
}

export interface RegistryOptions {
  /** Host and port to listen on; a free port of 127.0.0.1 unless told. */
  readonly listen?: string;
  /** Speaks TLS with this certificate, plain HTTP without. */
  readonly certificate?: ServerCertificate;
  /** Where it runs: see PrivateHost. */
  readonly on?: (argv: Argv) => Argv;
}

/** A registry with empty storage below `parent`, ready for requests. */
export async function openRegistry(parent: string, options: RegistryOptions = {}): Promise<Registry> {
  const { listen = '127.0.0.1:0', certificate, on = (argv: Argv) => argv } = options;
  const folder = path.join(parent, 'registry');
  await mkdir(folder);
  const tls = certificate && { certificate: certificate.certificateFile, key: certificate.keyFile };
  const configuration = {
    version: '0.1',
    log: { level: 'info' },
    storage: { filesystem: { rootdirectory: path.join(folder, 'data') }, delete: { enabled: true } },
    http: { addr: listen, ...(tls && { tls }) },
  };
  const configurationFile = path.join(folder, 'config.yml');
  await writeFile(configurationFile, JSON.stringify(configuration)); // JSON is YAML
  const process_ = await startBackground(
    on(['docker-registry', 'serve', configurationFile]),
    { env: { PATH: process.env.PATH ?? '', HOME: folder } },
    /listening on (127\.0\.0\.1:[0-9]+)/,
  );
  return {
    host: process_.ready[1] ?? listen,
    async [Symbol.asyncDispose]() {
      await process_.stop();
    },
  };
}
