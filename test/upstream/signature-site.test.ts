import assert from 'node:assert/strict';
import { subscribe, unsubscribe } from 'node:diagnostics_channel';
import { type AddressInfo, createServer, type Socket } from 'node:net';
import { after, before, describe, test } from 'node:test';
import { deflateRawSync, gzipSync } from 'node:zlib';
import type { Fetched, SignatureUpstream, WalkFaultKind } from '../../src/domain/walk.ts';
import { isWholeSignature } from '../../src/openpgp/packets.ts';
import { createWalker } from '../../src/service/walk.ts';
import { isPublicAddress, lookupPublic, NotPublic } from '../../src/upstream/public-address.ts';
import { openSignatureSite, type SignatureSiteOptions } from '../../src/upstream/signature-site.ts';
import { makeSigner } from '../clients/signer.ts';
import { folderOf } from '../store/lay.ts';
import { type Answering, type HostileSite, missing, openHostileSite, serving } from './hostile-site.ts';
import { nameProxy } from './scripted-server.ts';

const WHAT = { repository: 'team/app', tag: 'v1' };
const FOLDER = folderOf('team/app');
const PATH = `${FOLDER}/signature-1`;

describe('one file of a site that is not ours', () => {
  const signature = makeSigner('vendor').sign(WHAT);
  const compressed = packedIn(signature);
  let site: HostileSite;
  const opened: SignatureUpstream[] = [];

  before(async () => {
    site = await openHostileSite();
  });
  after(async () => {
    await Promise.all(opened.map((upstream) => upstream.close()));
    await site?.[Symbol.asyncDispose]();
  });

  function open(more: Partial<SignatureSiteOptions> = {}): SignatureUpstream {
    const upstream = openSignatureSite({
      url: `${site.url}/sigstore`,
      missing: [404],
      redirects: [],
      ca: null,
      certificate: null,
      key: null,
      authorization: null,
      isWhole: isWholeSignature,
      hasProxies: false,
      ...more,
    });
    opened.push(upstream);
    return upstream;
  }

  async function get(answer: Answering, upstream = open(), path = PATH): Promise<Fetched> {
    site.answer = answer;
    return upstream.get(path, { signal: AbortSignal.timeout(10_000), isFresh: false });
  }

  async function faultOf(answer: Answering, upstream = open()): Promise<WalkFaultKind | string> {
    const fetched = await get(answer, upstream);
    return fetched.kind === 'fault' ? fetched.fault : fetched.kind;
  }

  const sends =
    (bytes: Uint8Array | string, headers: Record<string, string> = {}, status = 200): Answering =>
    (_, res) =>
      void res.writeHead(status, headers).end(bytes);

  test('a whole signature is taken whatever its content type says, by the path as clients ask for it', async () => {
    const before = site.asked.length;
    for (const type of ['text/html', 'application/octet-stream', 'application/json']) {
      const fetched = await get(sends(signature, { 'Content-Type': type }));
      assert.ok(fetched.kind === 'bytes');
      assert.deepEqual(Buffer.from(fetched.bytes), signature);
    }
    assert.equal(site.asked[before], `/sigstore/${PATH}`);
    const zipped = await get(sends(gzipSync(signature), { 'Content-Encoding': 'gzip' }));
    assert.ok(zipped.kind === 'bytes');
    assert.deepEqual(Buffer.from(zipped.bytes), signature);
  });

  test('404 alone is an end, and another status where it is named', async () => {
    assert.equal((await get(missing)).kind, 'missing');
    for (const status of [201, 204, 206, 304, 400, 401, 403, 410, 429, 500, 503]) {
      assert.equal(await faultOf(sends('', {}, status)), 'status', String(status));
    }
    assert.equal((await get(sends('', {}, 403), open({ missing: [404, 403] }))).kind, 'missing');
  });

  test('what is no whole signature is a fault, by its kind', async () => {
    const { length } = signature;
    const cases: readonly (readonly [WalkFaultKind, Answering])[] = [
      ['not-openpgp', sends('<html>signature-7</html>', { 'Content-Type': 'application/octet-stream' })],
      ['not-openpgp', sends('{"error":"none"}')],
      ['not-openpgp', sends('')],
      ['cut', sends(signature.subarray(0, length - 1))],
      ['cut', sends(compressed.subarray(0, -20))],
      ['cut', sends(signature, { 'Content-Length': String(length - 7) })],
      ['cut', sends(gzipSync(signature).subarray(0, -9), { 'Content-Encoding': 'gzip' })],
      ['encoding', sends(signature, { 'Content-Encoding': 'br' })],
      ['encoding', sends(signature, { 'Content-Encoding': 'gzip, gzip' })],
      ['too-large', sends(gzipSync(Buffer.alloc(5 * 1024 * 1024)), { 'Content-Encoding': 'gzip' })],
      ['too-large', endless],
      ['connection', (req) => req.socket.destroy()],
      ['connection', hangsUpAfter(signature)],
    ];
    assert.equal((await get(sends(compressed))).kind, 'bytes');
    for (const [kind, answer] of cases) assert.equal(await faultOf(answer), kind);
  });

  test('the file is named in whose place something else was sent', async () => {
    for (const [sent, what] of [
      ['<html>signature-7</html>', 'a page'],
      ['{"error":"none"}', 'other data'],
      ['', 'nothing'],
    ] as const) {
      const fetched = await get(sends(sent));
      assert.equal(
        fetched.kind === 'fault' && fetched.message,
        `${site.url} sent ${what} in place of signature-1`,
      );
    }
  });

  test('a body that drips is ended by the deadline', async () => {
    site.answer = (_, res) => void res.writeHead(200).write(signature.subarray(0, 10));
    const fetched = await open().get(PATH, { signal: AbortSignal.timeout(50), isFresh: false });
    assert.ok(fetched.kind === 'fault');
    assert.equal(fetched.fault, 'deadline');
  });

  test('a redirect is followed within the origin and to a named host, with credentials to the origin alone', async () => {
    await using other = await openHostileSite(sends(signature));
    const to = (location: string): Answering => {
      return (req, res) => {
        if (req.url?.includes('elsewhere')) res.end(signature);
        else res.writeHead(307, { Location: location }).end();
      };
    };
    assert.equal((await get(to('/elsewhere/x?a=b'))).kind, 'bytes');
    assert.equal(await faultOf(to(`${other.url}/bucket?X-Amz-Signature=secret`)), 'redirect');
    assert.equal(other.asked.length, 0);
    const url = `http://${site.host}/sigstore/?token=secret`;
    const named = open({ url, authorization: 'Basic secret', redirects: [other.host] });
    assert.equal((await get(to(`${other.url}/bucket?X-Amz-Signature=secret`), named)).kind, 'bytes');
    assert.equal(site.asked.at(-1), `/sigstore/${PATH}?token=secret`);
    assert.match(site.headers.at(-1)?.authorization ?? '', /^Basic /);
    assert.deepEqual(other.asked, ['/bucket?X-Amz-Signature=secret']);
    assert.equal(other.headers[0]?.authorization, undefined);
  });

  test('a redirect to an address that is not public, to another scheme or without an end is a fault that tells no secret', async () => {
    for (const location of [
      'http://127.0.0.2:1/x?secret',
      'http://localhost:1/x?secret',
      'http://[::1]:1/x?secret',
      'http://[::ffff:127.0.0.1]:1/x?secret',
      'http://2130706433:1/x?secret',
      'http://0x7f.1/x?secret',
      'http://169.254.169.254/latest/meta-data?secret',
      'http://100.64.0.1/?secret',
      'http://10.1.2.3/?secret',
      'file:///etc/passwd?secret',
      'gopher://192.0.2.1/?secret',
      '//[',
      '?again=secret',
    ]) {
      const fetched = await get((_, res) => void res.writeHead(302, { Location: location }).end());
      assert.ok(fetched.kind === 'fault', location);
      assert.equal(fetched.fault, 'redirect', location);
      assert.doesNotMatch(fetched.message, /secret/);
    }
  });

  test('what a host is called does not hide where it is', async () => {
    const failure = await new Promise<Error | null>((resolve) => {
      lookupPublic('localhost', {}, (error) => resolve(error));
    });
    assert.ok(failure instanceof NotPublic);
    for (const address of ['8.8.8.8', '2606:4700::1111', '[2606:4700::1111]']) {
      assert.ok(isPublicAddress(address), address);
    }
    for (const address of [
      '127.0.0.1',
      '10.0.0.1',
      '172.31.0.1',
      '192.168.1.1',
      '169.254.1.1',
      '100.127.0.1',
    ]) {
      assert.ok(!isPublicAddress(address), address);
    }
    for (const address of [
      '224.0.0.1',
      '0.0.0.0',
      '::1',
      '::',
      'fe80::1%eth0',
      'fd00::1',
      '::ffff:8.8.8.8',
    ]) {
      assert.ok(!isPublicAddress(address), address);
    }
    for (const address of ['64:ff9b::7f00:1', '2002:7f00:1::', 'ff02::1', 'no-address', '']) {
      assert.ok(!isPublicAddress(address), address);
    }
  });

  test('sixteen requests are under way at once, those over fresh connections among them, and all are answered', async () => {
    let [running, most] = [0, 0];
    const waiting: (() => void)[] = [];
    site.answer = (_, res) => {
      running += 1;
      most = Math.max(most, running);
      waiting.push(() => {
        running -= 1;
        res.writeHead(404).end();
      });
      // as many as may come have come when nothing comes for some turns
      if (running === 16) setTimeout(() => waiting.splice(0).forEach((end) => void end()), 50);
    };
    const upstream = open();
    const asked = Array.from({ length: 48 }, (_, number) =>
      upstream.get(`${FOLDER}/signature-${number + 1}`, {
        signal: AbortSignal.timeout(30_000),
        isFresh: number % 3 === 0,
      }),
    );
    for (const fetched of await Promise.all(asked)) assert.equal(fetched.kind, 'missing');
    assert.equal(most, 16);
  });

  test('the next request is sent in the moment in which an answer ends, over the same sixteen connections', async () => {
    let turn = 0;
    const endedIn = new Map<unknown, number>();
    const waited: number[] = [];
    const sockets = new WeakMap<object, unknown>();
    const onSent = (message: unknown) => {
      const { request, socket } = message as { readonly request: object; readonly socket: unknown };
      sockets.set(request, socket);
      const ended = endedIn.get(socket);
      if (ended !== undefined) waited.push(turn - ended);
    };
    const onEnded = (message: unknown) => {
      endedIn.set(sockets.get((message as { readonly request: object }).request), turn);
    };
    let isOver = false;
    const count = () => {
      turn += 1;
      if (!isOver) setImmediate(count);
    };
    setImmediate(count);
    subscribe('undici:client:sendHeaders', onSent);
    subscribe('undici:request:trailers', onEnded);
    try {
      const from = site.ports.length;
      site.answer = missing;
      const upstream = open();
      const signal = AbortSignal.timeout(30_000);
      const asked = Array.from({ length: 200 }, (_, number) =>
        upstream.get(`${FOLDER}/signature-${number + 1}`, { signal, isFresh: false }),
      );
      for (const fetched of await Promise.all(asked)) assert.equal(fetched.kind, 'missing');
      assert.equal(new Set(site.ports.slice(from)).size, 16);
      assert.deepEqual(waited, Array(200 - 16).fill(0));
    } finally {
      isOver = true;
      unsubscribe('undici:client:sendHeaders', onSent);
      unsubscribe('undici:request:trailers', onEnded);
    }
  });

  test('an answer that nobody asked for is not taken for that of the next request', async () => {
    const surplus = 'HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n';
    let sent = 0;
    await using raw = await openRawSite((socket) => {
      sent += 1;
      const head = `HTTP/1.1 200 OK\r\nContent-Length: ${signature.length}\r\n\r\n`;
      const extra = sent % 5 === 0 ? surplus : '';
      socket.write(Buffer.concat([Buffer.from(head), signature, Buffer.from(extra)]));
    });
    const walks = await askTwice(open({ url: `${raw.url}/sigstore` }), 60);
    assert.ok(sent >= 60);
    assert.deepEqual(walks, Array(60).fill('bytes'));
  });

  test('a site that closes what it has promised to keep, or says that it will, is asked until all is there', async () => {
    for (const header of ['Connection: keep-alive', 'Connection: close']) {
      let sent = 0;
      await using raw = await openRawSite((socket) => {
        sent += 1;
        socket.end(`HTTP/1.1 404 Not Found\r\n${header}\r\nContent-Length: 0\r\n\r\n`);
      });
      const walks = await askTwice(open({ url: `${raw.url}/sigstore` }), 60);
      assert.deepEqual(walks, Array(60).fill('missing'), header);
      // of the sixteen connections, each may have been used once more before it was known
      assert.ok(sent <= (header === 'Connection: close' ? 60 : 60 + 2 * 16), `${header}: ${sent}`);
    }
  });

  test('through a proxy all are asked too, over fresh connections as well', async (t) => {
    nameProxy(t, 'http_proxy', site.url);
    const from = site.asked.length;
    site.answer = missing;
    const upstream = open({ url: 'http://vendor.example/sigstore', hasProxies: true });
    const signal = AbortSignal.timeout(30_000);
    const asked = Array.from({ length: 60 }, (_, number) =>
      upstream.get(`${FOLDER}/signature-${number + 1}`, { signal, isFresh: number % 3 === 0 }),
    );
    for (const fetched of await Promise.all(asked)) assert.equal(fetched.kind, 'missing');
    const wanted = Array.from({ length: 60 }, (_, number) => `${FOLDER}/signature-${number + 1}`);
    const got = site.asked.slice(from).map((target) => target.replace(/^.*\/sigstore\//, ''));
    assert.deepEqual(got.toSorted(), wanted.toSorted());
    assert.equal(site.headers.at(-1)?.host, 'vendor.example');
  });

  test('the deadline ends what is still being connected, through a proxy too', async (t) => {
    // it takes connections, and never says anything
    await using raw = await openRawSite(() => undefined);
    nameProxy(t, 'https_proxy', raw.url);
    const direct = { url: `${raw.url.replace('http:', 'https:')}/sigstore` };
    const proxied = { url: 'https://vendor.example/sigstore', hasProxies: true };
    for (const options of [direct, proxied]) {
      const upstream = open(options);
      // more than there are places: each leaves its own
      const asked = Array.from({ length: 40 }, (_, number) =>
        upstream.get(PATH, { signal: AbortSignal.timeout(50), isFresh: number % 2 === 0 }),
      );
      for (const fetched of await Promise.all(asked)) {
        assert.ok(fetched.kind === 'fault');
        assert.equal(fetched.fault, 'deadline');
      }
    }
  });

  test('of the many hosts that redirects lead to, no more than sixteen connections are kept', async () => {
    const sockets: Socket[] = [];
    const onConnected = (message: unknown) =>
      void sockets.push((message as { readonly socket: Socket }).socket);
    const hosts = await Promise.all(Array.from({ length: 20 }, () => openHostileSite(sends(signature))));
    subscribe('undici:client:connected', onConnected);
    try {
      const upstream = open({ redirects: hosts.map(({ host }) => host) });
      for (const { url } of hosts) {
        const fetched = await get((_, res) => void res.writeHead(307, { Location: url }).end(), upstream);
        assert.equal(fetched.kind, 'bytes');
      }
      const isKept = ({ remotePort, destroyed }: Socket) =>
        !destroyed && hosts.some(({ host }) => host.endsWith(`:${remotePort}`));
      assert.equal(sockets.filter(isKept).length, 16);
    } finally {
      unsubscribe('undici:client:connected', onConnected);
      await Promise.all(hosts.map((host) => host[Symbol.asyncDispose]()));
    }
  });

  test('Retry-After is obeyed for an hour at most', async () => {
    const retry = async (value: string) => {
      const fetched = await get(sends('', { 'Retry-After': value }, 503));
      return fetched.kind === 'fault' ? fetched.retryAfterMs : null;
    };
    assert.equal(await retry('7'), 7000);
    assert.equal(await retry('999999'), 3_600_000);
    assert.equal(await retry(new Date(Date.now() + 86_400_000).toUTCString()), 3_600_000);
    assert.equal(await retry('soon'), null);
  });

  test('a walk tries each URL twice, the second time over a fresh connection, and takes the whole set', async () => {
    const files = new Map([
      [`/sigstore/${FOLDER}/signature-1`, signature],
      [`/sigstore/${FOLDER}/signature-2`, compressed],
    ]);
    const upstream = open();
    const walker = createWalker({
      upstreams: [upstream],
      clock: { monotonicMs: () => performance.now() },
      deadlineMs: 10_000,
      timeout: (ms) => AbortSignal.timeout(ms),
      onFault: () => undefined,
    });
    let failures = 1;
    const serve = serving(files);
    site.answer = (req, res) => {
      if (req.url?.endsWith('signature-2') && failures-- > 0) res.writeHead(500).end();
      else serve(req, res);
    };
    const before = site.asked.length;
    const walk = await walker.walk(FOLDER, null);
    assert.ok(walk.kind === 'set');
    assert.deepEqual(
      walk.blobs.map((bytes) => Buffer.from(bytes)),
      [signature, compressed],
    );
    const ports = site.ports.slice(before);
    const fresh = site.asked.slice(before).lastIndexOf(`/sigstore/${FOLDER}/signature-2`);
    assert.ok(!ports.slice(0, fresh).includes(ports[fresh] ?? 0));
    failures = 2;
    assert.equal((await walker.walk(FOLDER, null)).kind, 'fault');
  });
});

/** For each request, which comes in one piece, `answer` writes to its socket. */
async function openRawSite(answer: (socket: Socket) => void) {
  const sockets = new Set<Socket>();
  const server = createServer((socket) => {
    sockets.add(socket);
    socket.on('error', () => undefined).on('data', () => answer(socket));
  });
  await new Promise<void>((resolve) => {
    server.listen(0, '127.0.0.1', resolve);
  });
  const { port } = server.address() as AddressInfo;
  return {
    url: `http://127.0.0.1:${port}`,
    async [Symbol.asyncDispose]() {
      for (const socket of sockets) socket.destroy();
      await new Promise((resolve) => {
        server.close(resolve);
      });
    },
  };
}

/** So many files at once, each tried again over a fresh connection as a walk does. */
async function askTwice(upstream: SignatureUpstream, files: number): Promise<readonly string[]> {
  const signal = AbortSignal.timeout(30_000);
  const asked = Array.from({ length: files }, async (_, number) => {
    const path = `${FOLDER}/signature-${number + 1}`;
    const first = await upstream.get(path, { signal, isFresh: false });
    const last = first.kind === 'fault' ? await upstream.get(path, { signal, isFresh: true }) : first;
    return last.kind === 'fault' ? last.message : last.kind;
  });
  return Promise.all(asked);
}

/** The message within a compressed data packet, as gpg writes it: its length is not told. */
function packedIn(message: Uint8Array): Buffer {
  return Buffer.concat([Buffer.from([0xa3, 0x01]), deflateRawSync(message)]);
}

const endless: Answering = (_, res) => {
  const piece = Buffer.alloc(64 * 1024, 0x89);
  const more = () => {
    while (!res.destroyed && res.write(piece));
  };
  res.on('drain', more);
  more();
};

function hangsUpAfter(bytes: Uint8Array): Answering {
  return (req, res) => {
    res.writeHead(200, { 'Content-Length': String(bytes.length + 100) });
    res.write(bytes, () => req.socket.destroy());
  };
}
