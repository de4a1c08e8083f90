// OpenID providers and nodes over PostgreSQL: people's log-ins to the web pages, which begin at one node and end at another, and
// the tokens of jobs that act as a signer.
import assert from 'node:assert/strict';
import { writeFile } from 'node:fs/promises';
import path from 'node:path';
import { it } from 'node:test';
import type { Composed } from '../../src/compose/composed.ts';
import { AUDIENCE, DISCOVERY, json, KEYS, openIssuer, type TestIssuer } from '../identity/issuer.ts';
import { folderOf } from '../store/lay.ts';
import { makeSigner } from './signer.ts';
import { openTempFolder } from './temp-folder.ts';
import { uploadsTo } from './uploads.ts';

export interface LogInNode {
  readonly composed: Pick<Composed, 'sessions' | 'signers' | 'keys' | 'subjects'>;
  readonly port: number;
  close(): Promise<void>;
}

export interface LogInTests {
  newDatabase(): Promise<string>;
  openNode(url: string, settings: Readonly<Record<string, string>>): Promise<LogInNode>;
}

const PUBLIC_URL = 'http://signatures.example.com';
const RULES = (issuer: string, role: string) => `providers:
  - id: sso
    issuer: ${issuer}
    client_id: lookaside
    roles:
      - role: ${role}
        claims: { sub: anna }
`;
const actor = { name: 'administrator', address: null, requestId: null };

/** It lets everybody in who is asked for, with the nonce of the log-in. */
function letIn(issuer: TestIssuer, nonceOf: () => string): void {
  issuer.answers.set(DISCOVERY, (_, res) =>
    json(res, {
      issuer: issuer.url,
      jwks_uri: issuer.url + KEYS,
      authorization_endpoint: `${issuer.url}/authorize`,
      token_endpoint: `${issuer.url}/token`,
      id_token_signing_alg_values_supported: ['ES256'],
    }),
  );
  issuer.answers.set('/token', async (_, res) =>
    json(res, {
      ...{ access_token: 'access', token_type: 'Bearer', expires_in: 60 },
      id_token: await issuer.token({ aud: 'lookaside', sub: 'anna', nonce: nonceOf() }),
    }),
  );
}

const cookiesOf = (answer: Response) =>
  answer.headers.getSetCookie().map((line) => line.slice(0, line.indexOf(';')));

export function logInTests({ newDatabase, openNode }: LogInTests): void {
  it('end a log-in through an OpenID provider that another one has begun, and know its session and its end', async () => {
    await using temp = await openTempFolder();
    await using issuer = await openIssuer();
    let nonce = '';
    letIn(issuer, () => nonce);
    const [rules, others] = ['log-in.yaml', 'others.yaml'].map((name) => path.join(temp.path, name));
    await writeFile(rules ?? '', RULES(issuer.url, 'auditor'));
    await writeFile(others ?? '', RULES(issuer.url, 'reader'));
    const url = await newDatabase();
    const settingsOf = (file = '') => ({ LOOKASIDE_OIDC_LOGIN: file, LOOKASIDE_PUBLIC_URL: PUBLIC_URL });
    const open = [rules, rules, others].map((file) => openNode(url, settingsOf(file)));
    const nodes = await Promise.all(open);
    const [one, two, other] = nodes as [LogInNode, LogInNode, LogInNode];
    try {
      const at = (node: LogInNode, page: string, init: RequestInit = {}) =>
        fetch(`http://127.0.0.1:${node.port}/ui/${page}`, { redirect: 'manual', ...init });
      const form = { method: 'POST', headers: { 'Sec-Fetch-Site': 'same-origin' } };
      const begun = await at(one, 'log-in/sso', { ...form, body: new URLSearchParams({ next: '' }) });
      const text = await begun.text();
      const [kept = ''] = cookiesOf(begun);
      const away = new URL(
        (/https?:\/\/[^"<>\s]*authorize[^"<>\s]*/.exec(text)?.[0] ?? '').replaceAll('&amp;', '&'),
      );
      nonce = away.searchParams.get('nonce') ?? '';
      const state = away.searchParams.get('state') ?? '';
      const back = `log-in/sso?${new URLSearchParams({ code: 'the-code', state })}`;
      assert.equal((await at(two, back)).status, 401, 'another browser');
      const ended = await at(two, back, { headers: { Cookie: kept } });
      const session = cookiesOf(ended).find((cookie) => cookie.startsWith('lookaside_session=')) ?? '';
      assert.match(session, /^lookaside_session=./);
      const audit = (node: LogInNode) => at(node, 'audit', { headers: { Cookie: session } });
      assert.equal((await audit(one)).status, 200);
      assert.notEqual((await audit(other)).status, 200, 'its own rules give auditors nothing');
      const [listed] = await one.composed.sessions.list();
      assert.deepEqual([listed?.shownName, listed?.role], ['anna', 'auditor']);
      await one.composed.sessions.end(listed?.id ?? 0, actor);
      assert.notEqual((await audit(two)).status, 200);
    } finally {
      for (const node of nodes) await node.close();
    }
  });

  it('take uploads of a job by the token of its provider, for the signer that another one has bound to it', async () => {
    await using issuer = await openIssuer();
    const url = await newDatabase();
    const settings = { LOOKASIDE_OIDC_AUDIENCE: AUDIENCE, LOOKASIDE_REQUIRE_GRANTS: 'true' };
    const nodes = await Promise.all([openNode(url, settings), openNode(url, settings)]);
    const [one, two] = nodes as [LogInNode, LogInNode];
    try {
      const { keys, signers, subjects } = one.composed;
      const own = makeSigner('own');
      await keys.add(own.certificate, actor);
      await signers.add({ name: 'ci', description: '' }, actor);
      const claims = { repository: 'team/*' };
      await subjects.add({ signer: 'ci', issuer: issuer.url, claims }, actor);
      const grant = { signer: 'ci', repositories: ['team/*'], keys: [own.fingerprint], tags: [] };
      await signers.addGrant(grant, actor);
      const post = async (repository: string, job: string) => {
        const token = await issuer.token({ repository: job });
        const bytes = own.sign({ repository, tag: 'v1' });
        return uploadsTo(two.port, token).post(folderOf(repository), bytes);
      };
      assert.equal((await post('team/app', 'team/app')).status, 201);
      assert.equal((await post('other/app', 'team/app')).status, 403);
      assert.equal((await post('team/app', 'other/app')).status, 401);
    } finally {
      for (const node of nodes) await node.close();
    }
  });
}
