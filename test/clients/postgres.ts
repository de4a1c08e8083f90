// A real PostgreSQL for one test file, on a socket in a folder of its own; each test has a database of its own in it.
import { realpathSync } from 'node:fs';
import { chmod, chown, copyFile, mkdir, writeFile } from 'node:fs/promises';
import path from 'node:path';
import pg from 'pg';
import { connect } from '../../src/postgres/connect.ts';
import { migrate } from '../../src/postgres/migrate.ts';
import { programFile } from './available.ts';
import type { ServerCertificate } from './certificate.ts';
import { type Argv, startBackground, succeed } from './command.ts';
import { eventually } from './eventually.ts';
import { freePort } from './free-port.ts';
import { openTempFolder } from './temp-folder.ts';

/** nobody, by number: PostgreSQL refuses to run as root. */
const NOBODY = 65_534;

export interface Postgres extends AsyncDisposable {
  /** The URL of a new empty database. */
  newDatabase(): Promise<string>;
  /** The URL of a new database that has all tables, and nothing in them. */
  migratedDatabase(): Promise<string>;
  /** Ends all connections to that database, and takes no more until open(). */
  shut(url: string): Promise<void>;
  open(url: string): Promise<void>;
  /** One statement, outside of any node. */
  query(url: string, sql: string): Promise<readonly Record<string, unknown>[]>;
  /** The database that is there from the start, from which others are made. */
  readonly adminUrl: string;
  readonly pid: number;
  /** With TLS it listens there on 127.0.0.1 and 127.0.0.2. */
  readonly port: number;
  /** kill -9 of the server; its data stay. */
  crash(): Promise<void>;
  /** After crash(). */
  restart(): Promise<void>;
  /** A copy that follows synchronously; promoted, it takes the place of the first at the same URL. */
  openStandby(): Promise<Standby>;
}

export interface Standby {
  /** That database of it, before it is promoted. */
  urlOf(url: string): string;
  /** Ends it, where it is not promoted. */
  stop(): Promise<void>;
  /** Ends following; from then on it is asked by the URLs of before. */
  promote(): Promise<void>;
}

export interface PostgresTls {
  readonly server: ServerCertificate;
  /** The certificate of the authority that lets the user `certified` in. */
  readonly clientAuthorityFile: string;
}

/**
 * Ready for connections. Commits do not wait for the disk: no test of it is about power. With `tls` also by TCP, with TLS alone.
 */
export async function startPostgres(tls: PostgresTls | null = null): Promise<Postgres> {
  const folder = await openTempFolder();
  const bin = path.dirname(realpathSync(programFile('postgres')));
  const data = path.join(folder.path, 'data');
  await mkdir(data, { mode: 0o700 });
  if (isRoot()) for (const one of [folder.path, data]) await chown(one, NOBODY, NOBODY);
  const env = { PATH: process.env.PATH ?? '', LC_ALL: 'C.UTF-8' };
  const account = ['-U', 'lookaside', '--auth=trust', '--no-sync', '--encoding=UTF8'];
  await succeed(asNobody([path.join(bin, 'initdb'), '-D', data, ...account]), { env, cwd: folder.path });
  const port = tls === null ? 5432 : await freePort();
  const settings = [
    ...(tls === null ? ['listen_addresses='] : await settingsOf(tls, folder.path, data)),
    `port=${port}`,
    `unix_socket_directories=${folder.path}`,
    'max_connections=100',
  ].flatMap((setting) => ['-c', setting]);
  const start = (dataFolder: string, own: readonly string[], ready: RegExp) =>
    startBackground(
      asNobody([path.join(bin, 'postgres'), '-D', dataFolder, ...own]),
      { env, cwd: folder.path },
      ready,
    );
  const startPrimary = () => start(data, settings, /ready to accept connections/);
  let server = await startPrimary();
  let made = 0;
  const urlOf = (name: string) =>
    `postgres://lookaside@/${name}?host=${encodeURIComponent(folder.path)}&port=${port}`;
  async function ask(url: string, ...statements: readonly string[]) {
    const client = new pg.Client({ connectionString: url });
    await client.connect();
    try {
      let rows: readonly Record<string, unknown>[] = [];
      for (const sql of statements) ({ rows } = await client.query(sql));
      return rows;
    } finally {
      await client.end();
    }
  }
  async function create(template: string): Promise<string> {
    made += 1;
    const name = `d${made}`;
    await ask(urlOf('postgres'), `CREATE DATABASE ${name} TEMPLATE ${template}`);
    return name;
  }
  const nameIn = (url: string) => /\/(d[0-9]+)\?/.exec(url)?.[1] ?? '';
  /** Copying it costs less than running the migrations again. */
  async function makeTemplate(): Promise<string> {
    const name = await create('template0');
    const connections = connect({ url: urlOf(name), poolSize: 1 });
    await migrate(connections);
    await connections.close();
    return name;
  }
  let template: Promise<string> | null = null;
  return {
    port,
    adminUrl: urlOf('postgres'),
    get pid() {
      return server.pid;
    },
    async crash() {
      process.kill(server.pid, 'SIGKILL');
      await server.ended;
    },
    async restart() {
      // what the killed server has left in memory is gone only when the last of its sessions has ended
      await eventually(async () => {
        server = await startPrimary();
      });
    },
    async openStandby() {
      const copy = path.join(folder.path, 'standby');
      const place = path.join(folder.path, 'beside');
      await mkdir(place, { mode: 0o700 });
      if (isRoot()) await chown(place, NOBODY, NOBODY);
      const from = [
        '-h',
        folder.path,
        '-p',
        `${port}`,
        '-U',
        'lookaside',
        '-D',
        copy,
        '-R',
        '-X',
        'stream',
        '--checkpoint=fast',
        '--no-sync',
      ];
      await succeed(asNobody([path.join(bin, 'pg_basebackup'), ...from]), { env, cwd: folder.path });
      // until it is promoted it listens beside the first, whose socket it takes then
      const own = [
        'max_connections=100',
        'listen_addresses=',
        `port=${port}`,
        `unix_socket_directories=${place}`,
      ];
      const following = await start(
        copy,
        own.flatMap((setting) => ['-c', setting]),
        /started streaming/,
      );
      await ask(
        urlOf('postgres'),
        "ALTER SYSTEM SET synchronous_standby_names = '*'",
        'SELECT pg_reload_conf()',
      );
      return {
        urlOf: (url) => url.replace(encodeURIComponent(folder.path), encodeURIComponent(place)),
        async stop() {
          await ask(
            urlOf('postgres'),
            'ALTER SYSTEM RESET synchronous_standby_names',
            'SELECT pg_reload_conf()',
          );
          await following.stop();
        },
        async promote() {
          const beside = `postgres://lookaside@/postgres?host=${encodeURIComponent(place)}&port=${port}`;
          await ask(beside, 'SELECT pg_promote()');
          await following.stop();
          server = await start(copy, settings, /ready to accept connections/);
        },
      };
    },
    newDatabase: async () => urlOf(await create('template0')),
    async migratedDatabase() {
      template ??= makeTemplate();
      return urlOf(await create(await template));
    },
    async shut(url) {
      const name = nameIn(url);
      await ask(
        urlOf('postgres'),
        `ALTER DATABASE ${name} ALLOW_CONNECTIONS false`,
        `SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '${name}'`,
      );
    },
    open: async (url) =>
      void (await ask(urlOf('postgres'), `ALTER DATABASE ${nameIn(url)} ALLOW_CONNECTIONS true`)),
    query: (url, sql) => ask(url, sql),
    async [Symbol.asyncDispose]() {
      // at once, without waiting for sessions: SIGQUIT
      process.kill(server.pid, 'SIGQUIT');
      await server.ended;
      await folder[Symbol.asyncDispose]();
    },
  };
}

/** With the files that they name, which PostgreSQL reads as its own user alone. */
async function settingsOf(
  { server, clientAuthorityFile }: PostgresTls,
  folder: string,
  data: string,
): Promise<readonly string[]> {
  const files = [
    ['ssl_cert_file', server.certificateFile, 'server.crt'],
    ['ssl_key_file', server.keyFile, 'server.key'],
    ['ssl_ca_file', clientAuthorityFile, 'clients.crt'],
  ] as const;
  const named: string[] = [];
  for (const [setting, from, name] of files) {
    const file = path.join(folder, name);
    await copyFile(from, file);
    await chmod(file, 0o600);
    if (isRoot()) await chown(file, NOBODY, NOBODY);
    named.push(`${setting}=${file}`);
  }
  // what is first fits: trust for all would let the other in
  const rules = ['local all all trust', 'hostssl all certified all cert', 'hostssl all all all trust'];
  await writeFile(path.join(data, 'pg_hba.conf'), `${rules.join('\n')}\n`);
  return ['listen_addresses=127.0.0.1,127.0.0.2', 'ssl=on', ...named];
}

function asNobody(argv: Argv): Argv {
  return isRoot() ? ['setpriv', `--reuid=${NOBODY}`, `--regid=${NOBODY}`, '--clear-groups', ...argv] : argv;
}

function isRoot(): boolean {
  return process.getuid?.() === 0;
}
