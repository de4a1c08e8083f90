// What `doctor` is built from: the files of this machine, the registry and lookaside over HTTP, OpenPGP. No database, no log.
import os from 'node:os';
import type { ClientGeneration } from '../domain/client-machine.ts';
import type { DockerReference } from '../domain/reference.ts';
import { openClientMachine, readRegistryCas } from '../files/client-machine.ts';
import { openVerifier } from '../openpgp/pool.ts';
import { type Diagnosis, diagnose } from '../service/doctor.ts';
import { createAskWeb } from '../upstream/ask-web.ts';
import { systemClock } from './clock.ts';

export interface DoctorOptions {
  readonly image: DockerReference;
  readonly generation: ClientGeneration;
  /** As `--tls-verify=false`. */
  readonly isInsecure: boolean;
  readonly policy: string | null;
  readonly registriesD: string | null;
  readonly registriesConf: string | null;
  readonly home: string;
  readonly environment: Parameters<typeof openClientMachine>[0]['environment'];
}

const PATIENCE_MS = 30_000;

export async function runDiagnosis(options: DoctorOptions): Promise<Diagnosis> {
  const { image, generation, isInsecure, home } = options;
  const { parse } = await import('yaml');
  const machine = openClientMachine({
    ...options,
    isRoot: process.getuid?.() === 0,
    platform: { os: 'linux', architecture: os.arch() === 'x64' ? 'amd64' : os.arch() },
    parseYaml: (text) => parse(text),
  });
  const ca = await readRegistryCas(image.domain, { home });
  const verifier = openVerifier();
  try {
    const ask = createAskWeb({ ca, isInsecure, patienceMs: PATIENCE_MS });
    return await diagnose({ machine, ask, verifier, clock: systemClock }, { image, generation, isInsecure });
  } finally {
    await verifier.close();
  }
}
