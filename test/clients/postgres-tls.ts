// A connection to PostgreSQL by TLS: who is trusted, and who is not.
import assert from 'node:assert/strict';
import { copyFile, rename } from 'node:fs/promises';
import path from 'node:path';
import { it } from 'node:test';
import { connect, listenOn } from '../../src/postgres/connect.ts';
import { CHANNEL } from '../../src/postgres/writer.ts';
import type { ServerCertificate } from './certificate.ts';
import { eventually } from './eventually.ts';
import type { Postgres } from './postgres.ts';
import { openTempFolder } from './temp-folder.ts';

export interface TlsScene {
  readonly postgres: Postgres;
  /** The certificate of PostgreSQL. */
  readonly server: ServerCertificate;
  /** The certificate of the user `certified`. */
  readonly client: ServerCertificate;
}

export function postgresTlsTests(scene: () => TlsScene): void {
  /** To the database of `url` by TCP. */
  function byTcp(url: string, user: string, host: string, query: Readonly<Record<string, string>>): string {
    const name = new URL(url.replace('@/', '@host/')).pathname;
    return `postgres://${user}@${host}:${scene().postgres.port}${name}?${new URLSearchParams(query)}`;
  }

  async function who(url: string): Promise<object> {
    const connections = connect({ url, poolSize: 1 });
    try {
      const [row] = await connections.query(
        'SELECT current_user AS name, ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()',
      );
      return row ?? {};
    } finally {
      await connections.close();
    }
  }

  it('is asked by TLS whose certificate is verified, by every connection of a node', async () => {
    const { postgres, server } = scene();
    const url = await postgres.newDatabase();
    const wanted = { sslmode: 'verify-full', sslrootcert: server.authorityFile };
    for (const sslmode of ['verify-full', 'require']) {
      const session = await who(byTcp(url, 'lookaside', '127.0.0.1', { ...wanted, sslmode }));
      assert.deepEqual(session, { name: 'lookaside', ssl: true });
    }
    const heard: string[] = [];
    const connections = connect({ url: byTcp(url, 'lookaside', '127.0.0.1', wanted) });
    const listening = listenOn(connections, CHANNEL, (payload) => heard.push(payload));
    try {
      await eventually(async () => {
        await postgres.query(url, `SELECT pg_notify('${CHANNEL}', 'log')`);
        assert.ok(heard.length > 0);
      });
    } finally {
      await listening.close();
      await connections.close();
    }
  });

  it('is not asked when its certificate is by another authority, or for another host, or without TLS', async () => {
    const { postgres, server, client } = scene();
    const url = await postgres.newDatabase();
    const full = { sslmode: 'verify-full', sslrootcert: server.authorityFile };
    const refused = [
      ['127.0.0.1', { ...full, sslrootcert: client.authorityFile }, /unable to verify|self-signed/],
      [
        '127.0.0.1',
        { ...full, sslmode: 'require', sslrootcert: client.authorityFile },
        /unable to verify|self-signed/,
      ],
      ['127.0.0.1', { sslmode: 'verify-full' }, /unable to verify|self-signed/],
      // the certificate names 127.0.0.1 alone
      ['127.0.0.2', full, /does not match|altnames/],
      ['127.0.0.1', { sslmode: 'disable' }, /no encryption/],
    ] as const;
    for (const [host, query, message] of refused) {
      const asking = who(byTcp(url, 'lookaside', host, query));
      await assert.rejects(asking, { code: 'STORE_UNAVAILABLE', message });
    }
  });

  it('is asked with what was read of a certificate whose file is away for a moment, and not without one', async () => {
    await using temp = await openTempFolder();
    const { postgres, server } = scene();
    const url = await postgres.newDatabase();
    const [sslrootcert, away] = [path.join(temp.path, 'ca.pem'), path.join(temp.path, 'away.pem')];
    await copyFile(server.authorityFile, sslrootcert);
    const wanted = byTcp(url, 'lookaside', '127.0.0.1', { sslmode: 'verify-full', sslrootcert });
    const connections = connect({ url: wanted, poolSize: 1 });
    const heard: string[] = [];
    await rename(sslrootcert, away);
    const listening = listenOn(connections, CHANNEL, (payload) => heard.push(payload));
    try {
      assert.equal((await connections.query('SELECT 1')).length, 1);
      const dead = await postgres.query(
        url,
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() AND application_name = 'lookaside'",
      );
      assert.ok(dead.length > 0);
      await eventually(async () => {
        await postgres.query(url, `SELECT pg_notify('${CHANNEL}', 'log')`);
        assert.ok(heard.length > 0);
      });
      assert.throws(() => connect({ url: wanted }), { code: 'STORE_UNAVAILABLE', message: /ca\.pem/ });
    } finally {
      await listening.close();
      await connections.close();
    }
  });

  it('knows a node by its own certificate, and lets nobody in without it', async () => {
    const { postgres, server, client } = scene();
    const url = await postgres.newDatabase();
    await postgres.query(url, 'CREATE ROLE certified LOGIN');
    const full = { sslmode: 'verify-full', sslrootcert: server.authorityFile };
    const own = { sslcert: client.certificateFile, sslkey: client.keyFile };
    assert.deepEqual(await who(byTcp(url, 'certified', '127.0.0.1', { ...full, ...own })), {
      ...{ name: 'certified', ssl: true },
    });
    await assert.rejects(who(byTcp(url, 'certified', '127.0.0.1', full)), { code: 'STORE_UNAVAILABLE' });
  });
}
