// Requests that no honest client sends, byte for byte: refused or answered, and the server goes on.
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { connect } from 'node:net';
import path from 'node:path';
import { after, afterEach, before, describe, it } from 'node:test';
import { type LookasideServer, startServer } from '../clients/server.ts';
import { openTempFolder, type TempFolder } from '../clients/temp-folder.ts';
import { promise } from '../faults/promise.ts';
import { layImage, signatureBytes } from '../store/lay.ts';
import { HEAD, headers, malformedRequests, requestOf } from './malformed.ts';
import { parseAnswer, requestRaw, sendRaw } from './raw-request.ts';

const ONE = signatureBytes('one');
const TWO = signatureBytes('two');

describe('a server', () => {
  let temp: TempFolder;
  let server: LookasideServer;
  let folder: string;

  before(async () => {
    temp = await openTempFolder();
    const root = path.join(temp.path, 'tree');
    folder = await layImage(root, 'team/app', ONE, TWO);
    server = await startServer({ root, data: path.join(temp.path, 'data') });
  });

  afterEach(async () => {
    const { status, body } = await requestRaw(server.port, `GET /${folder}/signature-1`);
    assert.equal(status, 200, server.output());
    assert.deepEqual(body, ONE);
  });

  after(async () => {
    await server?.[Symbol.asyncDispose]();
    await temp?.[Symbol.asyncDispose]();
  });

  /** Statuses of all the answers to these bytes, in order. */
  const statuses = async (text: string): Promise<number[]> => {
    const answers = (await sendRaw(server.port, text)).toString('latin1');
    return [...answers.matchAll(/^HTTP\/1\.1 ([0-9]{3}) /gm)].map(([, status]) => Number(status));
  };

  const get = (lines: readonly string[]) => requestOf(folder, lines);

  promise(
    {
      id: 'P23',
      what: 'malformed HTTP over a raw socket is answered as it should be, and is followed by no other request',
      wanted: `${malformedRequests('').length} of ${malformedRequests('').length}`,
    },
    async (see) => {
      const cases = malformedRequests(folder);
      const wrong: string[] = [];
      for (const { what, text, status } of cases) {
        const [first = null, ...more] = await statuses(text);
        // a refused request may be followed by what the parser says of its remains, never by a signature
        if (first !== status || more.some((each) => each !== 400)) wrong.push(`${what}: ${first} ${more}`);
      }
      see(`${cases.length - wrong.length} of ${cases.length}`);
      assert.deepEqual(wrong, []);
    },
  );

  it('refuses 3,000 header lines', async () => {
    const [status, ...more] = await statuses(get([...HEAD, ...headers(2998)]));
    assert.ok(status === 431 || status === 400, `${status}`);
    assert.deepEqual(more, []);
  });

  it('tells what is wrong with what is no request to a client that is still sending', async () => {
    const cases: readonly (readonly [what: string, text: string, code: string])[] = [
      ['header lines', get([...HEAD, ...headers(200_000)]), 'HEADERS_TOO_LARGE'],
      ['a method', `${requestOf(folder, HEAD, 'FETCH')}${'x'.repeat(4 * 1024 * 1024)}`, 'REQUEST_INVALID'],
    ];
    for (const [what, text, code] of cases) {
      // some of these were lost when the connection was closed at once
      for (let round = 0; round < 100; round += 1) {
        const { status, headers, body } = parseAnswer(await sendRaw(server.port, text));
        assert.equal(status, code === 'HEADERS_TOO_LARGE' ? 431 : 400, what);
        assert.equal(headers.get('connection'), 'close', what);
        assert.equal(JSON.parse(body.toString()).errors[0].code, code, what);
      }
    }
  });

  it('says to a client that wants a tunnel that it is no proxy, and goes on when that client is gone', async () => {
    const tunnel = 'CONNECT registry.example:443 HTTP/1.1\r\nHost: registry.example:443\r\n\r\n';
    const { status, headers, body } = parseAnswer(await sendRaw(server.port, tunnel));
    assert.equal(status, 405);
    assert.equal(headers.get('allow'), 'GET, HEAD');
    assert.equal(headers.get('connection'), 'close');
    assert.match(
      JSON.parse(body.toString()).errors[0].message,
      /CONNECT "registry\.example:443" .* signature server/,
    );
    // the answer that is owed comes first, or none does
    assert.notEqual((await statuses(`${requestOf(folder, ['Host: a'])}${tunnel}`))[0], 405);
    for (let round = 0; round < 20; round += 1) {
      const client = connect({ host: '127.0.0.1', port: server.port });
      await once(client, 'connect');
      client.write(tunnel + 'x'.repeat(100_000));
      await once(client, 'readable');
      client.resetAndDestroy();
    }
  });

  it('ends the connection of a request whose end or host is in doubt, and says when it answered', async () => {
    const inDoubt = [
      ['Host: a', 'Host: b'], // a proxy in front of this server may have read the other one
      [],
      [...Array.from({ length: 101 }, (_, k) => `X-${k}: a`), 'Host: a'],
      ['Host: a', 'Content-Length: 1', 'Transfer-Encoding: chunked'],
    ];
    for (const lines of inDoubt) {
      const answer = await sendRaw(server.port, `${requestOf(folder, lines)}${requestOf(folder, HEAD)}`);
      const { status, headers } = parseAnswer(answer);
      assert.ok(status === 400 || status === 431, `${lines}`);
      assert.equal(headers.get('connection'), 'close', `${lines}`);
      assert.ok(Math.abs(Date.parse(headers.get('date') ?? '') - Date.now()) < 60_000, `${lines}`);
      assert.equal(answer.toString('latin1').match(/^HTTP\/1\.1 /gm)?.length, 1, `${lines}`);
    }
  });

  it('answers requests that came in one write, in their order', async () => {
    const requests = Array.from({ length: 40 }, (_, k) => {
      const last = k === 39 ? 'Connection: close\r\n' : '';
      return `GET /${folder}/signature-${(k % 3) + 1} HTTP/1.1\r\nHost: a\r\n${last}\r\n`;
    });
    let rest = await sendRaw(server.port, requests.join(''));
    for (let k = 0; k < 40; k += 1) {
      const { status, headers, body } = parseAnswer(rest);
      const length = Number(headers.get('content-length'));
      const wanted = [ONE, TWO, null][k % 3] ?? null;
      assert.equal(status, wanted === null ? 404 : 200, `answer ${k}`);
      if (wanted !== null) assert.deepEqual(body.subarray(0, length), wanted, `answer ${k}`);
      rest = rest.subarray(rest.length - body.length + length);
    }
    assert.equal(rest.length, 0);
  });

  it('does not take the body of one request for the next one', async () => {
    const inner = get(HEAD);
    for (const framing of [`Content-Length: ${inner.length}`, 'Transfer-Encoding: gzip, identity']) {
      assert.deepEqual(await statuses(`${get(['Host: a', framing])}${inner}`), [200], framing);
    }
  });

  it('takes nothing for a request after chunks of a wrong size', async () => {
    const answered = await statuses(`${get(['Host: a', 'Transfer-Encoding: chunked'])}zz\r\n${get(HEAD)}`);
    assert.equal(answered.filter((status) => status === 200).length, 1);
  });

  it('outlives garbage of every kind on many connections at once', async () => {
    const garbage = Array.from({ length: 60 }, (_, k) => {
      const bytes = Array.from({ length: 50 + 40 * k }, (_, at) => (at * 7919 + k * 104_729) % 256);
      return `${Buffer.from(bytes).toString('latin1')}\r\n\r\n`;
    });
    const answers = await Promise.all(garbage.map(statuses));
    for (const answered of answers) for (const status of answered) assert.equal(status, 400);
  });
});
