// What a client of signatures reads and asks on its machine, as ports: podman, skopeo and CRI-O read these files in this order.
import type { ReadYamlFile } from './policy/registries-d.ts';

export const CLIENT_GENERATIONS = ['old', 'current', 'podman-6'] as const;
/** `old`: containers/image before 5.22, which knows `sigstore:` alone. `podman-6` merges registries.d of three folders. */
export type ClientGeneration = (typeof CLIENT_GENERATIONS)[number];

/** A file that was read, or why not. */
export type FoundFile =
  | { readonly kind: 'read'; readonly path: string; readonly bytes: Uint8Array }
  | { readonly kind: 'missing'; readonly path: string; readonly why: string }
  | { readonly kind: 'unreadable'; readonly path: string; readonly why: string };

export interface ClientMachine {
  /** The first of the places that is there. */
  policy(): Promise<FoundFile>;
  /** @throws RegistriesDFault for what is no YAML or cannot be read */
  registriesD(): Promise<{ readonly folders: readonly string[]; readonly files: readonly ReadYamlFile[] }>;
  /** registries.conf and its drop-ins that are there. */
  registriesConf(): Promise<readonly FoundFile[]>;
  file(path: string): Promise<FoundFile>;
  /** `file://…`: where signatures are looked for when nothing is configured. */
  readonly builtInBase: string;
  /** Whether it asks as root. */
  readonly isRoot: boolean;
  /** As image indexes write it. */
  readonly platform: { readonly os: string; readonly architecture: string };
}

export type WebAnswer =
  | {
      readonly kind: 'answer';
      readonly status: number;
      header(name: string): string | null;
      readonly body: Uint8Array;
    }
  | {
      /** `tls`: nobody we trust vouches for the certificate. `plain`: TLS was spoken to a port for plain HTTP. */
      readonly kind: 'refused' | 'unknown-host' | 'tls' | 'plain' | 'too-large' | 'failed';
      readonly why: string;
    };

/** One GET, with redirects followed as clients follow them. */
export type AskWeb = (url: string, headers?: Readonly<Record<string, string>>) => Promise<WebAnswer>;
