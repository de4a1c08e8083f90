import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { after, describe, type TestContext, test } from 'node:test';
import { rootCertificates } from 'node:tls';
import fc from 'fast-check';
import { parse } from 'yaml';
import { takePassedSockets } from '../src/cli/passed-sockets.ts';
import { readRemote } from '../src/compose/remote.ts';
import { type Config, loadConfig, socketPathOf } from '../src/config.ts';
import { isLookasideError, type LookasideError } from '../src/domain/errors.ts';
import { keySourceText } from '../src/domain/key-source.ts';

const HOME = '/srv/lookaside';

type Flags = Parameters<typeof loadConfig>[0]['flags'];
type Environment = Record<string, string>;

function load(environment: Environment = {}, flags: Flags = {}) {
  return loadConfig({ flags, environment, workingFolder: HOME, parseYaml: parse });
}

/** What is said to the operator when this is refused. */
function refusal(environment: Environment, flags: Flags = {}): string {
  let error: LookasideError | null = null;
  assert.throws(
    () => load(environment, flags),
    (thrown) => {
      error = isLookasideError(thrown, 'CONFIG_INVALID') ? thrown : null;
      return error !== null;
    },
  );
  return (error as LookasideError | null)?.message ?? '';
}

function withFile(t: TestContext, yaml: string | Uint8Array): Environment {
  const folder = mkdtempSync(join(tmpdir(), 'lookaside-config-'));
  t.after(() => rmSync(folder, { recursive: true }));
  const file = join(folder, 'lookaside.yaml');
  writeFileSync(file, yaml);
  return { LOOKASIDE_CONFIG: file };
}

function settingOf(loaded: ReturnType<typeof load>, name: string) {
  return loaded.settings.find((setting) => setting.name === `LOOKASIDE_${name.toUpperCase()}`);
}

// Every setting with what its default means, and two other values with what they mean.
interface Row {
  readonly name: string;
  readonly shows: (config: Config) => unknown;
  readonly byDefault: unknown;
  readonly values: readonly [
    readonly [text: string, wanted: unknown],
    readonly [text: string, wanted: unknown],
  ];
  /** Texts that are refused, with what is said. */
  readonly bad: readonly (readonly [text: string, said: RegExp])[];
  /** Settings that it cannot be without. */
  readonly with?: Environment;
  readonly isSecret?: true;
}

const DAY_MS = 86_400_000;

/** Files that settings name, and whose content is read at once. */
const SECRETS = mkdtempSync(join(tmpdir(), 'lookaside-secrets-'));
after(() => rmSync(SECRETS, { recursive: true }));
const DATABASE_FILE = join(SECRETS, 'database1');
const LOG_KEY_FILE = join(SECRETS, 'key1');
writeFileSync(DATABASE_FILE, 'postgres://of-file/d\n');
writeFileSync(join(SECRETS, 'database2'), 'postgres://of-file/2');
writeFileSync(LOG_KEY_FILE, '-----BEGIN PRIVATE KEY-----\none\n');
writeFileSync(join(SECRETS, 'key2'), '-----BEGIN PRIVATE KEY-----\n2');

const ROWS: readonly Row[] = [
  {
    name: 'listen',
    shows: ({ listen }) => listen,
    byDefault: { host: null, port: 8000 },
    values: [
      ['127.0.0.1:81', { host: '127.0.0.1', port: 81 }],
      ['[::1]:0', { host: '::1', port: 0 }],
    ],
    bad: [
      '',
      '8000',
      'host',
      'host:',
      ':',
      ':65536',
      ':-1',
      ':80a',
      '::1:80',
      '[::1]',
      '[:::]:80',
      '[127.0.0.1]:80',
      'a b:80',
      ':80 ',
      '/x:1',
    ].map((text) => [text, /wanted \[HOST\]:PORT/] as const),
  },
  {
    name: 'data',
    shows: ({ data }) => data,
    byDefault: `${HOME}/data`,
    values: [
      ['/var/lib/lookaside', '/var/lib/lookaside'],
      ['here/', `${HOME}/here`],
    ],
    bad: [['', /wanted a path$/]],
  },
  {
    name: 'root',
    shows: ({ root }) => root,
    byDefault: `${HOME}/data/sigstore`,
    values: [
      ['/srv/sigstore', '/srv/sigstore'],
      ['../tree', '/srv/tree'],
    ],
    bad: [['', /wanted a path$/]],
  },
  {
    name: 'prefix',
    shows: ({ prefix }) => prefix,
    byDefault: '',
    values: [
      ['/sigstore', '/sigstore'],
      ['/webassets/docker/content/sigstore//', '/webassets/docker/content/sigstore'],
    ],
    bad: ['sigstore', '/a//b', '/.a', '/a/../b', '/a b', '/ä', '/a?b', '/%61', 'http://host/a'].map(
      (text) => [text, /wanted a path like \/sigstore/] as const,
    ),
  },
  {
    name: 'public_url',
    shows: ({ publicUrl }) => publicUrl,
    byDefault: null,
    values: [
      ['https://sig.example/', 'https://sig.example'],
      ['http://sig.example:8080/a//', 'http://sig.example:8080/a'],
    ],
    bad: [
      'sig.example',
      '/sig',
      'ftp://sig.example',
      'https://',
      'https://sig.example?x=1',
      'https://sig.example/#x',
      'https:sig.example',
      ' https://sig.example',
      'https:\\\\sig.example',
      '',
    ].map((text) => [text, /wanted a URL like https:/] as const),
  },
  {
    name: 'registry',
    shows: ({ registries }) => registries,
    byDefault: [],
    values: [
      ['registry.example.com', ['registry.example.com']],
      [
        'localhost:5000, docker.io/library,*.example.com',
        ['localhost:5000', 'docker.io/library', '*.example.com'],
      ],
    ],
    bad: ['', 'https://registry.example.com', 'a,', 'a b', 'a:b', 'a: b', '*', 'a/', '-a'].map(
      (text) => [text, /is not a registry; wanted its name as it stands in front of images/] as const,
    ),
  },
  {
    name: 'remap',
    shows: ({ remaps }) => remaps.map(({ prefix, signedPrefix }) => [prefix, signedPrefix]),
    byDefault: [],
    values: [
      ['mirror/quay=quay.io', [['mirror/quay', 'quay.io']]],
      [
        'mirror.example/hub=docker.io/library, rh=registry.redhat.io',
        [
          ['hub', 'docker.io/library'],
          ['rh', 'registry.redhat.io'],
        ],
      ],
    ],
    bad: ['', 'mirror/quay', '=quay.io', 'mirror=quay.io,', 'mirror=quay.io rh=x.example'].map(
      (text) => [text, /is not a remap; wanted PREFIX=SIGNED_PREFIX, like mirror\/quay=quay\.io/] as const,
    ),
  },
  {
    name: 'release_repositories',
    shows: ({ releases }) => releases.repositories,
    byDefault: [],
    values: [
      ['openshift/release', ['openshift/release']],
      ['openshift/release, okd/scos-release', ['openshift/release', 'okd/scos-release']],
    ],
    bad: ['', '/openshift/release', 'a,', 'a b', 'a@sha256', '../a'].map(
      (text) =>
        [text, /is not a repository; wanted its path without the registry, like openshift\/release/] as const,
    ),
  },
  {
    name: 'release_key',
    shows: ({ releases }) => releases.preferredKey,
    byDefault: null,
    values: [
      ['199e2f91fd431d51', '199E2F91FD431D51'],
      ['0x567E347AD0044ADE55BA8A5F199E2F91FD431D51', '567E347AD0044ADE55BA8A5F199E2F91FD431D51'],
    ],
    bad: ['', 'FD431D51', 'release@redhat.com'].map(
      (text) => [text, /wanted a fingerprint of 40 hex digits or a key ID of 16/] as const,
    ),
  },
  {
    name: 'accept_unsupported',
    shows: ({ acceptUnsupported }) => acceptUnsupported,
    byDefault: 'off',
    values: [
      ['v6', 'v6'],
      ['off', 'off'],
    ],
    bad: ['', 'on', 'v5', 'V6'].map((text) => [text, /wanted off or v6/] as const),
  },
  {
    name: 'require_grants',
    shows: ({ requireGrants }) => requireGrants,
    byDefault: false,
    values: [
      ['true', true],
      ['off', false],
    ],
    bad: ['', 'yes', '1', 'True'].map((text) => [text, /wanted true or false/] as const),
  },
  {
    name: 'oidc_audience',
    shows: ({ oidcAudiences }) => oidcAudiences.join(' '),
    byDefault: '',
    values: [
      ['https://signatures.example.com', 'https://signatures.example.com'],
      ['a, b', 'a b'],
    ],
    bad: ['', 'a,,b', 'a b', '\u00e9'].map((text) => [text, /wanted the audience that OIDC tokens/] as const),
  },
  {
    name: 'oidc_login',
    shows: ({ oidcLoginFile }) => oidcLoginFile,
    byDefault: null,
    values: [
      ['/etc/lookaside/log-in.yaml', '/etc/lookaside/log-in.yaml'],
      ['log-in.yaml', `${HOME}/log-in.yaml`],
    ],
    bad: [['', /wanted a path/]],
  },
  {
    name: 'key_refresh',
    shows: ({ keyRefresh }) =>
      keyRefresh === null ? null : [keyRefresh.everyMs, ...keyRefresh.sources.map(keySourceText)].join(' '),
    byDefault: null,
    values: [
      ['wkd', '86400000 wkd'],
      ['24d, hkps://keys.example.com,wkd', '2073600000 https://keys.example.com wkd'],
    ],
    bad: ['', '12h', '5m,wkd', '25d,wkd', '577h,wkd', 'wkd,12h', 'ldap://x', 'https://x/?q'].map(
      (text) => [text, /wanted wkd, or the URL of a key server.*from 1h to 24d/] as const,
    ),
  },
  {
    name: 'append_only',
    shows: ({ appendOnly }) => appendOnly,
    byDefault: false,
    values: [
      ['true', true],
      ['off', false],
    ],
    bad: ['', 'yes', '1', 'True'].map((text) => [text, /wanted true or false/] as const),
  },
  {
    name: 'tls_cert',
    shows: ({ tls }) => tls?.certFile,
    byDefault: undefined,
    values: [
      ['/tls/cert.pem', '/tls/cert.pem'],
      ['cert.pem', `${HOME}/cert.pem`],
    ],
    bad: [['', /wanted a path$/]],
    with: { LOOKASIDE_TLS_KEY: 'k' },
  },
  {
    name: 'tls_key',
    shows: ({ tls }) => tls?.keyFile,
    byDefault: undefined,
    values: [
      ['/tls/key.pem', '/tls/key.pem'],
      ['key.pem', `${HOME}/key.pem`],
    ],
    bad: [['', /wanted a path$/]],
    with: { LOOKASIDE_TLS_CERT: 'c' },
  },
  {
    name: 'trusted_proxies',
    shows: ({ trustedProxies }) =>
      ['10.1.2.3', '192.0.2.1', '192.0.2.2', '::ffff:10.1.2.3', 'fd00::5', '2001:db8::1'].filter((address) =>
        trustedProxies.check(address, address.includes(':') ? 'ipv6' : 'ipv4'),
      ),
    byDefault: [],
    values: [
      ['10.0.0.0/8, 192.0.2.1', ['10.1.2.3', '192.0.2.1', '::ffff:10.1.2.3']],
      ['fd00::/8,,', ['fd00::5']],
    ],
    bad: [
      '10.0.0.0/33',
      'fd00::/129',
      '10.0.0.0/',
      '10.0.0.0/x',
      '10.0.0.0/-1',
      '10.0.0.0/8/9',
      '10.0.0',
      'proxy.example',
      '10.0.0.1 10.0.0.2',
      'fe80::/10%eth0',
    ].map((text) => [text, /is not a network; wanted a list like/] as const),
  },
  {
    name: 'read',
    shows: ({ read }) => read,
    byDefault: 'anonymous',
    values: [
      ['token', 'token'],
      ['anonymous', 'anonymous'],
    ],
    bad: ['', 'Token', 'off'].map((text) => [text, /wanted anonymous or token$/] as const),
  },
  {
    name: 'readers',
    shows: ({ readers }) => readers,
    byDefault: 1,
    values: [
      ['auto', 'auto'],
      ['64', 64],
    ],
    bad: ['', '0', '65', '-1', '1.5', 'Auto', 'all'].map((text) => [text, /wanted auto or 1 to 64/] as const),
  },
  {
    name: 'listing',
    shows: ({ listing }) => listing,
    byDefault: true,
    values: [
      ['off', false],
      ['on', true],
    ],
    bad: ['', 'true', 'no', 'On'].map((text) => [text, /wanted on or off$/] as const),
  },
  {
    name: 'ui',
    shows: ({ ui }) => ui,
    byDefault: true,
    values: [
      ['off', false],
      ['on', true],
    ],
    bad: ['', 'true', 'no', 'On'].map((text) => [text, /wanted on or off$/] as const),
  },
  {
    name: 'access_log',
    shows: ({ accessLog }) => accessLog,
    byDefault: 'off',
    values: [
      ['combined', 'combined'],
      ['json', 'json'],
    ],
    bad: ['', 'on', 'clf'].map((text) => [text, /wanted off, combined or json$/] as const),
  },
  {
    name: 'access_retention',
    shows: ({ accessRetentionMs }) => accessRetentionMs,
    byDefault: 90 * DAY_MS,
    values: [
      ['400d', 400 * DAY_MS],
      ['12h', DAY_MS / 2],
    ],
    bad: ['', '90', 'd', '0d', '-1d', '1.5d', '90 d', '90D', '1w', '1y', 'off', '9999999999d', '1d1h'].map(
      (text) => [text, /wanted a duration like/] as const,
    ),
  },
  {
    name: 'access_max',
    shows: ({ accessMaxBytes }) => accessMaxBytes,
    byDefault: 4 * 1024 ** 3,
    values: [
      ['0B', 0],
      ['512MiB', 512 * 1024 ** 2],
    ],
    bad: ['', '512', '1GB', '1gib', '-1B', '1.5GiB', '4 GiB', '1e3B'].map(
      (text) => [text, /wanted a size like/] as const,
    ),
  },
  {
    name: 'scan_interval',
    shows: ({ scanIntervalMs }) => scanIntervalMs,
    byDefault: 3_600_000,
    values: [
      ['off', null],
      ['15m', 900_000],
    ],
    bad: ['', '15', '0s', 'never', 'OFF'].map((text) => [text, /wanted off or a duration like/] as const),
  },
  {
    name: 'max_signature_bytes',
    shows: ({ maxSignatureBytes }) => maxSignatureBytes,
    byDefault: 128 * 1024,
    values: [
      ['4194304', 4 * 1024 ** 2],
      ['64KiB', 64 * 1024],
    ],
    bad: ['', '0', '-1', '4194305', '5MiB', '0B', '1.5MiB', '1e3', '0x10', ' 1', '64 KiB', 'off'].map(
      (text) => [text, /wanted a number of bytes from 1 to 4194304, which is all that clients read/] as const,
    ),
  },
  {
    name: 'min_free',
    shows: ({ minFreeBytes }) => minFreeBytes,
    byDefault: 64 * 1024 ** 2,
    values: [
      ['0B', 0],
      ['2GiB', 2 * 1024 ** 3],
    ],
    bad: ['', '64', '64MB', '-1B', '64 MiB', 'off'].map((text) => [text, /wanted a size like/] as const),
  },
  {
    name: 'log_origin',
    shows: ({ logOrigin }) => logOrigin,
    byDefault: null,
    values: [
      ['signatures.example.com/log', 'signatures.example.com/log'],
      ['log', 'log'],
    ],
    bad: ['', 'two words', 'a+b', 'x'.repeat(256)].map(
      (text) => [text, /wanted a name without blanks and plus signs/] as const,
    ),
  },
  {
    name: 'checkpoint_file',
    shows: ({ checkpointFile }) => checkpointFile,
    byDefault: null,
    values: [
      ['/mnt/other/checkpoint', '/mnt/other/checkpoint'],
      ['/mnt/../kept', '/kept'],
    ],
    bad: [['', /wanted a path/]],
  },
  {
    name: 'witnesses',
    shows: ({ witnessesFile }) => witnessesFile,
    byDefault: null,
    values: [
      ['/etc/witnesses', '/etc/witnesses'],
      ['/etc/../witnesses', '/witnesses'],
    ],
    bad: [['', /wanted a path/]],
  },
  {
    name: 'witness_quorum',
    shows: ({ witnessQuorum }) => witnessQuorum,
    byDefault: 0,
    values: [
      ['2', 2],
      ['0', 0],
    ],
    bad: ['', '-1', '100', 'two'].map((text) => [text, /wanted how many witnesses/] as const),
  },
  {
    name: 'witness_logs',
    shows: ({ witnessLogsFile }) => witnessLogsFile,
    byDefault: null,
    values: [
      ['/etc/logs', '/etc/logs'],
      ['/etc/../logs', '/logs'],
    ],
    bad: [['', /wanted a path/]],
  },
  {
    name: 'witness_name',
    shows: ({ witnessName }) => witnessName,
    byDefault: null,
    values: [
      ['witness.example.com', 'witness.example.com'],
      ['w', 'w'],
    ],
    bad: [['a b', /wanted a name without blanks and plus signs/]],
  },
  {
    name: 'log_level',
    shows: ({ logLevel }) => logLevel,
    byDefault: 'info',
    values: [
      ['debug', 'debug'],
      ['error', 'error'],
    ],
    bad: ['', 'trace', 'INFO'].map((text) => [text, /wanted debug, info, warn or error$/] as const),
  },
  {
    name: 'database',
    shows: ({ database }) => database?.url ?? null,
    byDefault: null,
    values: [
      [
        'postgres://lookaside@db.example/lookaside?sslmode=verify-full',
        'postgres://lookaside@db.example/lookaside?sslmode=verify-full',
      ],
      ['postgresql://u@/d?host=%2Frun%2Fpostgresql', 'postgresql://u@/d?host=%2Frun%2Fpostgresql'],
    ],
    bad: ['', 'db.example', 'mysql://db/x', 'postgres:/x', 'postgres://a b/c'].map(
      (text) => [text, /wanted a URL like postgres:/] as const,
    ),
  },
  {
    name: 'database_file',
    shows: ({ database }) => database?.url ?? null,
    byDefault: null,
    values: [
      [DATABASE_FILE, 'postgres://of-file/d'],
      [`${DATABASE_FILE.slice(0, -1)}2`, 'postgres://of-file/2'],
    ],
    bad: [['', /wanted a path$/]],
  },
  {
    name: 'database_pool',
    shows: ({ database }) => database?.poolSize ?? 10,
    byDefault: 10,
    values: [
      ['2', 2],
      ['100', 100],
    ],
    bad: ['', '1', '101', '-1', '2.5'].map((text) => [text, /wanted how many connections/] as const),
    with: { LOOKASIDE_DATABASE: 'postgres://db/x' },
  },
  {
    name: 'stale',
    shows: ({ database }) => database?.staleMs ?? 300_000,
    byDefault: 300_000,
    values: [
      ['30s', 30_000],
      ['1h', 3_600_000],
    ],
    bad: ['', '5', 'off'].map((text) => [text, /wanted a duration like/] as const),
    with: { LOOKASIDE_DATABASE: 'postgres://db/x' },
  },
  {
    name: 'log_key',
    shows: ({ database }) => database?.logKey?.pem ?? null,
    byDefault: null,
    values: [
      ['-----BEGIN PRIVATE KEY-----\none', '-----BEGIN PRIVATE KEY-----\none'],
      ['-----BEGIN PRIVATE KEY-----\ntwo', '-----BEGIN PRIVATE KEY-----\ntwo'],
    ],
    bad: ['', 'one'].map((text) => [text, /wanted a private key in PEM$/] as const),
    with: { LOOKASIDE_DATABASE: 'postgres://db/x' },
    isSecret: true,
  },
  {
    name: 'log_key_file',
    shows: ({ database }) => database?.logKey?.pem ?? null,
    byDefault: null,
    values: [
      [LOG_KEY_FILE, '-----BEGIN PRIVATE KEY-----\none'],
      [`${LOG_KEY_FILE.slice(0, -1)}2`, '-----BEGIN PRIVATE KEY-----\n2'],
    ],
    bad: [['', /wanted a path$/]],
    with: { LOOKASIDE_DATABASE: 'postgres://db/x' },
  },
  {
    name: 'witness_key',
    shows: ({ database }) => database?.witnessKey?.pem ?? null,
    byDefault: null,
    values: [
      ['-----BEGIN PRIVATE KEY-----\none', '-----BEGIN PRIVATE KEY-----\none'],
      ['-----BEGIN PRIVATE KEY-----\ntwo', '-----BEGIN PRIVATE KEY-----\ntwo'],
    ],
    bad: ['', 'one'].map((text) => [text, /wanted a private key in PEM$/] as const),
    with: { LOOKASIDE_DATABASE: 'postgres://db/x' },
    isSecret: true,
  },
  {
    name: 'witness_key_file',
    shows: ({ database }) => database?.witnessKey?.pem ?? null,
    byDefault: null,
    values: [
      [LOG_KEY_FILE, '-----BEGIN PRIVATE KEY-----\none'],
      [`${LOG_KEY_FILE.slice(0, -1)}2`, '-----BEGIN PRIVATE KEY-----\n2'],
    ],
    bad: [['', /wanted a path$/]],
    with: { LOOKASIDE_DATABASE: 'postgres://db/x' },
  },
  {
    name: 'url',
    shows: ({ remote }) => remote.url,
    byDefault: null,
    values: [
      ['https://sig.example/', 'https://sig.example'],
      ['http://sig.example:8080/sigstore//', 'http://sig.example:8080/sigstore'],
    ],
    bad: ['', 'sig.example', 'ftp://sig.example', 'https://sig.example/?', 'https://sig.example#'].map(
      (text) => [text, /wanted a URL like https:/] as const,
    ),
  },
  {
    name: 'token',
    shows: ({ remote }) => remote.token,
    byDefault: null,
    values: [
      ['lookaside_one', 'lookaside_one'],
      ['other', 'other'],
    ],
    bad: ['', 'two words', 'line\n', 'ä'].map((text) => [text, /wanted the token alone/] as const),
    isSecret: true,
  },
  {
    name: 'token_file',
    shows: ({ remote }) => remote.tokenFile,
    byDefault: null,
    values: [
      ['/run/secrets/token', '/run/secrets/token'],
      ['token', `${HOME}/token`],
    ],
    bad: [['', /wanted a path$/]],
  },
  {
    name: 'id_token',
    shows: ({ remote }) => (remote.job?.kind === 'text' ? remote.job.text : null),
    byDefault: null,
    values: [
      ['a.b.c', 'a.b.c'],
      ['d.e.f', 'd.e.f'],
    ],
    bad: ['', 'two words'].map((text) => [text, /wanted the OIDC token of a job alone/] as const),
    isSecret: true,
  },
  {
    name: 'id_token_file',
    shows: ({ remote }) => (remote.job?.kind === 'file' ? remote.job.path : null),
    byDefault: null,
    values: [
      ['/run/secrets/token', '/run/secrets/token'],
      ['token', `${HOME}/token`],
    ],
    bad: [['', /wanted a path$/]],
  },
  {
    name: 'ca',
    shows: ({ remote }) => remote.caFile,
    byDefault: null,
    values: [
      ['/etc/ssl/ca.pem', '/etc/ssl/ca.pem'],
      ['ca.pem', `${HOME}/ca.pem`],
    ],
    bad: [['', /wanted a path$/]],
  },
];

const FLAGS = ['listen', 'data', 'root', 'url', 'token_file', 'ca'] as const;

for (const { name, shows, byDefault, values, bad, with: needed = {}, isSecret } of ROWS) {
  const asShown = (text: string) => (isSecret ? '****' : text);
  const variable = `LOOKASIDE_${name.toUpperCase()}`;
  const [[one, meansOne], [other, meansOther]] = values;

  describe(`the setting ${name}`, () => {
    test(`is ${JSON.stringify(byDefault) ?? 'nothing'} by default`, () => {
      const loaded = load();
      assert.deepEqual(shows(loaded.config), byDefault);
      assert.equal(settingOf(loaded, name)?.source, 'default');
    });

    test('is read from the file, with and without lookaside_ in front', (t) => {
      for (const key of [name, `lookaside_${name}`]) {
        const loaded = load({ ...needed, ...withFile(t, `${key}: ${JSON.stringify(one)}\n`) });
        assert.deepEqual(shows(loaded.config), meansOne);
        assert.deepEqual(settingOf(loaded, name), {
          name: variable,
          value: asShown(one),
          source: 'file',
        });
      }
    });

    test('is read from the environment, ahead of the file', (t) => {
      const file = withFile(t, `${name}: ${JSON.stringify(one)}\n`);
      for (const environment of [{ ...needed }, { ...needed, ...file }]) {
        const loaded = load({ ...environment, [variable]: other });
        assert.deepEqual(shows(loaded.config), meansOther);
        assert.deepEqual(settingOf(loaded, name), {
          name: variable,
          value: asShown(other),
          source: 'environment',
        });
      }
    });

    for (const [text, said] of bad) {
      test(`is not ${JSON.stringify(text)}`, (t) => {
        const file = withFile(t, `${name}: ${JSON.stringify(text)}\n`);
        // called as who gave it has called it
        const ways: readonly (readonly [Environment, string])[] = [
          [{ [variable]: text }, variable],
          [file, `${name} in ${file.LOOKASIDE_CONFIG}`],
        ];
        for (const [environment, called] of ways) {
          const message = refusal({ ...needed, ...environment });
          const quoted = JSON.stringify(asShown(text)).replaceAll('\\\\', '\\');
          const expected = isSecret && text === '' ? 'empty' : quoted;
          assert.ok(message.startsWith(`${called} is ${expected}: `), message);
          assert.match(message, said);
        }
      });
    }
  });
}

describe('where settings come from', () => {
  for (const name of FLAGS) {
    test(`--${name} is read ahead of the environment and the file`, (t) => {
      const row = ROWS.find((candidate) => candidate.name === name);
      const [[one], [other, meansOther]] = row?.values ?? assert.fail();
      const environment = {
        ...withFile(t, `${name}: ${JSON.stringify(one)}\n`),
        [`LOOKASIDE_${name.toUpperCase()}`]: one,
      };
      const loaded = load(environment, { [name]: other });
      assert.deepEqual(row?.shows(loaded.config), meansOther);
      assert.deepEqual(settingOf(loaded, name)?.source, 'flag');
    });

    test(`--${name} is refused in the same words as the variable, under its own name`, () => {
      const flag = name === 'url' ? '--server' : `--${name.replace('_', '-')}`;
      assert.match(refusal({}, { [name]: '' }), new RegExp(`^${flag} is "": `));
    });
  }

  test('every setting is shown once, and the file that was read', (t) => {
    const environment = withFile(t, '');
    const names = load(environment).settings.map(({ name }) => name);
    assert.deepEqual(names, [
      ...ROWS.map(({ name }) => `LOOKASIDE_${name.toUpperCase()}`),
      'LOOKASIDE_CONFIG',
    ]);
    assert.equal(settingOf(load(environment), 'config')?.value, environment.LOOKASIDE_CONFIG);
  });

  test('a variable that is no setting is refused by name, and others are not ours', () => {
    for (const variable of [
      'LOOKASIDE_PORT',
      'LOOKASIDE_',
      'LOOKASIDE_Listen',
      'LOOKASIDE_LISTEN_',
      'LOOKASIDE_ROOT_DIR',
    ])
      assert.match(
        refusal({ [variable]: 'x' }),
        new RegExp(`^${variable} in the environment is not a setting[;:].* known are LOOKASIDE_LISTEN, `),
      );
    const ofService = refusal({ LOOKASIDE_SERVICE_HOST: '10.0.0.7', LOOKASIDE_LISTEN: ':8000' });
    assert.match(
      ofService,
      /^LOOKASIDE_SERVICE_HOST .* in Kubernetes .* enableServiceLinks: false; known are /,
    );
    const loaded = load({ PATH: '/bin', lookaside_listen: ':1', XLOOKASIDE_LISTEN: ':2', LISTEN: ':3' });
    assert.equal(loaded.config.listen.port, 8000);
  });

  test('no environment whatever is met with anything but settings or a refusal', () => {
    const variable = fc.constantFrom(...ROWS.map(({ name }) => `LOOKASIDE_${name.toUpperCase()}`));
    const text = fc.oneof(
      fc.string({ unit: 'binary' }),
      fc.constantFrom(...ROWS.flatMap(({ values }) => values.map(([one]) => one))),
      fc.ipV6().map((address) => `${address}%eth0/10`),
      fc.webUrl(),
    );
    fc.assert(
      fc.property(fc.dictionary(variable, text, { maxKeys: 4 }), (environment) => {
        try {
          assert.equal(load(environment).settings.length, ROWS.length);
        } catch (error) {
          assert.ok(isLookasideError(error, 'CONFIG_INVALID'), String(error));
        }
      }),
    );
  });
});

describe('the file', () => {
  const FILES: readonly (readonly [what: string, yaml: string, said: RegExp])[] = [
    [
      'an unknown key',
      'color: red',
      /^color in .*lookaside\.yaml is not a setting; known are LOOKASIDE_LISTEN/,
    ],
    [
      'a port',
      'port: 80',
      /^port in .* is not a setting: the address .* LOOKASIDE_LISTEN, like :8000; known/,
    ],
    ['a key in capitals', 'LOOKASIDE_LISTEN: ":1"', /^LOOKASIDE_LISTEN in .* is not a setting/],
    ['a key of objects', '__proto__: x', /^__proto__ in .* is not a setting/],
    [
      'a setting in both spellings',
      'listen: ":1"\nlookaside_listen: ":1"',
      /^lookaside_listen stands twice in /,
    ],
    ['a key that stands twice', 'listen: ":1"\nlisten: ":2"', /^LOOKASIDE_CONFIG: cannot read .*unique/s],
    ['broken YAML', 'listen: [', /^LOOKASIDE_CONFIG: cannot read /],
    ['a list', '- listen', /holds no settings/],
    ['a text', 'listen', /holds no settings/],
    ['a number', '1', /holds no settings/],
    ['a map for a value', 'listen: {port: 80}', /^listen in .* is neither text nor a list of texts/],
    ['no value', 'listen:', /^listen in .* is neither text nor a list of texts/],
    ['a list of numbers', 'trusted_proxies: [1]', /^trusted_proxies in .* is neither text nor a list/],
    ['two documents', 'listen: ":1"\n---\nlisten: ":2"', /^LOOKASIDE_CONFIG: cannot read /],
    ['a number without a unit', 'access_max: 5', /^access_max in \S+ is "5": /],
  ];
  for (const [what, yaml, said] of FILES) {
    test(`${what} is refused`, (t) => assert.match(refusal(withFile(t, yaml)), said));
  }

  test('an empty one says nothing', (t) => {
    for (const yaml of ['', '# only a comment\n', '---\n', 'null'])
      assert.deepEqual(load(withFile(t, yaml)).config, load().config);
  });

  test('booleans and lists mean what they say', (t) => {
    const { config } = load(withFile(t, 'listing: false\ntrusted_proxies: [10.0.0.0/8, "fd00::/8"]\n'));
    assert.equal(config.listing, false);
    assert.ok(config.trustedProxies.check('10.1.1.1') && config.trustedProxies.check('fd00::1', 'ipv6'));
    assert.equal(load(withFile(t, 'listing: true')).config.listing, true);
  });

  test('one that cannot be read is refused with its name and the reason', () => {
    for (const file of ['/nowhere/lookaside.yaml', '/', '', 'x\0y']) {
      const message = refusal({ LOOKASIDE_CONFIG: file });
      assert.match(message, /^LOOKASIDE_CONFIG: cannot read /);
      assert.ok(message.includes(file), message);
    }
  });

  test('a relative one is below the working folder', () => {
    assert.match(refusal({ LOOKASIDE_CONFIG: 'x.yaml' }), /cannot read \/srv\/lookaside\/x\.yaml: ENOENT/);
  });
});

describe('settings that go together', () => {
  test('a certificate without a key is refused, and a key without a certificate', () => {
    assert.match(
      refusal({ LOOKASIDE_TLS_CERT: 'c' }),
      /LOOKASIDE_TLS_CERT is set but LOOKASIDE_TLS_KEY is not/,
    );
    assert.match(
      refusal({ LOOKASIDE_TLS_KEY: 'k' }),
      /LOOKASIDE_TLS_KEY is set but LOOKASIDE_TLS_CERT is not/,
    );
  });

  const TREES: readonly (readonly [
    data: string,
    root: string | null,
    wanted: 'owned' | 'shared' | 'refused',
  ])[] = [
    ['/d', null, 'owned'],
    ['/d', '/d/sigstore', 'owned'],
    ['/d', '/d/sigstore/', 'owned'],
    ['/d/', '/d/x/../sigstore', 'owned'],
    ['/d', '/d/other', 'shared'],
    ['/d', '/d/sigstore/team', 'shared'],
    ['/d', '/srv/sigstore', 'shared'],
    ['/d', '/dd', 'shared'],
    ['/dd', '/d', 'shared'],
    ['/d', '/d', 'refused'],
    ['/d/data', '/d', 'refused'],
    ['/d/a/b', '/d/', 'refused'],
    ['/d', '/', 'refused'],
    ['/', '/', 'refused'],
  ];
  for (const [data, root, wanted] of TREES) {
    test(`with data in ${data}, ${root === null ? 'the default root' : `the root ${root}`} is ${wanted}`, () => {
      const environment = { LOOKASIDE_DATA: data, ...(root === null ? {} : { LOOKASIDE_ROOT: root }) };
      if (wanted === 'refused')
        assert.match(refusal(environment), /^LOOKASIDE_ROOT .* holds LOOKASIDE_DATA /);
      else assert.equal(load(environment).config.tree, wanted);
    });
  }
});

describe('the server that is talked to', () => {
  const SERVER = 'https://sig.example';

  function fileOf(t: TestContext, content: string): string {
    const folder = mkdtempSync(join(tmpdir(), 'lookaside-config-'));
    t.after(() => rmSync(folder, { recursive: true }));
    const file = join(folder, 'file');
    writeFileSync(file, content);
    return file;
  }

  const read = (environment: Environment, flags: Flags = {}) => readRemote(load(environment, flags).config);

  /** What is said when the files are wanted, of settings that are taken. */
  function complaint(environment: Environment): string {
    const { config } = load(environment);
    try {
      readRemote(config);
    } catch (error) {
      if (isLookasideError(error, 'CONFIG_INVALID')) return error.message;
      throw error;
    }
    return '';
  }

  test('is none while no URL is given, and no file is looked at', () => {
    assert.equal(read({ LOOKASIDE_TOKEN_FILE: '/nowhere', LOOKASIDE_CA: '/nowhere' }), null);
  });

  test('gets the token of the file, without the line feed at its end', (t) => {
    for (const end of ['', '\n', '\r\n']) {
      const file = fileOf(t, `lookaside_1${end}`);
      const remote = { url: SERVER, token: 'lookaside_1', ca: null, hasProxies: false };
      assert.deepEqual(read({ LOOKASIDE_URL: SERVER, LOOKASIDE_TOKEN_FILE: file }), remote);
    }
  });

  test('may be behind a proxy where the environment names one, whichever and however', () => {
    for (const variable of ['http_proxy', 'HTTP_PROXY', 'https_proxy', 'HTTPS_PROXY']) {
      const named = (proxy: string) => read({ LOOKASIDE_URL: SERVER, [variable]: proxy })?.hasProxies;
      assert.deepEqual([named('http://proxy.example:3128'), named('')], [true, false]);
    }
    assert.equal(read({ LOOKASIDE_URL: SERVER, NO_PROXY: 'sig.example' })?.hasProxies, false);
  });

  test('gets no token of a file that holds anything else', (t) => {
    for (const [content, refused] of [
      ['', /is empty; wanted the token alone/],
      ['\n', /is empty/],
      ['secret\n\n', /holds blanks, several lines/],
      ['secret one', /holds blanks/],
      [' secret', /holds blanks/],
      ['secret\u0000', /are not plain text/],
    ] as const) {
      const file = fileOf(t, content);
      const message = complaint({ LOOKASIDE_URL: SERVER, LOOKASIDE_TOKEN_FILE: file });
      assert.match(message, refused);
      assert.ok(message.startsWith(`LOOKASIDE_TOKEN_FILE: ${file} `), message);
      assert.doesNotMatch(message, /secret/);
    }
    assert.match(complaint({ LOOKASIDE_URL: SERVER, LOOKASIDE_TOKEN_FILE: HOME }), /cannot read .*: ENOENT/);
  });

  test('a token and a file of one are refused together, unless one comes from nearer', (t) => {
    const both = { LOOKASIDE_URL: SERVER, LOOKASIDE_TOKEN: 'one', LOOKASIDE_TOKEN_FILE: '/f' };
    assert.match(refusal(both), /LOOKASIDE_TOKEN and LOOKASIDE_TOKEN_FILE are both set/);
    assert.match(refusal(withFile(t, 'token: a\ntoken_file: b')), /are both set/);
    const file = fileOf(t, 'two');
    assert.equal(read({ LOOKASIDE_URL: SERVER, LOOKASIDE_TOKEN: 'one' }, { token_file: file })?.token, 'two');
    const near = load({
      ...withFile(t, `token_file: ${file}`),
      LOOKASIDE_URL: SERVER,
      LOOKASIDE_TOKEN: 'one',
    });
    assert.equal(readRemote(near.config)?.token, 'one');
    assert.equal(settingOf(near, 'token_file')?.value, '');
  });

  test('a token beside a password in the URL is refused, and neither is shown', () => {
    const url = 'https://joe:secret@sig.example';
    const message = refusal({ LOOKASIDE_URL: url, LOOKASIDE_TOKEN: 'secret' });
    assert.match(message, /LOOKASIDE_URL holds a user or password, and LOOKASIDE_TOKEN is set too/);
    assert.doesNotMatch(message, /secret/);
    assert.match(refusal({ LOOKASIDE_TOKEN_FILE: 'f' }, { url }), /and LOOKASIDE_TOKEN_FILE is set too/);
    assert.equal(settingOf(load({ LOOKASIDE_URL: url }), 'url')?.value, 'https://joe:****@sig.example');
  });

  test('is passed over when the command line names a folder, and named beside one it is refused', (t) => {
    const settings = { LOOKASIDE_URL: SERVER, LOOKASIDE_DATA: '/d', LOOKASIDE_ROOT: '/r' };
    assert.equal(read(settings)?.url, SERVER);
    for (const flags of [{ data: '/e' }, { root: '/e' }]) {
      const loaded = load(settings, flags);
      assert.equal(readRemote(loaded.config), null);
      assert.deepEqual(settingOf(loaded, 'url'), { name: 'LOOKASIDE_URL', value: '', source: 'default' });
      assert.equal(read(withFile(t, `url: ${SERVER}`), flags), null);
      assert.match(refusal({}, { ...flags, url: SERVER }), /^--server and --(data|root) are both given/);
      // one that is passed over need not fit the rest
      assert.equal(read({ LOOKASIDE_URL: 'https://joe:x@sig.example', LOOKASIDE_TOKEN: 't' }, flags), null);
    }
  });

  test('is trusted by the certificates of the file and those that Node.js is told, and nothing else of it is kept', (t) => {
    const [one = '', other = '', third = ''] = rootCertificates;
    const ca = fileOf(
      t,
      `# ours\n${one}\n-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n${other}\n`,
    );
    assert.equal(read({ LOOKASIDE_URL: SERVER, LOOKASIDE_CA: ca })?.ca, `${one}\n${other}`);
    const node = fileOf(t, third);
    const settings = { LOOKASIDE_URL: SERVER, LOOKASIDE_CA: ca, NODE_EXTRA_CA_CERTS: node };
    assert.equal(read(settings)?.ca, `${one}\n${other}\n${third}`);
    assert.equal(read({ ...settings, NODE_EXTRA_CA_CERTS: '/nowhere' })?.ca, `${one}\n${other}`);
    assert.equal(read({ LOOKASIDE_URL: SERVER, NODE_EXTRA_CA_CERTS: node })?.ca, null);
  });

  test('is trusted by no file without certificates, or with a broken one', (t) => {
    const broken = '-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n';
    for (const [content, message] of [
      ['', /holds no certificate; wanted one or more in PEM/],
      ['\u0030\u0082', /holds no certificate/],
      [broken, /holds a certificate that cannot be read/],
      [`${rootCertificates[0]}\n${broken}`, /holds a certificate that cannot be read/],
    ] as const) {
      assert.match(complaint({ LOOKASIDE_URL: SERVER, LOOKASIDE_CA: fileOf(t, content) }), message);
    }
    assert.match(
      complaint({ LOOKASIDE_URL: SERVER, LOOKASIDE_CA: '/nowhere' }),
      /LOOKASIDE_CA: cannot read \/nowhere: ENOENT/,
    );
  });
});

describe('a password in the public URL', () => {
  const URLS: readonly (readonly [given: string, shown: string])[] = [
    ['https://joe:secret@sig.example/a', 'https://joe:****@sig.example/a'],
    ['HTTPS://joe:secret@sig.example', 'HTTPS://joe:****@sig.example'],
    ['https://joe:sec:secret@sig.example', 'https://joe:****@sig.example'],
    ['https://joe:sec@secret@sig.example', 'https://joe:****@sig.example'],
    ['https://joe@home:secret@sig.example', 'https://joe@home:****@sig.example'],
    ['https://:secret@sig.example', 'https://:****@sig.example'],
    ['https://joe@sig.example', 'https://joe@sig.example'],
    ['https://sig.example:8443/a@b', 'https://sig.example:8443/a@b'],
  ];
  for (const [given, printed] of URLS) {
    test(`is not in ${printed}, as which ${given.replaceAll('secret', '…')} is shown`, () => {
      const loaded = load({ LOOKASIDE_PUBLIC_URL: given });
      assert.equal(settingOf(loaded, 'public_url')?.value, printed);
      assert.equal(loaded.config.publicUrl, given);
    });
  }

  test('is not in the words with which it is refused', () => {
    for (const url of [
      'https://joe:secret@sig.example?x',
      'https://joe:secret@sig.example#x',
      'https://joe:se/secret@sig.example',
      'ftp://joe:secret@h',
    ])
      assert.doesNotMatch(refusal({ LOOKASIDE_PUBLIC_URL: url }), /secret/);
  });
});

describe('the socket of a data directory', () => {
  test('has its full name where a socket can have it', () => {
    assert.equal(socketPathOf({ data: '/srv/lookaside' }), '/srv/lookaside/lookaside.sock');
  });

  test('is named from here where only that is short enough', () => {
    const deep = join(process.cwd(), 'd'.repeat(90));
    const name = socketPathOf({ data: deep });
    assert.equal(resolve(name), join(deep, 'lookaside.sock'));
    assert.ok(Buffer.byteLength(name) <= 107, name);
  });
});

describe('passed sockets', () => {
  test('are those of this process, and no child hears of them', () => {
    for (const [pid, fds, wanted] of [
      ['42', '1', [3]],
      ['42', '3', [3, 4, 5]],
      ['42', '0', []],
      ['41', '1', []],
      ['41', 'what others make of it', []],
    ] as const) {
      const environment: NodeJS.ProcessEnv = {
        LISTEN_PID: pid,
        LISTEN_FDS: fds,
        LISTEN_FDNAMES: 'web',
        HOME,
      };
      assert.deepEqual(takePassedSockets(environment, 42), wanted);
      assert.deepEqual(environment, { HOME });
    }
    assert.deepEqual(takePassedSockets({ LISTEN_FDS: '1' }, 42), []);
  });

  test('are refused when nobody can know how many there are', () => {
    for (const LISTEN_FDS of ['-1', '01', '1000', '1e1', ' 1', '']) {
      assert.throws(() => takePassedSockets({ LISTEN_PID: '42', LISTEN_FDS }, 42), {
        code: 'CONFIG_INVALID',
        message: `LISTEN_FDS is "${LISTEN_FDS}": wanted how many sockets are passed, like 1`,
      });
    }
    assert.throws(() => takePassedSockets({ LISTEN_PID: '42' }, 42), { code: 'CONFIG_INVALID' });
  });
});

describe('the database', () => {
  const DATABASE = 'postgres://joe:secret@db/x';

  test('is shown without its password', () => {
    const loaded = load({ LOOKASIDE_DATABASE: DATABASE });
    assert.equal(settingOf(loaded, 'database')?.value, 'postgres://joe:****@db/x');
    const odd = load({ LOOKASIDE_DATABASE: 'postgres://joe:se@cret@db/x' });
    assert.equal(settingOf(odd, 'database')?.value, 'postgres://joe:****@db/x');
    const other = load({
      LOOKASIDE_DATABASE: 'postgres://db/x?user=joe&password=secret&port=1&sslpassword=of-key',
    });
    assert.equal(
      settingOf(other, 'database')?.value,
      'postgres://db/x?user=joe&password=****&port=1&sslpassword=****',
    );
    for (const bad of [
      'postgres://db/x?password=sec ret&port=1',
      'host=db password=secret',
      'joe:secret@db/x',
    ]) {
      assert.match(refusal({ LOOKASIDE_DATABASE: bad }), /^LOOKASIDE_DATABASE is "\*{4}": wanted a URL like/);
    }
  });

  test('does not undo the timeouts of sessions by its URL', () => {
    for (const name of ['options', 'idle_in_transaction_session_timeout', '%6Fptions']) {
      const said = refusal({ LOOKASIDE_DATABASE: `postgres://joe@/x?host=%2Frun&${name}=-cwork_mem%3D8MB` });
      assert.match(said, /(options|idle_in_transaction_session_timeout) is in the URL.*ALTER ROLE/);
    }
  });

  test('is read by one process of a node, however many processors there are', () => {
    const said = refusal({ LOOKASIDE_DATABASE: DATABASE, LOOKASIDE_READERS: '2' });
    assert.match(said, /^LOOKASIDE_READERS is 2, and a node over PostgreSQL.*start more nodes/);
    const { config } = load({ LOOKASIDE_DATABASE: DATABASE, LOOKASIDE_READERS: 'auto' });
    assert.equal(config.readers, 1);
  });

  test('has no tree beside it, and comes from one place', () => {
    assert.match(
      refusal({ LOOKASIDE_DATABASE: DATABASE, LOOKASIDE_ROOT: '/r' }),
      /^LOOKASIDE_ROOT names a tree/,
    );
    const both = { LOOKASIDE_DATABASE: DATABASE, LOOKASIDE_DATABASE_FILE: DATABASE_FILE };
    assert.match(refusal(both), /LOOKASIDE_DATABASE and LOOKASIDE_DATABASE_FILE are both set/);
    const keys = { LOOKASIDE_LOG_KEY: '-----BEGIN PRIVATE KEY-----\n', LOOKASIDE_LOG_KEY_FILE: LOG_KEY_FILE };
    assert.match(refusal(keys), /LOOKASIDE_LOG_KEY and LOOKASIDE_LOG_KEY_FILE are both set/);
    const witness = {
      LOOKASIDE_WITNESS_KEY: '-----BEGIN PRIVATE KEY-----\n',
      LOOKASIDE_WITNESS_KEY_FILE: LOG_KEY_FILE,
    };
    assert.match(refusal(witness), /LOOKASIDE_WITNESS_KEY and LOOKASIDE_WITNESS_KEY_FILE are both set/);
  });

  test('of the environment is not meant where a data directory is named', () => {
    assert.equal(load({ LOOKASIDE_DATABASE: DATABASE }, { data: '/d' }).config.database, null);
    assert.equal(load({ LOOKASIDE_DATABASE_FILE: DATABASE_FILE }, { data: '/d' }).config.database, null);
  });

  test('whose file cannot be read, or holds no URL, is refused by the name of the setting', () => {
    assert.match(
      refusal({ LOOKASIDE_DATABASE_FILE: '/nowhere' }),
      /^LOOKASIDE_DATABASE_FILE: cannot read \/nowhere: ENOENT/,
    );
    const said = refusal({ LOOKASIDE_DATABASE_FILE: LOG_KEY_FILE });
    assert.match(
      said,
      /^LOOKASIDE_DATABASE_FILE: what is in .*key1 cannot be used: wanted a URL like postgres:/,
    );
  });
});
