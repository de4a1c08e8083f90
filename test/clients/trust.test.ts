// Which signature servers are trusted by TLS, directly and through a proxy.
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { readFile } from 'node:fs/promises';
import { createServer as createHttpServer } from 'node:http';
import { createServer as createHttpsServer } from 'node:https';
import { type AddressInfo, connect, type Socket } from 'node:net';
import { describe, type TestContext, test } from 'node:test';
import { clientOf, failure, nameProxy } from '../upstream/scripted-server.ts';
import { needs } from './available.ts';
import { makeServerCertificate } from './certificate.ts';
import { openTempFolder } from './temp-folder.ts';

describe('a client over TLS', needs('openssl'), () => {
  async function serveTls(t: TestContext) {
    const temp = await openTempFolder();
    t.after(() => temp[Symbol.asyncDispose]());
    const ours = await makeServerCertificate(temp.path, 'ours');
    const [key, cert, ca] = await Promise.all(
      [ours.keyFile, ours.certificateFile, ours.authorityFile].map((file) => readFile(file, 'utf8')),
    );
    assert.ok(key !== undefined && cert !== undefined && ca !== undefined);
    const server = createHttpsServer({ key, cert }, (_, res) => void res.end('{"keys":[]}'));
    server.listen(0, '127.0.0.1');
    await once(server, 'listening');
    t.after(() => {
      server.closeAllConnections();
      server.close();
    });
    return { port: (server.address() as AddressInfo).port, ca }; // it listens on a port
  }

  test('a server is trusted by the authority that is named, alone or directly and by proxy', async (t) => {
    const { port, ca } = await serveTls(t);
    await using trusting = clientOf({ url: `https://127.0.0.1:${port}`, ca });
    assert.deepEqual(await trusting.server.certificates(), []);

    await using client = clientOf({ url: `https://127.0.0.1:${port}` });
    const { code, message } = await failure(client.server.certificates());
    assert.equal(code, 'SERVER_UNREACHABLE');
    assert.match(message, /certificate is by an authority that is not trusted here .*--ca FILE/);

    const tunnels = await serveProxy(t, port);
    await using proxied = clientOf({ url: 'https://sig.example', hasProxies: true });
    assert.match((await failure(proxied.server.certificates())).message, /not trusted here/);
    await using known = clientOf({ url: 'https://sig.example', ca, hasProxies: true });
    // trusted, but made for 127.0.0.1
    assert.match(
      (await failure(known.server.certificates())).message,
      /certificate is for other names .*sig\.example/,
    );
    assert.deepEqual(tunnels, ['sig.example:443', 'sig.example:443']);
    assert.deepEqual([...client.retries, ...proxied.retries, ...known.retries], []);
  });

  /** A proxy that the environment names, whose tunnels all end at that port. What was asked of it. */
  async function serveProxy(t: TestContext, port: number): Promise<readonly string[]> {
    const asked: string[] = [];
    const proxy = createHttpServer().on('connect', (req, socket: Socket) => {
      asked.push(req.url ?? '');
      const beyond = connect(port, '127.0.0.1', () => {
        socket.write('HTTP/1.1 200 OK\r\n\r\n');
        beyond.pipe(socket).pipe(beyond);
      });
      for (const end of [beyond, socket]) end.on('error', () => undefined); // the client leaves in mid-handshake
    });
    proxy.listen(0, '127.0.0.1');
    await once(proxy, 'listening');
    t.after(() => proxy.close());
    nameProxy(t, 'https_proxy', `http://127.0.0.1:${(proxy.address() as AddressInfo).port}`); // it listens on a port
    return asked;
  }
});
