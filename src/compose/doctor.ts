// What `doctor` is built from: the files of this machine, the registry and lookaside over HTTP, OpenPGP. No database, no log.
import os from 'node:os';
import type { Config } from '../config.ts';
import type { ClientGeneration, OpenWeb } from '../domain/client-machine.ts';
import { openClientMachine } from '../files/client-machine.ts';
import type { ClientEnvironment } from '../files/client-places.ts';
import { openVerifier } from '../openpgp/pool.ts';
import { diagnose } from '../service/doctor.ts';
import type { Diagnosis, DoctorPorts } from '../service/doctor-diagnosis.ts';
import { createAskWeb } from '../upstream/ask-web.ts';
import { askingBy, type ConnectServerOptions, remoteOf } from './client.ts';
import { systemClock } from './clock.ts';

export interface DoctorOptions {
  /** As it is typed. */
  readonly image: string;
  readonly generation: ClientGeneration;
  /** As `--tls-verify=false` and `=true`; null: as registries.conf says. */
  readonly isInsecure: boolean | null;
  readonly policy: string | null;
  readonly crioNamespace: string | null;
  readonly registriesD: string | null;
  readonly registriesConf: string | null;
  readonly home: string;
  /** The lookaside server that is asked too; null: none. */
  readonly server: (ConnectServerOptions & { readonly config: Config }) | null;
  readonly environment: ClientEnvironment;
}

const PATIENCE_MS = 30_000;

export async function runDiagnosis(options: DoctorOptions): Promise<Diagnosis> {
  const { image, generation, isInsecure } = options;
  const { parse } = await import('yaml');
  const { parse: parseToml } = await import('smol-toml');
  const machine = openClientMachine({
    ...options,
    uid: process.geteuid?.() ?? 0,
    known: knownUser(),
    platform: { os: 'linux', architecture: os.arch() === 'x64' ? 'amd64' : os.arch() },
    parseYaml: (text) => parse(text),
    parseToml,
  });
  const web: OpenWeb = ({ certificates, isInsecure: isAny }) =>
    createAskWeb({ ...certificates, isInsecure: isAny, patienceMs: PATIENCE_MS });
  const verifier = openVerifier();
  try {
    const ports = { machine, web, verifier, clock: systemClock, server: serverOf(options.server) };
    return await diagnose(ports, { image, generation, isInsecure });
  } finally {
    await verifier.close();
  }
}

/** What the system says of this user. */
function knownUser(): { readonly name: string | null; readonly ownHome: string | null } {
  try {
    const { username, homedir } = os.userInfo();
    return { name: username, ownHome: homedir };
  } catch {
    return { name: null, ownHome: null }; // a user without an entry, as in containers: ERR_SYSTEM_ERROR, ENOENT
  }
}

function serverOf(server: DoctorOptions['server']): DoctorPorts['server'] {
  const at = server === null ? null : remoteOf(server.config);
  if (server === null || at === null) return null;
  return async (image) => {
    const { askServerDoctor } = await import('../upstream/server-doctor.ts');
    return askServerDoctor({ at, ...askingBy(server) }, image);
  };
}
