// The command line: what each command prints, and the code that it ends with.
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { mkdir, readFile, stat, writeFile } from 'node:fs/promises';
import { type AddressInfo, createServer } from 'node:net';
import path from 'node:path';
import { after, before, describe, it } from 'node:test';
import { describeOutcome, type Outcome } from '../clients/command.ts';
import { makeDataDirectory } from '../clients/data-directory.ts';
import { createToken, type LookasideServer, runLookaside, startServer } from '../clients/server.ts';
import { openTempFolder, type TempFolder } from '../clients/temp-folder.ts';
import { requestRaw } from '../http/raw-request.ts';
import { events } from '../sqlite/scratch.ts';
import { layImage, signatureBytes } from '../store/lay.ts';

let temp: TempFolder;

before(async () => {
  temp = await openTempFolder();
});
after(() => temp?.[Symbol.asyncDispose]());

let folders = 0;

/** A data directory that is not there yet. */
function newData(): string {
  folders += 1;
  return path.join(temp.path, `data-${folders}`);
}

function assertOutcome(outcome: Outcome, status: number, ...patterns: readonly RegExp[]): void {
  assert.equal(outcome.status, status, describeOutcome(outcome));
  for (const pattern of patterns) assert.match(outcome.stdout + outcome.stderr, pattern);
}

describe('key add', () => {
  it('names what is wrong with each file, and ends with 1', async () => {
    const [large, text] = ['large', 'text'].map((name) => path.join(temp.path, name));
    assert.ok(large !== undefined && text !== undefined);
    await writeFile(large, Buffer.alloc(4 * 1024 * 1024 + 1));
    await writeFile(text, 'no key\n');
    const data = newData();
    await makeDataDirectory(data);
    const outcome = await runLookaside(['key', 'add', large, text, '--data', data]);
    assertOutcome(
      outcome,
      1,
      /large: the file has more than 4194304 bytes, .*; export fewer keys into it/,
      /text: no OpenPGP certificate was found; .*gpg --export/,
    );
  });
});

// test/config.test.ts has every setting that can be wrong; here is that a wrong one ends the command
describe('wrong usage ends with 2 and names what is wrong', () => {
  const CASES: readonly [string, readonly string[], Readonly<Record<string, string>>, RegExp][] = [
    [
      'an unknown option',
      ['serve', '--lissen', ':0'],
      {},
      /unknown option '--lissen'.*lookaside serve --help/s,
    ],
    ['an unknown command', ['server'], {}, /unknown command 'server'/],
    ['no command', [], {}, /Usage: lookaside/],
    ['a missing option', ['token', 'create'], {}, /--name/],
    ['a role that there is not', ['token', 'create', '--name', 'x', '--role', 'king'], {}, /king/],
    [
      'a key file that is not there',
      ['key', 'add', '/no/key'],
      {},
      /\/no\/key: there is no such file.*gpg --export/,
    ],
    ['a folder for a key', ['key', 'add', '/'], {}, /cannot read \/: it is a folder/],
    ['a month that there is not', ['audit', 'report', '--month', '2026-13'], {}, /month like 2026-11/],
    ['an argument too many', ['fsck', 'now'], {}, /too many arguments/],
    ['a bad address', ['serve', '--listen', 'nonsense'], {}, /--listen is "nonsense".*\[HOST\]:PORT/],
    [
      'an unknown setting',
      ['serve'],
      { LOOKASIDE_X: '1' },
      /LOOKASIDE_X in the environment is not a setting/,
    ],
    [
      'a certificate that is not there',
      ['serve'],
      { LOOKASIDE_TLS_CERT: '/no/a.crt', LOOKASIDE_TLS_KEY: '/no/a.key', LOOKASIDE_LISTEN: '127.0.0.1:0' },
      /LOOKASIDE_TLS_CERT: cannot read \/no\/a\.crt/,
    ],
    [
      'a settings file that is not there',
      ['config'],
      { LOOKASIDE_CONFIG: 'no.yaml' },
      /LOOKASIDE_CONFIG.*no\.yaml/,
    ],
  ];
  before(() => makeDataDirectory(path.join(temp.path, 'data')));

  for (const [what, args, settings, pattern] of CASES) {
    it(what, async () => {
      const outcome = await runLookaside(args, settings, temp.path);
      assertOutcome(outcome, 2, pattern);
      assert.equal(outcome.stdout, '');
      assert.doesNotMatch(outcome.stderr, /^ +at /m, 'no stack');
    });
  }

  it('a root that holds the data directory', async () => {
    const outcome = await runLookaside(['config', '--data', newData(), '--root', '/']);
    assertOutcome(outcome, 2, /--root \/ holds --data \S+, which would be served/);
  });

  it('a settings file with a bad setting', async () => {
    const file = path.join(temp.path, 'settings.yaml');
    await writeFile(file, 'listing: maybe\n');
    assertOutcome(
      await runLookaside(['config'], { LOOKASIDE_CONFIG: file }),
      2,
      /listing in \S+settings\.yaml is "maybe"/,
    );
  });
});

describe('help and version', () => {
  it('end with 0', async () => {
    assertOutcome(await runLookaside(['--help']), 0, /serve/, /fsck/, /reindex/, /token/);
    const { version } = JSON.parse(await readFile(new URL('../../../package.json', import.meta.url), 'utf8'));
    const outcome = await runLookaside(['--version']);
    assertOutcome(outcome, 0);
    assert.equal(outcome.stdout, `${version}\n`);
  });
});

describe('lookaside config', () => {
  it('config shows where a certificate that is named on the command line is taken from', async () => {
    const args = ['config', '--json', '--tls-cert', 'server.pem', '--tls-key', 'server.key'];
    const { status, stdout } = await runLookaside(args, { LOOKASIDE_TLS_CERT: 'other.pem' });
    assert.equal(status, 0);
    const printed = JSON.parse(stdout);
    assert.deepEqual(printed.LOOKASIDE_TLS_CERT, { value: 'server.pem', source: 'flag' });
    assert.deepEqual(printed.LOOKASIDE_TLS_KEY, { value: 'server.key', source: 'flag' });
  });

  it('shows each setting with its value and source: flags win over the environment, that over the file', async () => {
    const file = path.join(temp.path, 'config.yaml');
    await writeFile(
      file,
      "listen: ':1'\ndata: /file\nlisting: off\ntrusted_proxies: [10.0.0.0/8, 'fd00::/8']\n",
    );
    const settings = { LOOKASIDE_CONFIG: file, LOOKASIDE_LISTEN: ':2', LOOKASIDE_DATA: '/environment' };
    const args = ['config', '--listen', ':3'];
    assertOutcome(
      await runLookaside(args, settings),
      0,
      /^SETTING +VALUE +FROM$/m,
      /^LOOKASIDE_LISTEN +:3 +flag$/m,
      /^LOOKASIDE_DATA +\/environment +environment$/m,
      /^LOOKASIDE_ROOT +\/environment\/sigstore +default$/m,
      /^LOOKASIDE_LISTING +off +file$/m,
      /^LOOKASIDE_READ +anonymous +default$/m,
      /^LOOKASIDE_PREFIX +\(none\) +default$/m,
    );
    const printed = JSON.parse((await runLookaside([...args, '--json'], settings)).stdout);
    assert.deepEqual(printed.LOOKASIDE_LISTEN, { value: ':3', source: 'flag' });
    assert.deepEqual(printed.LOOKASIDE_TRUSTED_PROXIES, { value: '10.0.0.0/8,fd00::/8', source: 'file' });
    assert.deepEqual(printed.LOOKASIDE_CONFIG, { value: file, source: 'environment' });
  });

  it('hides the password of a URL', async () => {
    const settings = { LOOKASIDE_PUBLIC_URL: 'https://joe:secret@sig.example' };
    const outcome = await runLookaside(['config'], settings);
    assertOutcome(outcome, 0, /https:\/\/joe:\*\*\*\*@sig\.example/);
    assert.doesNotMatch(outcome.stdout, /secret/);
  });
});

describe('a data directory', () => {
  it('has one server: a second one ends with 1 and names the directory', async () => {
    const data = newData();
    await using server = await startServer({ data });
    const second = await runLookaside(['serve', '--listen', '127.0.0.1:0', '--data', data]);
    assertOutcome(second, 1);
    assert.ok(second.stderr.includes(data), second.stderr);
    assert.equal((await requestRaw(server.port, 'GET /livez')).status, 200);
  });

  it('whose state.db is no database is refused with 1 and its name, by every command, and left as it is', async () => {
    const data = newData();
    await mkdir(data);
    const garbage = Buffer.alloc(8192, 'no database ');
    await writeFile(path.join(data, 'state.db'), garbage);
    const commands = [
      ['serve', '--listen', '127.0.0.1:0'],
      ['token', 'create', '--name', 'x'],
      ['token', 'list'],
      ['reindex'],
    ];
    for (const command of commands) {
      assertOutcome(await runLookaside([...command, '--data', data]), 1, /state\.db/);
    }
    assert.deepEqual(await readFile(path.join(data, 'state.db')), garbage);
  });

  it('that cannot be made is refused with 1 and its name', async () => {
    const file = path.join(temp.path, 'a-file');
    await writeFile(file, '');
    const data = path.join(file, 'data');
    const outcome = await runLookaside(['serve', '--listen', '127.0.0.1:0', '--data', data]);
    assertOutcome(outcome, 1);
    assert.ok(outcome.stderr.includes(data), outcome.stderr);
    assert.doesNotMatch(outcome.stderr, /^ +at /m, 'no stack');
  });
});

describe('a port that is taken', () => {
  it('ends the server with 1, and leaves the data directory free', async () => {
    const data = newData();
    const first = createServer().listen(0, '127.0.0.1');
    await once(first, 'listening');
    const { port } = first.address() as AddressInfo; // it listens on TCP
    const outcome = await runLookaside(['serve', '--data', data, '--listen', `127.0.0.1:${port}`]);
    first.close();
    assertOutcome(
      outcome,
      1,
      /cannot listen on 127\.0\.0\.1:[0-9]+: something else listens there; stop it, or choose/,
    );
    // of a network for documents (RFC 5737), which no machine has
    const elsewhere = await runLookaside(['serve', '--data', data, '--listen', '192.0.2.1:8000']);
    assertOutcome(elsewhere, 1, /: this machine does not have that address; .*, or choose another with/);
    await using second = await startServer({ data });
    assert.equal((await requestRaw(second.port, 'GET /livez')).status, 200);
  });
});

describe('lookaside token', () => {
  let data: string;
  let server: LookasideServer;
  let folder: string;

  before(async () => {
    data = newData();
    folder = await layImage(path.join(data, 'sigstore'), 'team/app', signatureBytes('one'));
    server = await startServer({
      data,
      settings: {
        LOOKASIDE_READ: 'token',
        LOOKASIDE_TOKEN: 'a-secret',
        LOOKASIDE_PUBLIC_URL: 'https://joe:a-secret@sig.example',
      },
    });
  });
  after(() => server?.[Symbol.asyncDispose]());

  const create = async (name: string, in_ = data, ...more: readonly string[]) => {
    const outcome = await runLookaside(['token', 'create', '--data', in_, '--name', name, ...more]);
    assertOutcome(outcome, 0);
    return outcome;
  };

  const status = async (target: string, authorization?: string, method = 'GET') => {
    const lines = authorization === undefined ? [] : [`Authorization: ${authorization}`];
    return (await requestRaw(server.port, `${method} ${target}`, lines)).status;
  };
  const basic = (user: string, password: string) =>
    `Basic ${Buffer.from(`${user}:${password}`).toString('base64')}`;

  it('create prints the token alone, with a server and without, and it is nowhere on disk', async () => {
    const without = newData();
    await makeDataDirectory(without);
    for (const place of [data, without]) {
      const { stdout, stderr } = await create('printed', place, '--role', 'reader');
      assert.match(stdout, /^lookaside_[0-9a-f]{64}\n$/);
      assert.ok(!stderr.includes(stdout.trim()), stderr);
      for (const name of ['state.db', 'state.db-wal']) {
        const stored = await readFile(path.join(place, name)).catch(() => Buffer.alloc(0));
        assert.ok(!stored.includes(stdout.trim()) && !stored.includes(stdout.trim().slice(10)));
      }
    }
    const json = JSON.parse((await create('json', data, '--role', 'reader', '--json')).stdout);
    assert.deepEqual(Object.keys(json), ['name', 'role', 'signer', 'expiresAt', 'token']);
  });

  it('create says in one line when the token never expires; with an end it says nothing, nor with --json', async () => {
    const said = async (name: string, ...more: readonly string[]) =>
      (await create(name, data, ...more)).stderr;
    assert.equal(
      await said('unending'),
      'lookaside: the token "unending" never expires; to make one that ends by itself: token create --expires 90d\n',
    );
    assert.equal(await said('ends', '--expires', '90d'), '');
    assert.equal(await said('unending-json', '--json'), '');
  });

  it('create --output writes a file for its owner alone, and never loses a token that is in a file', async () => {
    const file = path.join(data, '..', `${path.basename(data)}.token`);
    const { stdout } = await create('in-a-file', data, '--output', file, '--expires', '90d');
    assert.equal(stdout, `The token "in-a-file" is in ${file}.\n`);
    const token = await readFile(file, 'utf8');
    assert.match(token, /^lookaside_[0-9a-f]{64}\n$/);
    assert.equal((await stat(file)).mode & 0o777, 0o600);
    assert.equal(await status(`/${folder}/signature-1`, `Bearer ${token.trim()}`), 200);

    const again = ['token', 'create', '--data', data, '--name', 'second', '--output'];
    assertOutcome(await runLookaside([...again, file]), 2, /is there already, and is not overwritten/);
    assertOutcome(
      await runLookaside([...again, path.join(data, 'no', 'folder')]),
      2,
      /ENOENT; no token was made/,
    );
    assert.equal(await readFile(file, 'utf8'), token);
    assert.doesNotMatch((await runLookaside(['token', 'list', '--data', data])).stdout, /second/);

    const taken = ['token', 'create', '--data', data, '--name', 'in-a-file', '--output', `${file}.new`];
    assertOutcome(await runLookaside(taken), 1, /in-a-file/);
    await assert.rejects(stat(`${file}.new`), { code: 'ENOENT' });

    const json = JSON.parse((await create('in-json', data, '--output', `${file}.json`, '--json')).stdout);
    assert.deepEqual(Object.keys(json), ['name', 'role', 'signer', 'expiresAt', 'output']);
  });

  it('opens a closed server at once, as Bearer and as the Basic password of any user, until revoked', async () => {
    const token = await createToken(data, 'reader', 'reader');
    const targets = [`/${folder}/signature-1`, '/', '/team/', `/${folder}/`];
    for (const target of targets) {
      assert.equal(await status(target), 401, target);
      assert.equal(await status(target, 'Bearer lookaside_wrong'), 401, target);
      assert.equal(await status(target, basic('reader', 'wrong')), 401, target);
      assert.equal(await status(target, `Bearer ${token}`), 200, target);
      assert.equal(await status(target, basic('anyone', token)), 200, target);
      assert.equal(await status(target, basic('', token)), 200, target);
    }
    assert.equal(await status(`/${folder}/signature-2`, `Bearer ${token}`), 404);
    assert.equal(await status(`/${folder}/signature-2`), 401);
    assertOutcome(await runLookaside(['token', 'revoke', 'reader', '--data', data]), 0);
    for (const target of targets) assert.equal(await status(target, `Bearer ${token}`), 401, target);
  });

  it('is asked for with a challenge, and probes are open', async () => {
    const { headers } = await requestRaw(server.port, `GET /${folder}/signature-1`);
    assert.match(headers.get('www-authenticate') ?? '', /^Basic realm=/);
    for (const probe of ['/livez', '/readyz', '/metrics']) assert.equal(await status(probe), 200, probe);
    assert.equal(await status('/api/v1/tokens'), 401);
  });

  it('lists and revokes by name; a name that is taken or unknown ends with 1', async () => {
    await createToken(data, 'listed', 'auditor');
    assertOutcome(await runLookaside(['token', 'create', '--data', data, '--name', 'listed']), 1, /listed/);
    assertOutcome(await runLookaside(['token', 'create', '--data', data, '--name', 'a b']), 1, /a b/);
    assertOutcome(await runLookaside(['token', 'revoke', 'nobody', '--data', data]), 1, /nobody/);
    await runLookaside(['token', 'revoke', 'listed', '--data', data]);
    const table = await runLookaside(['token', 'list', '--data', data]);
    assertOutcome(
      table,
      0,
      /^NAME +ROLE +STATE +SIGNER +CREATED +EXPIRES +REVOKED +LAST USED$/m,
      /^listed +auditor +revoked +- +\S+Z +- +\S+Z +-$/m,
    );
    const { tokens } = JSON.parse((await runLookaside(['token', 'list', '--data', data, '--json'])).stdout);
    assert.ok(tokens.some(({ name }: { name: string }) => name === 'listed'));
    assert.doesNotMatch(JSON.stringify(tokens), /hash|lookaside_/);
  });

  it('with an end says when that is, is listed as expired from then on, and its holder is told so', async () => {
    const before = Date.now();
    const { stdout } = await create('for-90-days', data, '--expires', '90d', '--json');
    const days = (Date.parse(JSON.parse(stdout).expiresAt) - before) / 86_400_000;
    assert.ok(days >= 90 && days < 90.01, stdout);
    const file = path.join(temp.path, 'expired.token');
    await writeFile(file, (await create('expired', data, '--expires', '1ms')).stdout);
    const url = `http://127.0.0.1:${server.port}`;
    const asked = await runLookaside(['key', 'list', '--server', url, '--token-file', file]);
    assert.match(
      asked.stderr,
      /^lookaside: http:\/\/127\.0\.0\.1:[0-9]+ no longer takes the token that was sent: it expired at \S+Z; give one with --token-file FILE or LOOKASIDE_TOKEN/m,
    );
    const table = await runLookaside(['token', 'list', '--data', data]);
    assertOutcome(
      table,
      0,
      /^for-90-days +uploader +valid +\(unbound\) +\S+Z +\S+Z +- +-$/m,
      /^expired +uploader +expired +\(unbound\) +\S+Z +\S+Z +- +-$/m,
    );

    const [backup, restored] = [path.join(temp.path, 'backup'), newData()];
    assertOutcome(await runLookaside(['backup', backup, '--data', data]), 0);
    assertOutcome(await runLookaside(['restore', backup, '--data', restored]), 0);
    const again = await runLookaside(['token', 'list', '--data', restored]);
    assert.equal(again.stdout, table.stdout);
  });

  for (const time of ['soon', '0d', '90', '-1d', '36501d', '999999999d']) {
    it(`--expires ${time} is refused with 2, and what is wanted`, async () => {
      const args = ['token', 'create', '--data', data, '--name', 'endless', `--expires=${time}`];
      assertOutcome(
        await runLookaside(args),
        2,
        /--expires <time>.* is invalid\. Wanted how long .*like 90d/,
      );
    });
  }

  it('with the role reader makes no tokens, and one with the role admin does', async () => {
    const reader = await createToken(data, 'only-reader', 'reader');
    const admin = await createToken(data, 'admin', 'admin');
    assert.equal(await status('/api/v1/tokens', `Bearer ${reader}`, 'POST'), 403);
    assert.equal(await status('/api/v1/tokens', `Bearer ${admin}`, 'POST'), 400); // it may, but names none
    for (const token of [reader, admin]) assert.equal(await status('/api/v1/tokens', `Bearer ${token}`), 200);
  });

  it('the settings that the server started with are told by audit query, without secrets', async () => {
    await create('after-the-start'); // the writer takes one after the other
    const asked = await runLookaside(['audit', 'query', '--action', 'settings', '--json', '--data', data]);
    assertOutcome(asked, 0);
    assert.doesNotMatch(asked.stdout, /a-secret/);
    const { rows } = JSON.parse(asked.stdout);
    assert.equal(rows.length, 1);
    const { actor, result, reason } = rows[0];
    assert.deepEqual([actor, result], ['server', 'in-force']);
    const { LOOKASIDE_READ, LOOKASIDE_TOKEN, LOOKASIDE_PUBLIC_URL, LOOKASIDE_LISTING } = JSON.parse(reason);
    assert.deepEqual(LOOKASIDE_READ, { value: 'token', source: 'environment' });
    assert.deepEqual(LOOKASIDE_TOKEN, { value: 'set', source: 'environment' });
    assert.deepEqual(LOOKASIDE_PUBLIC_URL, { value: 'https://set@sig.example', source: 'environment' });
    assert.equal(LOOKASIDE_LISTING.source, 'default');
    const table = await runLookaside(['audit', 'query', '--action', 'settings', '--data', data]);
    assert.match(table.stdout, / in-force {2}[0-9]{2} settings \(whole with --json\) {2}server /);
  });

  it('changes are told in the audit log, with who made them and from where', async () => {
    const admin = await createToken(data, 'ci-admin', 'admin');
    const made = await requestRaw(server.port, 'DELETE /api/v1/tokens/ci-admin', [
      `Authorization: Bearer ${admin}`,
      'X-Forwarded-For: 203.0.113.66',
    ]);
    assert.equal(made.status, 200);
    const without = newData();
    await makeDataDirectory(without);
    await createToken(without, 'alone', 'uploader');
    const recorded = [...events(data), ...events(without)]
      .map(({ leaf, private: who }) => ({ ...JSON.parse(leaf), ...JSON.parse(who ?? '{}') }))
      .filter(({ reason }) => /^(ci-admin|alone)/.test(reason));
    assert.deepEqual(
      recorded.map(({ action, actor, address, reason }) => [action, actor, address, reason]),
      [
        ['token-create', 'administrator', null, 'ci-admin (admin)'],
        ['token-revoke', 'ci-admin', '127.0.0.1', 'ci-admin'],
        ['token-create', 'administrator', null, 'alone (uploader)'],
      ],
    );
  });
});
