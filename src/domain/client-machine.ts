// What a client of signatures reads and asks on its machine, as ports: podman, skopeo and CRI-O read these files in this order.
import type { MachineLogin } from './client-auth.ts';
import type { Alias, ReadTomlFile } from './policy/registries-conf.ts';
import type { ReadYamlFile } from './policy/registries-d.ts';
import type { DockerReference } from './reference.ts';

export const CLIENT_GENERATIONS = ['old', 'current', 'podman-6'] as const;
/** `old`: containers/image before 5.22, which knows `sigstore:` alone. `podman-6` merges registries.d of three folders. */
export type ClientGeneration = (typeof CLIENT_GENERATIONS)[number];

/** A file that was read, or why not. */
export type FoundFile =
  | { readonly kind: 'read'; readonly path: string; readonly bytes: Uint8Array }
  | { readonly kind: 'missing'; readonly path: string; readonly why: string }
  | UnreadableFile;

export interface UnreadableFile {
  readonly kind: 'unreadable';
  readonly path: string;
  readonly why: string;
  /** The file, or the first folder on its way, that this user may not open; null: something else is wrong. */
  readonly closed: string | null;
}

export interface ClientMachine {
  /** The first of the places that is there. */
  policy(): Promise<FoundFile>;
  /** @throws RegistriesDFault for what is no YAML or cannot be read */
  registriesD(): Promise<{ readonly folders: readonly string[]; readonly files: readonly ReadYamlFile[] }>;
  /** registries.conf and its drop-ins that are there, in the order in which clients read them. @throws RegistriesConfFault */
  registriesConf(): Promise<readonly ReadTomlFile[]>;
  /** What podman wrote down when somebody chose a registry for a short name. @throws RegistriesConfFault */
  recordedAliases(): Promise<ReadonlyMap<string, Alias>>;
  /** What clients log in with, by the files of logins. @throws LoginFault */
  login(image: DockerReference): Promise<MachineLogin>;
  /** Where the program docker-credential-NAME is; null: nowhere on the PATH. */
  credentialProgram(name: string): Promise<string | null>;
  /** What clients trust for a registry, by host and port. */
  certificates(host: string): Promise<Certificates>;
  /** Certificates that lie where clients do not look for that host's, but perhaps were meant; `others`: hosts beside it. */
  strayCertificates(host: string, others: readonly string[]): Promise<readonly StrayCertificate[]>;
  /** Files that are there and that this generation of clients passes over, whatever the user set. */
  passedOver(): Promise<readonly string[]>;
  file(path: string): Promise<FoundFile>;
  /** `file://…`: where signatures are looked for when nothing is configured. */
  readonly builtInBase: string;
  /** As whom it asks. */
  readonly user: ClientUser;
  /** As image indexes write it. */
  readonly platform: { readonly os: string; readonly architecture: string };
}

export interface ClientUser {
  readonly uid: number;
  /** Null: the system knows none with that number. */
  readonly name: string | null;
  /** Below which clients look for files of the user: HOME, where it is set. */
  readonly home: string;
  /** Where the system says that the user's home is; null: it says nothing. */
  readonly ownHome: string | null;
  /** Who ran this as that user, by sudo; null: nobody. */
  readonly caller: string | null;
}

export interface StrayCertificate {
  readonly file: string;
  /** Where clients would read it. */
  readonly rightFile: string;
}

export interface Certificates {
  /** The only one that counts; null: there is none. */
  readonly folder: string | null;
  /** PEM, of all `.crt` files. */
  readonly ca: string | null;
  /** PEM, of a `.cert` file and its `.key`. */
  readonly client: { readonly certificate: string; readonly key: string } | null;
  /** A `.cert` file without its `.key`, for which clients refuse the registry. */
  readonly withoutKey: string | null;
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

/** A registry as clients ask it, and with the same trust the lookaside of its images. */
export interface AskedRegistry {
  /** Host and port. */
  readonly host: string;
  readonly certificates: Certificates;
  /** Any certificate will do. */
  readonly isInsecure: boolean;
}

export type OpenWeb = (registry: AskedRegistry) => AskWeb;
