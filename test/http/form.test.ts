// Forms of signatures byte for byte: honest ones, malformed ones, and those that have broken parsers before.
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { readdirSync } from 'node:fs';
import { connect } from 'node:net';
import { after, afterEach, before, describe, test } from 'node:test';
import fc from 'fast-check';
import { MAX_BATCH_BYTES, MAX_SIGNATURE_BYTES } from '../../src/domain/limits.ts';
import { parseAnswer, type RawAnswer, requestRaw, sendRaw } from './raw-request.ts';
import { bearer, openUploadScene, type UploadScene } from './upload-scene.ts';

const A = `sha256=${'a'.repeat(64)}`;
const APP = `team/app@${A}`;
const B = 'x-boundary';
const TYPE = `Content-Type: multipart/form-data; boundary=${B}`;
const UPLOADER = bearer('uploader');

let scene: UploadScene;
before(async () => {
  scene = await openUploadScene();
});
after(() => scene[Symbol.asyncDispose]());

// whatever was sent, the next form is taken
afterEach(async () => {
  const name = `team/after@sha256=${'b'.repeat(64)}/signature-1`;
  const answer = await sendForm([file('after', name)]);
  assert.equal(answer.status, 200, answer.body.toString());
});

interface Part {
  readonly headers: readonly string[];
  readonly content: string | Uint8Array;
}

const disposition = (rest: string) => `Content-Disposition: form-data; ${rest}`;

const file = (content: string | Uint8Array, fileName = `${APP}/signature-1`, name = 'signature'): Part => ({
  headers: [disposition(`name="${name}"; filename="${fileName}"`)],
  content,
});

function form(
  parts: readonly Part[],
  { boundary = B, end }: { readonly boundary?: string; readonly end?: string } = {},
): Buffer {
  const pieces = parts.map(({ headers, content }) =>
    Buffer.concat([
      Buffer.from(`--${boundary}\r\n${headers.map((line) => `${line}\r\n`).join('')}\r\n`),
      Buffer.from(content),
      Buffer.from('\r\n'),
    ]),
  );
  return Buffer.concat([...pieces, Buffer.from(end ?? `--${boundary}--\r\n`)]);
}

const send = (body: Uint8Array, type = TYPE, target = '/api/v1/signatures'): Promise<RawAnswer> =>
  requestRaw(scene.port, `POST ${target}`, [UPLOADER, ...(type === '' ? [] : [type])], body);
const sendForm = (parts: readonly Part[], target?: string) => send(form(parts), TYPE, target);

const json = ({ body }: RawAnswer) => JSON.parse(body.toString());
const results = (answer: RawAnswer) => {
  assert.equal(answer.status, 200, answer.body.toString());
  return json(answer).results;
};

/** The answer is this refusal, and the service was not even asked. */
async function isRefused(sending: () => Promise<RawAnswer>, status: number, said: RegExp): Promise<void> {
  const asked = scene.uploader.arrived;
  const answer = await sending();
  assert.equal(answer.status, status, answer.body.toString());
  const [{ code, message }] = json(answer).errors;
  assert.equal(code, status === 413 ? 'TOO_LARGE' : 'REQUEST_INVALID');
  assert.match(message, said);
  assert.equal(scene.uploader.arrived, asked);
}

describe('a form', () => {
  test('has a result for each part, in order; a refused one does not stop the others', async () => {
    const image = `team/form@${A}`;
    const answer = await sendForm([
      file('one', `${image}/signature-1`),
      file('refuse KEY_UNKNOWN', `${image}/signature-2`),
      file('two', `${image}/signature-2`),
      file('one', `${image}/signature-1`),
      file('three', `${image}/signature-9`),
    ]);
    assert.deepEqual(
      results(answer).map(({ part, result, code, number, path, detail }: Record<string, unknown>) => ({
        part,
        result,
        ...(code === undefined ? { number, path } : { code, detail }),
      })),
      [
        { part: 0, result: 'created', number: 1, path: `/${image}/signature-1` },
        { part: 1, result: 'refused', code: 'KEY_UNKNOWN', detail: undefined },
        { part: 2, result: 'created', number: 2, path: `/${image}/signature-2` },
        { part: 3, result: 'exists', number: 1, path: `/${image}/signature-1` },
        { part: 4, result: 'refused', code: 'NUMBER_NOT_NEXT', detail: { next: 3 } },
      ],
    );
    const { text } = await scene.metrics.render();
    assert.match(text, /^lookaside_uploads_total\{result="refused",code="KEY_UNKNOWN"\} 1$/m);
    assert.deepEqual(scene.uploader.stored.get(image)?.map(String), ['one', 'two']);
  });

  test('brings every byte as it was, whatever it is', async () => {
    const image = `team/bytes@${A}`;
    const contents = [
      Buffer.from(Array.from({ length: 256 }, (_, k) => k)),
      Buffer.from('\r\n--x-boundar\r\n--\r\n-'),
      Buffer.from('\r\n\r\n'),
      Buffer.alloc(0),
      Buffer.alloc(200_000, '\r\n--x'),
    ];
    const answer = await sendForm(contents.map((content, k) => file(content, `${image}/signature-${k + 1}`)));
    assert.equal(results(answer).length, contents.length);
    assert.deepEqual(scene.uploader.stored.get(image), contents);
  });

  test('may have a preamble, an epilogue, other headers and a boundary in quotes', async () => {
    const image = `team/liberal@${A}`;
    const boundary = "'()+_,-./:=? x";
    const one = {
      headers: [
        'Content-Type: application/octet-stream',
        `content-disposition: FORM-DATA; filename="${image}/signature-1"; name=signature`,
        'X-Other: 1',
      ],
      content: 'one',
    };
    const body = Buffer.concat([
      Buffer.from('preamble\r\n'),
      form([one], { boundary }),
      Buffer.from(`epilogue\r\n--${boundary}\r\n`),
    ]);
    const answer = await send(body, `Content-Type: Multipart/Form-Data; charset=x; boundary="${boundary}"`);
    assert.equal(results(answer)[0].result, 'created');
  });

  test('in chunks of single bytes is the same form', async () => {
    const image = `team/chunks@${A}`;
    const body = form([file('one', `${image}/signature-1`), file('two', `${image}/signature-2`)]);
    const head = `POST /api/v1/signatures HTTP/1.1\r\nHost: a\r\nConnection: close\r\n${UPLOADER}\r\n${TYPE}\r\nTransfer-Encoding: chunked\r\n\r\n`;
    const chunks = [...body].map((byte) => `1\r\n${String.fromCharCode(byte)}\r\n`);
    assert.equal(
      results(parseAnswer(await sendRaw(scene.port, `${head}${chunks.join('')}0\r\n\r\n`))).length,
      2,
    );
  });

  // a body is kept in blocks, the first of 1024 bytes
  test('is the same form wherever a block ends in it', async () => {
    const image = `team/blocks@${A}`;
    const one = file('one', `${image}/signature-1`);
    const whole = form([one, one]);
    const delimiters = [0, 1, 2].map((k) => form([one, one].slice(k), { end: '' }).length);
    for (const behind of delimiters) {
      const delimiterAt = whole.length - `--${B}--\r\n`.length - behind;
      // the block ends ahead of the delimiter, within it, and behind it
      for (let inside = -2; inside <= `--${B}--\r\n`.length; inside += 1) {
        const preamble = `${'x'.repeat(1024 - 2 - delimiterAt - inside)}\r\n`;
        const answer = await send(Buffer.concat([Buffer.from(preamble), whole]));
        assert.equal(results(answer).length, 2, `${behind} ${inside}`);
      }
    }
    assert.deepEqual(scene.uploader.stored.get(image)?.map(String), ['one']);
  });

  test('is forced by force=1 alone', async () => {
    results(await sendForm([file('one')], '/api/v1/signatures?force=1'));
    assert.equal(scene.uploader.forces.at(-1), true);
    results(await sendForm([file('one')], '/api/v1/signatures?x=1'));
    assert.equal(scene.uploader.forces.at(-1), false);
    await isRefused(() => sendForm([file('one')], '/api/v1/signatures?force=yes'), 400, /force is "yes"/);
  });

  test('may have a hundred parts of the largest size that is usual, and not one more', async () => {
    const parts = (count: number) => Array.from({ length: count }, (_, k) => file(`${k}`, `x${k}`));
    assert.equal(results(await sendForm(parts(100))).length, 100);
    for (const count of [101, 150, 2000])
      await isRefused(() => sendForm(parts(count)), 413, /more than 100 parts/);
    const large = Array.from({ length: 100 }, () => file(Buffer.alloc(128 * 1024, 'x'), 'x'));
    assert.equal(results(await sendForm(large)).length, 100);
  });

  test('may have 16 MiB in all, in one part too, and not one byte more', async () => {
    const room = MAX_BATCH_BYTES - form([file('')]).length;
    assert.equal(results(await sendForm([file(Buffer.alloc(room, 'x'))])).length, 1);
    await isRefused(
      () => sendForm([file(Buffer.alloc(room + 1, 'x'))]),
      413,
      /the body has 16777217 bytes; at most 16777216 are taken here/,
    );
  });

  test('has each part whole, but of those that no client could read one byte too many', async () => {
    const image = `team/large@${A}`;
    const sizes = [
      MAX_SIGNATURE_BYTES - 1,
      MAX_SIGNATURE_BYTES,
      MAX_SIGNATURE_BYTES + 1,
      MAX_SIGNATURE_BYTES + 200_000,
    ];
    const sent = sizes.map((size, k) => Buffer.alloc(size, `${k}abc`));
    for (const [k, bytes] of sent.entries())
      results(await sendForm([file(bytes, `${image}/signature-${k + 1}`)]));
    const kept = scene.uploader.stored.get(image) ?? [];
    assert.deepEqual(
      kept.map(({ length }) => length),
      sizes.map((size) => Math.min(size, MAX_SIGNATURE_BYTES + 1)),
    );
    for (const [k, bytes] of kept.entries()) assert.ok(sent[k]?.subarray(0, bytes.length).equals(bytes));
  });

  test('keeps what its uploader names: paths, percent signs, letters beyond ASCII', async () => {
    for (const [name, printed] of [
      ['../../etc/passwd', '../../etc/passwd'],
      ['ä€.sig', 'ä€.sig'],
      ['50%41.sig', '50%41.sig'],
      ['a%22b', 'a"b'],
    ]) {
      const [result] = results(await sendForm([file('one', name)]));
      assert.equal(result.result, 'refused');
      assert.equal(result.message, `${printed} is no path`);
    }
  });
});

describe('what is no form', () => {
  for (const [what, type] of [
    ['without a type', ''],
    ['of the type of a shell', 'Content-Type: application/x-www-form-urlencoded'],
    ['of bytes', 'Content-Type: application/octet-stream'],
    ['of another kind of parts', `Content-Type: multipart/mixed; boundary=${B}`],
    ['of a longer type', `Content-Type: multipart/form-data-x; boundary=${B}`],
  ] as const) {
    test(`${what} is refused ahead of its body`, async () => {
      await isRefused(() => send(form([file('one')]), type), 400, /wanted multipart\/form-data, as curl -F/);
    });
  }

  for (const type of [
    'Content-Type: multipart/form-data',
    'Content-Type: multipart/form-data;',
    'Content-Type: multipart/form-data; boundary=',
    'Content-Type: multipart/form-data; boundary=""',
    `Content-Type: multipart/form-data; boundary=${'x'.repeat(71)}`,
    'Content-Type: multipart/form-data; boundary="x "',
    'Content-Type: multipart/form-data; boundary=<x>',
    `Content-Type: multipart/form-data; xboundary=${B}`,
  ]) {
    test(`with ${type} is refused`, async () => {
      await isRefused(() => send(form([file('one')]), type), 400, /names no boundary/);
    });
  }

  test('with a type that no grammar has is refused', async () => {
    for (const rest of [`; ;boundary=${B}`, `; x; boundary=${B}`, `; "; boundary=${B}`])
      await isRefused(
        () => send(form([file('one')]), `Content-Type: multipart/form-data${rest}`),
        400,
        /the form/,
      );
  });
});

describe('a malformed form is refused as a whole:', () => {
  const good = file('one');
  const part = (headers: readonly string[]): Part => ({ headers, content: 'x' });
  const cut = (body: Buffer, bytes: number) => body.subarray(0, body.length - bytes);

  const FORMS: readonly (readonly [what: string, body: Buffer, said: RegExp, status?: number])[] = [
    ['nothing at all', Buffer.alloc(0), /the form/],
    ['no parts', form([]), /the form has no parts/],
    ['text', Buffer.from('hello'), /the form cannot be read/],
    ['another boundary', form([good], { boundary: 'other' }), /the form cannot be read/],
    ['no closing boundary', form([good], { end: '' }), /Unexpected end of form/],
    ['a boundary that does not close', form([good], { end: `--${B}\r\n` }), /the form cannot be read/],
    ['a closing boundary that is cut', cut(form([good]), 3), /the form cannot be read/],
    ['a part that is cut', form([good]).subarray(0, 40), /the form cannot be read/],
    ['a field after a file', form([good, part([disposition('name="x"')])]), /a field that is not a file/],
    [
      'a field of the right name',
      form([part([disposition('name="signature"')])]),
      /a field that is not a file/,
    ],
    ['a file of another name', form([good, file('x', 'x', 'other')]), /a part named "other"/],
    ['a file of a name with brackets', form([file('x', 'x', 'signature[]')]), /a part named "signature\[\]"/],
    ['a file of a longer name', form([file('x', 'x', 'signatures')]), /a part named "signatures"/],
    ['a file without a name', form([good, part([disposition('filename="x"')])]), /the form cannot be read/],
    ['a part without headers', form([good, part([])]), /the form cannot be read|are not files/],
    [
      'a part without a disposition',
      form([good, part(['Content-Type: text/plain'])]),
      /1 of the form's 2 parts/,
    ],
    [
      'an attachment',
      form([good, part(['Content-Disposition: attachment; name="signature"; filename="x"'])]),
      /1 of the form's 2 parts/,
    ],
    [
      'bytes without a file name',
      form([good, part([disposition('name="signature"'), 'Content-Type: application/octet-stream'])]),
      /1 of the form's 2 parts/,
    ],
    ['an empty file name', form([good, file('x', '')]), /a field that is not a file/],
    ['a header without a colon', form([part(['Content-Disposition'])]), /Malformed part header/],
    ['a header without a name', form([part([': x'])]), /Malformed part header/],
    [
      'a header with a NUL',
      form([part([`${disposition('name="signature"; filename="x"')}\0`])]),
      /Malformed/,
    ],
    ['a header over 16 KiB', form([part([`X: ${'x'.repeat(20_000)}`])]), /Malformed part header/],
    ['3,000 headers', form([part(Array(3000).fill('X: y'))]), /Malformed part header/],
    [
      'blanks behind a boundary',
      Buffer.from(form([good, good]).toString().replaceAll(`--${B}\r\n`, `--${B} \r\n`)),
      /the form/,
    ],
    // the parser takes it for a whole form with a file that has not ended
    [
      'a header that ends with a boundary, and a line that begins with two dashes',
      Buffer.from(`--${B}\r\n${good.headers[0]}\r\n\r\n--${B}\r\n--x\r\n`),
      /Unexpected end of form/,
    ],
    // the parser forgets the first file when it meets the second
    [
      'a header that ends with a boundary, and a whole part behind it',
      Buffer.from(
        `--${B}\r\n${good.headers[0]}\r\n\r\n--${B}\r\n\r\n${good.headers[0]}\r\n\r\ntwo\r\n--${B}--\r\n`,
      ),
      /Unexpected end of form/,
    ],
    ['line feeds alone', Buffer.from(form([good]).toString().replaceAll('\r\n', '\n')), /the form/],
  ];
  for (const [what, body, said, status = 400] of FORMS) {
    test(what, () => isRefused(() => send(body), status, said));
  }

  // CVE-2026-77078, -82333, -5079 and their like: names that grow arrays and objects
  for (const names of [
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
  ]) {
    const printed = names.map((name) => name.slice(0, 20)).join(', ');
    test(`fields named ${printed}`, async () => {
      const fields = names.map((name) => part([disposition(`name="${name}"`)]));
      await isRefused(() => send(form(fields)), 400, /the form/);
      await isRefused(() => send(form([good, ...fields])), 400, /the form/);
    });

    test(`files named ${printed}`, async () => {
      const files = names.map((name) => file('x', 'x', name));
      await isRefused(() => send(form(files)), 400, /the form/);
      await isRefused(() => send(form([good, ...files])), 400, /the form/);
      assert.equal(Object.hasOwn(Object.prototype, 'x'), false);
    });
  }
});

test('any form, spoilt anywhere, is answered, and kept whole or not at all', async () => {
  const whole = form([
    file('one', 'x1'),
    { headers: [disposition('name="signature"; filename=x2'), 'Content-Type: text/plain'], content: 'two' },
  ]);
  const pieces = [
    '\r\n',
    '--',
    `--${B}`,
    `\r\n--${B}\r\n`,
    ':',
    '"',
    ';',
    '[',
    '\0',
    'ÿ',
    disposition('name="a"'),
  ];
  const change = fc.record({
    at: fc.nat({ max: whole.length }),
    removed: fc.nat({ max: 20 }),
    added: fc.oneof(fc.constantFrom(...pieces), fc.string({ unit: 'binary', maxLength: 5 })),
  });
  await fc.assert(
    fc.asyncProperty(fc.array(change, { maxLength: 4 }), async (changes) => {
      let body = whole;
      for (const { at, removed, added } of changes) {
        const from = Math.min(at, body.length);
        body = Buffer.concat([
          body.subarray(0, from),
          Buffer.from(added, 'latin1'),
          body.subarray(Math.min(from + removed, body.length)),
        ]);
      }
      const answer = await send(body);
      assert.ok([200, 400, 413].includes(answer.status), answer.body.toString());
      const delimiters = body.toString('latin1').split(`--${B}`).length - 1;
      if (answer.status === 200) assert.ok(json(answer).results.length < delimiters);
    }),
    { numRuns: 400 },
  );
});

test('two hundred dropped forms leave no descriptor, no listener and nothing stored', async () => {
  const descriptors = () => readdirSync('/proc/self/fd').length;
  const asked = scene.uploader.arrived;
  const before = descriptors();
  const body = form([file(Buffer.alloc(200_000, 'x'))]);
  for (let k = 0; k < 200; k += 1) {
    const socket = connect({ host: '127.0.0.1', port: scene.port });
    await once(socket, 'connect');
    socket.write(
      `POST /api/v1/signatures HTTP/1.1\r\nHost: a\r\n${UPLOADER}\r\n${TYPE}\r\nContent-Length: ${body.length}\r\n\r\n`,
    );
    await new Promise((resolve) => socket.write(body.subarray(0, 1 + k * 500), resolve));
    socket.destroy();
    await once(socket, 'close');
  }
  // the bytes that were held for them are free again: ten whole batches of them
  const large = form([file(Buffer.alloc(MAX_BATCH_BYTES - 1000, 'x'), 'x')]);
  for (let k = 0; k < 3; k += 1) results(await send(large));
  while (descriptors() > before) await new Promise(setImmediate);
  assert.equal(scene.uploader.arrived, asked + 3);
  assert.deepEqual(scene.log.lines, []);
});
