// Where podman, skopeo and CRI-O look for what they read, by generation of client, and in which order.
import path from 'node:path';
import type { ClientGeneration } from '../domain/client-machine.ts';

export interface ClientPlacesOptions {
  readonly home: string;
  /** The user who pulls. */
  readonly uid: number;
  readonly environment: ClientEnvironment;
  readonly generation: ClientGeneration;
  /** `/`; tests name another folder that stands for the machine. */
  readonly root?: string;
}

export interface ClientEnvironment {
  readonly CONTAINERS_POLICY_JSON?: string | undefined;
  readonly CONTAINERS_REGISTRIES_CONF?: string | undefined;
  readonly CONTAINERS_REGISTRIES_CONF_OVERRIDE?: string | undefined;
  readonly XDG_CONFIG_HOME?: string | undefined;
  readonly XDG_CACHE_HOME?: string | undefined;
  readonly XDG_RUNTIME_DIR?: string | undefined;
  readonly REGISTRY_AUTH_FILE?: string | undefined;
  readonly DOCKER_CONFIG?: string | undefined;
  /** Where programs that keep logins are looked for. */
  readonly PATH?: string | undefined;
  readonly SUDO_USER?: string | undefined;
}

export interface ClientPlaces {
  /** The first that is there counts. */
  readonly policies: readonly string[];
  /** From the one that others hide or mask. */
  readonly registriesD: readonly string[];
  /** Whether all of registriesD are merged; else the last that is there counts alone. */
  readonly isMerged: boolean;
  /** The first that is there counts. */
  readonly registriesConf: readonly string[];
  /** A registries.conf that must be there, in place of these. */
  readonly namedConf: string | null;
  /** Folders of registries.conf.d when `conf` is the file that counts, from the one that is read first; null: none is there. */
  dropIns(conf: string | null): readonly string[];
  /** Read after all others. */
  readonly lastConf: string | null;
  /** Whether equal names mask each other, and all drop-ins are sorted by name whatever their folder. */
  readonly isMasked: boolean;
  readonly recordedAliases: string;
  readonly builtInFolder: string;
  /** Logins; the first file with an entry for the registry counts. */
  readonly authFiles: readonly string[];
  /** certs.d; the first that has a folder of the registry counts. */
  readonly certificates: readonly string[];
  /** Files of a user who set XDG_CONFIG_HOME, which this generation does not read. */
  readonly passedOver: readonly string[];
}

export function clientPlaces(options: ClientPlacesOptions): ClientPlaces {
  const { home, uid, environment, root = '/' } = options;
  const recorded = 'containers/short-name-aliases.conf';
  const cache = set(environment.XDG_CACHE_HOME) ?? path.join(home, '.cache');
  const common = {
    recordedAliases: uid === 0 ? path.join(root, 'var/cache', recorded) : path.join(cache, recorded),
    builtInFolder:
      uid === 0
        ? path.join(root, 'var/lib/containers/sigstore')
        : path.join(home, '.local/share/containers/sigstore'),
    authFiles: authFiles(options),
  };
  return { ...common, ...(options.generation === 'podman-6' ? placesOf6(options) : placesBefore6(options)) };
}

type OfGeneration = Omit<ClientPlaces, 'recordedAliases' | 'builtInFolder' | 'authFiles'>;

/** containers-auth.json(5): a file that is named stands alone. */
function authFiles({ home, uid, environment, root = '/' }: ClientPlacesOptions): readonly string[] {
  const named = set(environment.REGISTRY_AUTH_FILE);
  if (named !== null) return [named];
  const runtime = set(environment.XDG_RUNTIME_DIR);
  const config = set(environment.XDG_CONFIG_HOME) ?? path.join(home, '.config');
  return [
    runtime === null
      ? path.join(root, 'run/containers', String(uid), 'auth.json')
      : path.join(runtime, 'containers/auth.json'),
    path.join(config, 'containers/auth.json'),
    path.join(set(environment.DOCKER_CONFIG) ?? path.join(home, '.docker'), 'config.json'),
  ];
}

/** XDG_CONFIG_HOME counts for auth.json alone. */
function placesBefore6({ home, environment, root = '/' }: ClientPlacesOptions): OfGeneration {
  const own = path.join(home, '.config/containers');
  const system = path.join(root, 'etc/containers');
  const ownConf = path.join(own, 'registries.conf');
  return {
    policies: [path.join(own, 'policy.json'), path.join(system, 'policy.json')],
    registriesD: [path.join(system, 'registries.d'), path.join(own, 'registries.d')],
    isMerged: false,
    registriesConf: [ownConf, path.join(system, 'registries.conf')],
    namedConf: set(environment.CONTAINERS_REGISTRIES_CONF),
    // a registries.conf of the user hides the drop-ins of the system
    dropIns: (conf) =>
      conf === ownConf ? [`${ownConf}.d`] : [path.join(system, 'registries.conf.d'), `${ownConf}.d`],
    lastConf: null,
    isMasked: false,
    certificates: [
      path.join(own, 'certs.d'),
      path.join(system, 'certs.d'),
      path.join(root, 'etc/docker/certs.d'),
    ],
    passedOver:
      set(environment.XDG_CONFIG_HOME) === null
        ? []
        : ['policy.json', 'registries.d', 'registries.conf']
            .map((name) => path.join(environment.XDG_CONFIG_HOME ?? '', 'containers', name))
            .filter((file) => path.dirname(file) !== own),
  };
}

/** storage/pkg/configfile/parse.go: one order for all files. */
function placesOf6({ home, uid, environment, root = '/' }: ClientPlacesOptions): OfGeneration {
  const own = path.join(set(environment.XDG_CONFIG_HOME) ?? path.join(home, '.config'), 'containers');
  const vendor = path.join(root, 'usr/share/containers');
  const system = path.join(root, 'etc/containers');
  const named = set(environment.CONTAINERS_REGISTRIES_CONF);
  const policy = set(environment.CONTAINERS_POLICY_JSON);
  const folders = (name: string, extension: string) => [
    ...[vendor, system].flatMap((folder) => specialFolders(path.join(folder, name), extension, uid)),
    path.join(own, `${name}${extension}.d`),
  ];
  return {
    policies:
      policy === null ? [own, system, vendor].map((folder) => path.join(folder, 'policy.json')) : [policy],
    registriesD: folders('registries', ''),
    isMerged: true,
    registriesConf: [own, system, vendor].map((folder) => path.join(folder, 'registries.conf')),
    namedConf: named,
    dropIns: () => (named === null ? folders('registries', '.conf') : []),
    lastConf: set(environment.CONTAINERS_REGISTRIES_CONF_OVERRIDE),
    isMasked: true,
    certificates: [
      path.join(own, 'certs.d'),
      ...[...specialFolders(path.join(system, 'certs'), '', uid)].reverse(),
      path.join(root, 'etc/docker/certs.d'),
      ...[...specialFolders(path.join(vendor, 'certs'), '', uid)].reverse(),
    ],
    passedOver: [],
  };
}

/** Beside the folder for everybody one for root, or for who is not, and one for this user. */
function specialFolders(base: string, extension: string, uid: number): readonly string[] {
  const everybody = `${base}${extension}.d`;
  if (uid === 0) return [everybody, `${base}.rootful${extension}.d`];
  const rootless = `${base}.rootless${extension}.d`;
  return [everybody, rootless, path.join(rootless, String(uid))];
}

function set(value: string | undefined): string | null {
  return value === undefined || value === '' ? null : value;
}
