// What doctor is asked, by what means it finds out, and what it answers.
import type { ClientGeneration, ClientMachine, OpenWeb } from '../domain/client-machine.ts';
import type { AskedUrl } from './doctor-lookaside.ts';
import type { Step } from './doctor-step.ts';
import type { Complaint, JudgedRequirement, JudgePorts } from './policy-judge.ts';

export interface DoctorPorts extends Omit<JudgePorts, 'file'> {
  readonly machine: ClientMachine;
  readonly web: OpenWeb;
  /** What a lookaside server knows about such an image; null: none is named. */
  readonly server: ((image: string) => Promise<readonly ServerFinding[]>) | null;
}

export interface DoctorQuestion {
  /** As it is typed: `docker://` in front, and a name without host is short. pullNames() reads it. */
  readonly image: string;
  readonly generation: ClientGeneration;
  /** As `--tls-verify=false` and `=true`; null: as registries.conf says. */
  readonly isInsecure: boolean | null;
}

export interface Diagnosis {
  readonly image: string;
  /** `unknown`: it could not be judged. */
  readonly verdict: 'pulled' | 'refused' | 'unknown';
  readonly steps: readonly Step[];
  /** What signatures are asked for, below the lookaside: `team/app@sha256:<hex>`; null when nobody told the digest. */
  readonly asksFor: string | null;
  readonly asked: readonly AskedUrl[];
  readonly requirements: readonly JudgedRequirement[];
  /** What decides; null when the image is pulled. */
  readonly complaint: Complaint | null;
  /** Which other clients refuse what is pulled here; null: none that are known. */
  readonly caveat: Complaint | null;
}

export interface ServerFinding {
  readonly code: string;
  readonly message: string;
  readonly remedy: string | null;
}
