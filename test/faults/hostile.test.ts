// What strangers send to the running server: paths that lead elsewhere, links, forms that have broken parsers, and text
// that steers terminals.
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { mkdir, readdir, readFile, symlink, writeFile } from 'node:fs/promises';
import { connect } from 'node:net';
import path from 'node:path';
import { makeDataDirectory } from '../clients/data-directory.ts';
import { eventually } from '../clients/eventually.ts';
import { createToken, runLookaside, startServer } from '../clients/server.ts';
import { enrol, makeSigner } from '../clients/signer.ts';
import { openTempFolder } from '../clients/temp-folder.ts';
import { requestRaw } from '../http/raw-request.ts';
import { certificate, makeKey, message } from '../openpgp/packet-writer.ts';
import { folderOf, layImage, sha256Hex, signatureBytes } from '../store/lay.ts';
import { count, promise } from './promise.ts';

const SECRET = 'secret-that-no-reader-may-see';
const ONE = signatureBytes('one');

/** Ways to write a step up, a separator or an end of a name. */
const STEPS = [
  ...['..', '%2e%2e', '.%2e', '%2E.', '%252e%252e', '..%00', '..;', '..;x=1', '.../...', '%c0%ae%c0%ae'],
  ...['%e0%80%ae%e0%80%ae', '%u002e%u002e', '\\..', '..\\', '..%5c', '%5c..%5c', '%ef%bc%8e%ef%bc%8e', '.'],
  ...[
    '%2f..',
    '..%2f',
    '..%2F..%2F',
    '..%252f',
    '..%c0%af',
    '..%e2%88%95',
    '..%09',
    '..%20',
    '%ff',
    '%',
    '%zz',
  ],
];
const PLACES: readonly ((step: string, folder: string) => string)[] = [
  (step) => `/${step}/${step}/secret`,
  (step) => `/${step}${step}${step}etc/passwd`,
  (step) => `/team/${step}/${step}/secret`,
  (step, folder) => `/${step}/tree/${folder}/signature-1`,
  (step, folder) => `/${folder}/${step}/${step}/${step}/secret`,
  (step, folder) => `/${folder}/signature-1/${step}`,
  (step, folder) => `/${folder}/${step}/signature-9`,
  (step) => `/.lookaside/${step}/tmp/`,
  (step) => `//${step}//.lookaside//tmp/x`,
];
const OTHERS: readonly ((folder: string) => string)[] = [
  (folder) => `/${folder}/signature-1%00`,
  (folder) => `/${folder}/signature-1%00.txt`,
  (folder) => `/${folder}%00/signature-1x`,
  ...[255, 256, 1024, 4096, 8000].map((length) => () => `/${'a'.repeat(length)}/x@sha256=0/signature-1`),
  ...[255, 256, 4000].map((length) => (folder: string) => `/${folder}/signature-${'1'.repeat(length)}`),
  () => `/${'a/'.repeat(3000)}`,
  (folder) => `/${folder}/signature-1/`,
  (folder) => `/${folder}/Signature-1`,
  (folder) => `/${folder}/signature-01`,
  (folder) => `/${folder}/signature-1.`,
  (folder) => `/${folder}/signature-1%20`,
  (folder) => `/${folder}/signature-1::$DATA`,
  (folder) => `/${folder.replace('@', '%2540')}/signature-1`,
  (folder) => `/${folder.replace('sha256', 'SHA256')}/signature-1`,
  () => 'file:///etc/passwd',
  () => '/proc/self/environ',
  () => '/tree/../secret',
];

function hostileTargets(folder: string): readonly string[] {
  return [
    ...STEPS.flatMap((step) => PLACES.map((place) => place(step, folder))),
    ...OTHERS.map((other) => other(folder)),
  ];
}

/** With whose method, and behind what, each of them is asked. */
const WAYS = [
  { method: 'GET', prefix: '' },
  { method: 'PUT', prefix: '' },
  { method: 'POST', prefix: '' },
  { method: 'GET', prefix: '/api/v1/images' },
] as const;
const ASKED = WAYS.length * hostileTargets('').length;

const OWN_FILES = /^data\/(access\b|state\.db|index\.db|lock|lookaside\.sock)/;

/** Names of all below but the server's own files, and of each file its bytes. */
async function listing(folder: string): Promise<readonly string[]> {
  const entries = await readdir(folder, { recursive: true, withFileTypes: true });
  const all = entries.map(async (entry) => {
    const name = path.join(entry.parentPath, entry.name);
    return `${path.relative(folder, name)} ${entry.isFile() ? sha256Hex(await readFile(name)) : ''}`;
  });
  return (await Promise.all(all)).filter((line) => !OWN_FILES.test(line)).sort();
}

promise(
  {
    id: 'P22',
    what: 'paths that lead elsewhere: traversal in every encoding, NUL, over-long names; read, uploaded to, asked of the API',
    wanted: `${ASKED} of ${ASKED} refused, nothing made inside or outside the tree`,
  },
  async (see) => {
    await using temp = await openTempFolder();
    const root = path.join(temp.path, 'tree');
    const data = path.join(temp.path, 'data');
    const folder = await layImage(root, 'team/app', ONE);
    await mkdir(path.join(root, '.lookaside/tmp'), { recursive: true });
    for (const place of ['secret', 'tree/secret', 'tree/.lookaside/tmp/x', 'tree/team/secret']) {
      await writeFile(path.join(temp.path, place), SECRET);
    }
    await mkdir(data);
    const signer = makeSigner('alice');
    await enrol(data, signer);
    const admin = [`Authorization: Bearer ${await createToken(data, 'root', 'admin')}`];
    await using server = await startServer({ root, data });
    // good where it belongs
    const signature = signer.sign({ repository: 'team/app', tag: 'v1' });
    const before = await listing(temp.path);
    const wrong: string[] = [];
    for (const { method, prefix } of WAYS) {
      for (const target of hostileTargets(folder)) {
        const line = `${method} ${prefix}${target}`;
        const isUpload = method !== 'GET';
        const lines = isUpload || prefix !== '' ? admin : [];
        const { status, body } = await requestRaw(server.port, line, lines, isUpload ? signature : undefined);
        const said = body.toString('latin1');
        const isRefused = isUpload ? status >= 400 && status < 500 : status === 404 || status === 400;
        if (!isRefused || said.includes(SECRET) || said.includes('root:')) wrong.push(`${status} ${line}`);
      }
    }
    const made = (await listing(temp.path)).filter((line) => !before.includes(line));
    see(`${ASKED - wrong.length} of ${ASKED} refused, ${made.length} files and folders made`);
    assert.deepEqual(wrong, []);
    assert.deepEqual(await listing(temp.path), before);
    assert.equal((await requestRaw(server.port, `GET /${folder}/signature-1`)).status, 200);
    assert.equal((await requestRaw(server.port, `POST /${folder}`, admin, signature)).status, 201);
  },
);

promise(
  {
    id: 'P22',
    what: 'links put into the tree that lead out of it are not followed, and nobody waits for them',
    wanted: '8 of 8 are not there, and 8 are named in the log',
  },
  async (see) => {
    await using temp = await openTempFolder();
    const root = path.join(temp.path, 'tree');
    const outside = path.join(temp.path, 'outside');
    await layImage(outside, 'team/elsewhere', signatureBytes(SECRET));
    const file = path.join(outside, folderOf('team/elsewhere'), 'signature-1');
    const links: readonly string[] = [
      '/etc/passwd',
      '/dev/zero',
      '/proc/self/environ',
      file,
      path.relative(path.join(root, folderOf('link-4')), file),
      'signature-1',
      '../../../../../../../../etc/hostname',
      path.join(temp.path, 'data/state.db'),
    ];
    const folders: string[] = [];
    for (const [k, target] of links.entries()) {
      const folder = folderOf(`link-${k}`);
      await mkdir(path.join(root, folder), { recursive: true });
      await symlink(target, path.join(root, folder, 'signature-1'));
      folders.push(folder);
    }
    await symlink(path.join(outside, 'team'), path.join(root, 'linked'));
    await using server = await startServer({ root, data: path.join(temp.path, 'data') });
    let refused = 0;
    for (const folder of folders) {
      const { status } = await requestRaw(server.port, `GET /${folder}/signature-1`);
      assert.equal(status, 404, folder);
      refused += 1;
    }
    const through = folderOf('team/elsewhere').replace('team', 'linked');
    assert.equal((await requestRaw(server.port, `GET /${through}/signature-1`)).status, 404);
    const named = await eventually(() => {
      const leaked = folders.filter((folder) => server.output().includes(folder));
      assert.equal(leaked.length, folders.length, server.output());
      return leaked;
    });
    see(`${refused} of ${links.length} are not there, and ${named.length} are named in the log`);
  },
);

const BOUNDARY = 'x-boundary';
const NAMES: readonly (readonly string[])[] = [
  ['a[4294967294]', 'a[]'],
  ['a[4294967295]', 'a[]', 'a[x]'],
  ['a[99999999999999999999]'],
  ['signature[4294967294]', 'signature[]'],
  [`a${'[b]'.repeat(5000)}`],
  [`signature${'[0]'.repeat(20)}`],
  ['__proto__[x]', 'constructor[prototype][x]', '__proto__'],
  ['a[', 'a]', '[]', '[a', ''],
  ['x'.repeat(10_000)],
  ['a%0Ab', 'a%00', 'signature\0'],
];

/** A field or file for each name. */
function formOf(names: readonly string[], isFile: boolean): string {
  const parts = names.map((name) => {
    const file = isFile ? '; filename="x"' : '';
    return `--${BOUNDARY}\r\nContent-Disposition: form-data; name="${name}"${file}\r\n\r\nx\r\n`;
  });
  return `${parts.join('')}--${BOUNDARY}--\r\n`;
}

const BROKEN: readonly string[] = [
  '',
  `--${BOUNDARY}`,
  `--${BOUNDARY}\r\n\r\n`,
  `--${BOUNDARY}\r\nContent-Disposition: form-data; name="signature"; filename="x"\r\n\r\nx`,
  `--${BOUNDARY}\r\nContent-Disposition: form-data; name="signature"; filename="x"\r\n: x\r\n\r\nx\r\n--${BOUNDARY}--\r\n`,
  `--${BOUNDARY}\r\n${'X: y\r\n'.repeat(3000)}\r\nx\r\n--${BOUNDARY}--\r\n`,
  `--${BOUNDARY}\r\nX: ${'x'.repeat(20_000)}\r\n\r\nx\r\n--${BOUNDARY}--\r\n`,
  formOf(Array<string>(101).fill('signature'), true),
  formOf(Array<string>(1000).fill('a'), false),
];
const FORMS = [...NAMES.flatMap((names) => [formOf(names, false), formOf(names, true)]), ...BROKEN];
const DROPPED = count(200, 60);

/** A whole form of some 200 KB. */
function largeForm(): Buffer {
  const parts = ['a', 'b'].map(
    (name) =>
      `--${BOUNDARY}\r\nContent-Disposition: form-data; name="signature"; filename="${name}"\r\n\r\n${name.repeat(100_000)}\r\n`,
  );
  return Buffer.from(`${parts.join('')}--${BOUNDARY}--\r\n`);
}

/** Sends a part of the request and goes: of its head, of its body, all but the last byte or a few, in turn. */
async function drop(port: number, request: Buffer, headBytes: number, turn: number): Promise<void> {
  const share = (turn + 1) / (DROPPED + 1);
  const bodyBytes = request.length - headBytes;
  const sent = [
    Math.ceil(share * headBytes),
    headBytes + Math.floor(share * bodyBytes),
    headBytes + Math.floor((1 - share) * bodyBytes),
    request.length - 1 - Math.floor(turn / 4),
  ][turn % 4];
  const socket = connect({ host: '127.0.0.1', port });
  await once(socket, 'connect');
  await new Promise((resolve) => socket.write(request.subarray(0, sent), resolve));
  socket.destroy();
  await once(socket, 'close');
}

promise(
  {
    id: 'P24',
    what: 'multipart attacks of the known vulnerabilities, and uploads that are dropped',
    wanted: `${FORMS.length} of ${FORMS.length} refused; ${DROPPED} dropped of 100 and 200 KB, in head, middle and at the last byte, leave no descriptor and no file`,
  },
  async (see) => {
    await using temp = await openTempFolder();
    const signer = makeSigner('alice');
    const token = await enrol(temp.path, signer);
    await using server = await startServer({ data: temp.path });
    const lines = [
      `Authorization: Bearer ${token}`,
      `Content-Type: multipart/form-data; boundary=${BOUNDARY}`,
    ];
    const send = (body: string | Buffer) =>
      requestRaw(server.port, 'POST /api/v1/signatures', lines, Buffer.from(body));
    let refused = 0;
    for (const form of FORMS) {
      const { status, body } = await send(form);
      assert.ok(status === 400 || status === 413, `${status} ${body} to ${form.slice(0, 100)}`);
      refused += 1;
    }
    // sockets come and go: what is counted is what stays
    const open = async () => (await readdir(`/proc/${server.pid}/fd`)).length;
    const before = await open();
    const forms = [
      largeForm(),
      largeForm(),
      signer.sign({ repository: 'team/app', tag: 'v1', filling: 'x'.repeat(100_000) }),
    ];
    for (let k = 0; k < DROPPED; k += 1) {
      const body = forms[k % forms.length] ?? assert.fail();
      const isRaw = k % forms.length === 2;
      const [line, ...more] = isRaw
        ? [`POST /${folderOf('team/app')}`, lines[0]]
        : ['POST /api/v1/signatures', ...lines];
      const head = [`${line} HTTP/1.1`, 'Host: a', ...more, `Content-Length: ${body.length}`, '', ''].join(
        '\r\n',
      );
      await drop(server.port, Buffer.concat([Buffer.from(head), body]), head.length, k);
    }
    const after = await eventually(async () => {
      const now = await open();
      assert.ok(now <= before, `${now} descriptors, ${before} before`);
      return now;
    });
    const left = await readdir(path.join(temp.path, 'sigstore'), { recursive: true });
    const files = left.filter((name) => !['.lookaside', '.lookaside/tmp'].includes(name));
    see(
      `${refused} of ${FORMS.length} refused; ${DROPPED} dropped leave ${files.length} files, ${before} descriptors before and ${after} after`,
    );
    assert.deepEqual(files, []);
    const good = await requestRaw(
      server.port,
      `POST /${folderOf('team/app')}`,
      [`Authorization: Bearer ${token}`],
      signer.sign({ repository: 'team/app', tag: 'v1' }),
    );
    assert.equal(good.status, 201);
  },
);

/** Clears the screen, rings, hides, turns text round, ends lines where only some programs see it, opens elements. */
const STEERING =
  '\u001b]0;x\u0007\u001b[2J\u009b31m\r\n\u0085\u2028\u2029\u202e\u2066\u200b\ufeff\u007f<img src=x onerror=alert(1)>"\'=cmd|x';
// all that steers or is not seen, but for the line feed that ends our own lines
const UNSAFE = /(?!\n)[\p{Cc}\p{Cf}\p{Zl}\p{Zp}]/u;

promise(
  {
    id: 'P25',
    what: "others' text (creator, user ID, path, user agent, token, form) on terminals, in logs, JSON and pages",
    wanted: 'no character that steers, no element, every log line JSON: in all outputs',
  },
  async (see) => {
    await using temp = await openTempFolder();
    const data = temp.path;
    const key = makeKey('ed25519');
    const keyFile = path.join(data, 'hostile.gpg');
    await writeFile(keyFile, certificate(key, { userId: `Mallory ${STEERING} <m@example.invalid>` }));
    const outputs = new Map<string, string>();
    const note = async (what: string, args: readonly string[]) => {
      const { stdout, stderr } = await runLookaside(args);
      outputs.set(what, stdout + stderr);
    };
    await makeDataDirectory(data);
    await note('key add', ['key', 'add', keyFile, '--data', data]);
    await note('key list', ['key', 'list', '--data', data]);
    await note('key show', ['key', 'show', key.fingerprint, '--data', data]);
    const token = await createToken(data, 'pipeline', 'uploader');
    const auditor = await createToken(data, 'revision', 'auditor');
    await using server = await startServer({ data, settings: { LOOKASIDE_ACCESS_LOG: 'json' } });

    const manifest = Buffer.from('{"manifest":1}');
    const digest = sha256Hex(manifest);
    const folder = `team/app@sha256=${digest}`;
    const reference = 'registry.example/team/app:v1';
    const payload = (dockerReference: string) =>
      Buffer.from(
        JSON.stringify({
          critical: {
            identity: { 'docker-reference': dockerReference },
            image: { 'docker-manifest-digest': `sha256:${digest}` },
            type: 'atomic container signature',
          },
          optional: { creator: STEERING },
        }),
      );
    const staging = path.join(data, 'staging');
    await mkdir(path.join(staging, folder), { recursive: true });
    await writeFile(path.join(staging, folder, 'signature-1'), message(key, payload(reference)));
    await mkdir(path.join(staging, `evil ${STEERING.replaceAll('/', '')}@sha256=${digest}`), {
      recursive: true,
    });
    await writeFile(path.join(staging, folder, `signature-2 ${STEERING.replaceAll('/', '')}`), ONE);
    const manifestFile = path.join(data, 'manifest.json');
    await writeFile(manifestFile, manifest);

    await note('push', ['push', staging, '--data', data]);
    await note('push --json', ['push', staging, '--data', data, '--json']);
    await note('list', ['list', '--data', data]);
    await note('list --json', ['list', '--data', data, '--json']);
    await note('show', ['show', `team/app@sha256:${digest}`, '--data', data]);
    await note('verify', ['verify', manifestFile, reference, '--data', data]);
    await note('import', ['import', staging, '--data', data]);
    await note('token create', ['token', 'create', '--name', STEERING, '--role', 'reader', '--data', data]);
    await note('verify of a steering name', ['verify', manifestFile, STEERING, '--data', data]);
    assert.match(outputs.get('push') ?? '', /1 sent/);
    assert.match(outputs.get('show') ?? '', /Mallory|creator/);

    const agent = Buffer.from(`User-Agent: ${STEERING.replaceAll(/[\r\n]/g, '')}`).toString('latin1');
    const ask = async (what: string, line: string, lines: readonly string[] = [], body?: Uint8Array) => {
      const answer = await requestRaw(
        server.port,
        line,
        [agent.replaceAll(/[^\t\x20-\x7e\x80-\xff]/g, ''), ...lines],
        body,
      );
      if (what !== '') outputs.set(what, answer.body.toString());
      return answer;
    };
    const auth = (text: string) => [`Authorization: Bearer ${text}`];
    const written = encodeURIComponent(STEERING);
    await ask('', `GET /${written}/x`);
    await ask('page of the image', `GET /${folder}/`);
    await ask('page of the top', 'GET /');
    await ask('API of the image', `GET /api/v1/images/team/app@sha256:${digest}`, auth(auditor));
    await ask('API of signatures', 'GET /api/v1/signatures', auth(auditor));
    await ask('API of keys', 'GET /api/v1/keys', auth(auditor));
    await ask('a refused path', `PUT /${written}/signature-1`, auth(token), ONE);
    await ask('a refused reference', `POST /${folder}`, auth(token), message(key, payload(STEERING)));
    await ask('a wrong token', `POST /${folder}`, auth(`${'x'.repeat(20)}`), ONE);
    const { headers } = await ask('', `GET /${folder}/signature-1`);
    assert.equal(headers.get('content-type'), 'application/octet-stream');
    assert.equal(headers.get('x-content-type-options'), 'nosniff');

    await server.stop();
    const log = server.output();
    outputs.set('log', log);
    const lines = log.split('\n').filter((line) => line.startsWith('{'));
    for (const line of lines) JSON.parse(line);
    assert.ok(lines.length >= 8, log);
    const wrong = [...outputs]
      .filter(([what, text]) => UNSAFE.test(text) || (what.startsWith('page') && text.includes('<img')))
      .map(([what]) => what);
    const json = [...outputs].filter(([what]) => what.startsWith('API') || what.endsWith('--json'));
    for (const [, text] of json) JSON.parse(text);
    see(
      `${outputs.size - wrong.length} of ${outputs.size} outputs clean, ${lines.length} log lines are JSON`,
    );
    assert.deepEqual(wrong, []);
  },
);
