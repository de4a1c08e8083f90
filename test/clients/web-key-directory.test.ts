// Web Key Directories that have the keys: which place of a domain is asked, and what is made of several user ids. The domains are
// reached through a proxy, as their addresses would have to be public.
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { readFile } from 'node:fs/promises';
import { createServer as createProxy } from 'node:http';
import { createServer } from 'node:https';
import type { AddressInfo, Socket } from 'node:net';
import { test } from 'node:test';
import { openKeySources } from '../../src/upstream/key-source.ts';
import { needs } from './available.ts';
import { makeServerCertificate } from './certificate.ts';
import { openTempFolder } from './temp-folder.ts';

/** What each host has; one that is not here cannot be reached. */
const HOSTS: Readonly<Record<string, string | null>> = {
  'openpgpkey.advanced.example': 'of the advanced place, ',
  'advanced.example': 'of a place that is not to be asked',
  'openpgpkey.both.example': null,
  'both.example': 'of the direct place, ',
  'direct.example': 'of the direct place alone, ',
  'openpgpkey.empty.example': null,
  'empty.example': null,
  'plain.example': null,
};
/** The hash of the local part `joe.doe`: the example of the draft, in any case. */
const JOE = 'iy9q119eutrkn8s1mk4r39qejnbu3n5q';

test(
  'each user id is asked for at the advanced place and then at the direct one, and what is found is joined',
  needs('openssl'),
  async (t) => {
    await using temp = await openTempFolder();
    const made = await makeServerCertificate(temp.path, 'domains', Object.keys(HOSTS));
    const [ca = '', cert, key] = await Promise.all(
      [made.authorityFile, made.certificateFile, made.keyFile].map((file) => readFile(file, 'utf8')),
    );
    const asked: string[] = [];
    const domains = createServer({ cert, key }, (request, response) => {
      const host = request.headers.host ?? '';
      asked.push(`${host}${request.url}`);
      const has = HOSTS[host] ?? null;
      response.writeHead(has === null ? 404 : 200).end(has ?? 'nothing');
    });
    const proxy = createProxy().on('connect', ({ url = '' }, socket: Socket) => {
      if (!(url.replace(/:443$/, '') in HOSTS)) return socket.end('HTTP/1.1 502 Bad Gateway\r\n\r\n');
      socket.write('HTTP/1.1 200 OK\r\n\r\n');
      domains.emit('connection', socket);
    });
    proxy.listen(0, '127.0.0.1');
    await once(proxy, 'listening');
    t.after(() => proxy.close());

    const { https_proxy, no_proxy } = process.env;
    const at = `http://127.0.0.1:${(proxy.address() as AddressInfo).port}`; // of a TCP listener
    Object.assign(process.env, { https_proxy: at, no_proxy: '' });
    const sources = openKeySources({ ca, hasProxies: true });
    /** What comes for user ids with these addresses, and who was asked. */
    const fetched = async (...addresses: readonly string[]) => {
      asked.length = 0;
      const userIds = addresses.map((address) => `Joe <${address}>`);
      const fetchedKey = await sources.fetch({ kind: 'wkd' }, { fingerprint: 'AB'.repeat(20), userIds });
      return {
        fetchedKey: fetchedKey === null ? null : Buffer.from(fetchedKey).toString(),
        asked: [...asked],
      };
    };
    const advanced = (domain: string, local = 'joe.doe') =>
      `openpgpkey.${domain}/.well-known/openpgpkey/${domain}/hu/${JOE}?l=${local}`;
    const direct = (domain: string) => `${domain}/.well-known/openpgpkey/hu/${JOE}?l=joe.doe`;
    try {
      assert.deepEqual(await fetched('Joe.Doe@Advanced.Example'), {
        fetchedKey: 'of the advanced place, ',
        asked: [advanced('advanced.example', 'Joe.Doe')],
      });
      assert.deepEqual(await fetched('joe.doe@both.example'), {
        fetchedKey: 'of the direct place, ',
        asked: [advanced('both.example'), direct('both.example')],
      });
      assert.deepEqual(await fetched('joe.doe@direct.example'), {
        fetchedKey: 'of the direct place alone, ',
        asked: [direct('direct.example')],
      });
      const all = ['direct', 'empty', 'nowhere', 'advanced'].map((name) => `joe.doe@${name}.example`);
      assert.deepEqual(await fetched(...all), {
        fetchedKey: 'of the direct place alone, of the advanced place, ',
        asked: [
          direct('direct.example'),
          advanced('empty.example'),
          direct('empty.example'),
          advanced('advanced.example'),
        ],
      });
      assert.equal((await fetched('joe.doe@empty.example')).fetchedKey, null);
      assert.deepEqual(await fetched('joe.doe@plain.example'), {
        fetchedKey: null,
        asked: [direct('plain.example')],
      });
      await assert.rejects(fetched('joe.doe@empty.example', 'joe.doe@nowhere.example'), {
        code: 'UPSTREAM_UNAVAILABLE',
        message: /https:\/\/nowhere\.example\/\.well-known\/openpgpkey\/hu\//,
      });
    } finally {
      await sources.close();
      domains.closeAllConnections();
      for (const [name, value] of Object.entries({ https_proxy, no_proxy }))
        if (value === undefined) delete process.env[name];
        else process.env[name] = value;
    }
  },
);
