// What every Administration promises, run over each implementation: the same answers to the same questions.
import assert from 'node:assert/strict';
import { existsSync } from 'node:fs';
import { readFile, rm } from 'node:fs/promises';
import path from 'node:path';
import { after, before, describe, test } from 'node:test';
import type { Administration } from '../../src/domain/administration.ts';
import { type ErrorCode, LookasideError } from '../../src/domain/errors.ts';
import { DEFAULT_MIRROR } from '../../src/domain/mirror.ts';
import { ANY_RECORD, type RecordPage } from '../../src/domain/records.ts';
import type { FsckFinding } from '../../src/domain/upkeep.ts';
import { eventually } from '../clients/eventually.ts';
import { makeSigner, type Signer } from '../clients/signer.ts';
import { openTempFolder, type TempFolder } from '../clients/temp-folder.ts';
import { certificate, makeKey, SIGNED_AT } from '../openpgp/packet-writer.ts';
import { folderOf, sha256Hex } from '../store/lay.ts';

export interface AdministrationUnderTest {
  readonly administration: Administration;
  close(): Promise<void>;
}

const UNKNOWN_FINGERPRINT = '01234567'.repeat(5);

/** `open`: of an owned tree in the data directory, which is empty. */
export function administrationContract(
  name: string,
  open: (data: string) => Promise<AdministrationUnderTest>,
): void {
  describe(name, () => {
    let temp: TempFolder;
    let under: AdministrationUnderTest;
    let administration: Administration;
    let root: string;

    before(async () => {
      temp = await openTempFolder();
      root = path.join(temp.path, 'sigstore');
      under = await open(temp.path);
      administration = under.administration;
    });
    after(async () => {
      await under?.close();
      await temp?.[Symbol.asyncDispose]();
    });

    async function refused(doing: Promise<unknown>, code: ErrorCode, message: RegExp): Promise<void> {
      await assert.rejects(doing, (error) => {
        assert.ok(error instanceof LookasideError, String(error));
        assert.equal(error.code, code, error.message);
        assert.match(error.message, message);
        return true;
      });
    }

    test('it is told which tree it is about', async () => {
      assert.deepEqual(await administration.about(), { root, tree: 'owned' });
    });

    test('a mirror is added, changed, listed and removed, and tells what became of a sync', async () => {
      const { mirrors } = administration;
      assert.deepEqual(await mirrors.list(), []);
      const views = [{ prefix: '/rh', strip: '', add: '' }];
      const settings = { ...DEFAULT_MIRROR, missing: [404], redirects: [], views };
      const upstreams = ['http://127.0.0.1:1/s?token=secret'];
      const added = await mirrors.add('rh', { ...settings, upstreams });
      assert.deepEqual([added.name, added.upstreams], ['rh', ['http://127.0.0.1:1/s?…']]);
      assert.ok(added.addedAt instanceof Date);
      await refused(mirrors.add('rh', { ...settings, upstreams }), 'NAME_TAKEN', /exists already/);
      await refused(mirrors.add('r2', { ...settings, upstreams: ['ftp://x'] }), 'REQUEST_INVALID', /https/);
      assert.equal((await mirrors.edit('rh', { maxAgeMs: 5000 })).maxAgeMs, 5000);
      assert.equal((await mirrors.edit('rh', { maxBytes: 1024 })).maxBytes, 1024);
      const image = `team/app@sha256:${'a'.repeat(64)}`;
      const progress: number[] = [];
      const onProgress = ({ total }: { total: number }) => void progress.push(total);
      const releases = {
        releases: [
          {
            digest: `sha256:${'a'.repeat(64)}`,
            version: '4.18.1',
            arch: 'amd64',
            channels: ['stable-4.18'],
            hasAllChannels: true,
          },
        ],
        wholeChannels: [{ channel: 'stable-4.18', arch: 'amd64' }],
      };
      const synced = await mirrors.sync('rh', { images: [image], maxAgeMs: null, ...releases, onProgress });
      assert.deepEqual(synced.counts, { new: 0, unchanged: 0, missing: 0, refused: 0, failed: 1 });
      assert.deepEqual(
        synced.images.map((one) => [one.image, one.result]),
        [[image, 'failed']],
      );
      await refused(
        mirrors.sync('rh', { images: ['x'], maxAgeMs: null }),
        'REQUEST_INVALID',
        /is not an image of/,
      );
      assert.deepEqual(await mirrors.missed('rh', new Date(0)), []);
      await refused(mirrors.show('none'), 'NOT_FOUND', /no mirror "none"/);
      const details = await mirrors.show('rh');
      assert.deepEqual([details.faults.connection, details.lastSync?.counts.failed], [1, 1]);
      assert.doesNotMatch(JSON.stringify([details, synced]), /secret/);
      await mirrors.remove('rh');
      assert.deepEqual(await mirrors.list(), []);
    });

    test('a key that was added is shown by fingerprint or key ID, and changes nothing the second time', async () => {
      const { keys } = administration;
      const alice = makeSigner('alice');
      const { fingerprint } = alice;
      const about = {
        fingerprint,
        userIds: ['alice <alice@example.invalid>'],
        state: 'valid',
        expiresAt: null,
      };
      assert.deepEqual(await keys.add(alice.certificate), [{ result: 'added', ...about, warnings: [] }]);
      const key = (await keys.list()).at(-1);
      assert.ok(key !== undefined);
      const { createdAt, addedAt, changedAt, algorithm, ...rest } = key;
      assert.deepEqual(rest, {
        ...about,
        canSign: true,
        revokedAt: null,
        retiredAt: null,
        revocation: null,
        subkeys: [],
      });
      assert.equal(algorithm, 'ed25519');
      for (const at of [createdAt, addedAt, changedAt]) assert.ok(at instanceof Date);

      const spaced = fingerprint.replace(/.{4}/g, '$& ').trim();
      for (const named of [fingerprint, fingerprint.toLowerCase(), spaced, fingerprint.slice(-16)]) {
        const { armored, warnings, addedBy, parts, ...details } = await keys.show(named);
        assert.ok(addedBy !== null && addedBy !== '');
        assert.deepEqual(parts, [{ fingerprint, uses: ['certify', 'sign'], revocationReason: null }]);
        assert.deepEqual(warnings, []);
        assert.deepEqual(details, key);
        assert.match(armored, /^-----BEGIN PGP PUBLIC KEY BLOCK-----\r?\n/);
        assert.deepEqual(await keys.add(Buffer.from(armored)), [
          { result: 'unchanged', ...about, warnings: [] },
        ]);
      }
    });

    test('a retired key is shown so wherever keys are, until that is undone', async () => {
      const { keys } = administration;
      const { certificate, fingerprint } = makeSigner('retiring');
      await keys.add(certificate);
      const retired = await keys.retire(fingerprint.slice(-16));
      assert.ok(retired.retiredAt instanceof Date);
      assert.equal(retired.state, 'valid');
      assert.deepEqual(await keys.retire(fingerprint), retired);
      const {
        armored: _,
        warnings: __,
        addedBy: ___,
        parts: ____,
        ...details
      } = await keys.show(fingerprint);
      assert.deepEqual([details, (await keys.list()).at(-1)], [retired, retired]);
      assert.deepEqual(await keys.unretire(fingerprint), { ...retired, retiredAt: null });
      assert.equal((await keys.show(fingerprint)).retiredAt, null);
      await refused(keys.retire(UNKNOWN_FINGERPRINT), 'NOT_FOUND', /no key [0-9A-F]{40} is registered/);
    });

    test('a file is taken certificate by certificate, and a refused one stops no other', async () => {
      const [first, unable, last] = [makeSigner('first'), makeKey('ed25519'), makeSigner('last')];
      const certifiesOnly = certificate(unable, { userId: 'unable', flags: 0x01 });
      const file = Buffer.concat([first.certificate, certifiesOnly, last.certificate]);
      const results = await administration.keys.add(file);
      assert.deepEqual(
        results.map(({ result, fingerprint }) => [result, fingerprint]),
        [
          ['added', first.fingerprint],
          ['refused', unable.fingerprint],
          ['added', last.fingerprint],
        ],
      );
      const [, refusal] = results;
      assert.ok(refusal?.result === 'refused');
      assert.equal(refusal.code, 'KEY_UNUSABLE');
      assert.match(refusal.message, /can sign nothing/);
      const listed = (await administration.keys.list()).map(({ fingerprint }) => fingerprint);
      assert.deepEqual(listed.slice(-2), [first.fingerprint, last.fingerprint]);
    });

    test('only keys that expire within a time are listed on demand, also those of which a signing subkey does', async () => {
      const { keys } = administration;
      const now = Date.now();
      const inDays = (days: number) => new Date(now + days * 86_400_000);
      const [soon, later, bySubkey] = [makeKey('ed25519'), makeKey('ed25519'), makeKey('ed25519')];
      for (const made of [
        certificate(later, { userId: 'later', expiresAt: inDays(40) }),
        certificate(soon, { userId: 'soon', expiresAt: inDays(20) }),
        certificate(bySubkey, {
          userId: 'by subkey',
          subkeys: [{ key: makeKey('ed25519'), expiresAt: inDays(2) }],
        }),
      ])
        await keys.add(made);
      const within = async (days: number) => {
        return (await keys.list(days * 86_400_000)).map(({ fingerprint }) => fingerprint);
      };
      assert.deepEqual(await within(30), [soon.fingerprint, bySubkey.fingerprint]);
      assert.deepEqual(await within(7), [bySubkey.fingerprint]);
      assert.deepEqual(await within(1), []);
      for (const { fingerprint } of [soon, later, bySubkey]) await keys.remove(fingerprint);
    });

    test('a file without a certificate is refused, and what names no key finds none', async () => {
      const { keys } = administration;
      const before = await keys.list();
      await refused(keys.add(Buffer.from('no key\n')), 'REQUEST_INVALID', /no OpenPGP certificate was found/);
      assert.deepEqual(await keys.list(), before);
      for (const name of ['', '..', 'alice', '../tokens', '%2e%2e', 'A'.repeat(41)]) {
        await refused(
          keys.show(name),
          'REQUEST_INVALID',
          /names no key; wanted a fingerprint of 40 hex digits/,
        );
      }
      await refused(keys.show(UNKNOWN_FINGERPRINT), 'NOT_FOUND', /no key [0-9A-F]{40} is registered/);
      await refused(
        keys.show(UNKNOWN_FINGERPRINT.slice(-16)),
        'NOT_FOUND',
        /no key with the ID [0-9A-F]{16}/,
      );
    });

    test('a token is told once, and listed until it is revoked and after', async () => {
      const { tokens } = administration;
      const named = async (name: string) => (await tokens.list()).find((token) => token.name === name);
      const wanted = { name: 'ci@team.one', role: 'uploader', lifeMs: null } as const;
      const { text, expiresAt } = await tokens.create(wanted);
      assert.equal(expiresAt, null);
      assert.match(text, /^lookaside_[0-9a-f]{64}$/);
      const token = await named('ci@team.one');
      assert.ok(token?.createdAt instanceof Date);
      assert.deepEqual(token, {
        name: 'ci@team.one',
        role: 'uploader',
        state: 'valid',
        createdAt: token.createdAt,
        expiresAt: null,
        revokedAt: null,
        signer: null,
        disabledAt: null,
        lastUsedAt: null,
      });
      await refused(tokens.create({ ...wanted, role: 'admin' }), 'NAME_TAKEN', /ci@team\.one/);
      const revoked = await tokens.revoke('ci@team.one');
      assert.ok(revoked.revokedAt instanceof Date);
      assert.deepEqual(revoked, { ...token, state: 'revoked', revokedAt: revoked.revokedAt });
      assert.deepEqual(await tokens.revoke('ci@team.one'), revoked);
      assert.deepEqual(await named('ci@team.one'), revoked);
    });

    test('who is logged in to the web pages is listed; a session that is over cannot be ended', async () => {
      assert.deepEqual(await administration.tokens.sessions(), []);
      for (const id of [7, Number.NaN])
        await refused(administration.tokens.endSession(id), 'NOT_FOUND', /there is no session/);
    });

    test('a token with an end tells when that is, and is listed as expired after it', async () => {
      const { tokens } = administration;
      const day = await tokens.create({ name: 'a-day', role: 'reader', lifeMs: 86_400_000 });
      const moment = await tokens.create({ name: 'a-moment', role: 'reader', lifeMs: 1 });
      await eventually(() => assert.ok(Date.now() > Number(moment.expiresAt)));
      const listed = await tokens.list();
      for (const [name, { expiresAt }, state] of [
        ['a-day', day, 'valid'],
        ['a-moment', moment, 'expired'],
      ] as const) {
        const token = listed.find((one) => one.name === name) ?? assert.fail();
        assert.deepEqual([token.expiresAt, token.state], [expiresAt, state]);
      }
      const { createdAt, expiresAt } = listed.find(({ name }) => name === 'a-day') ?? assert.fail();
      assert.equal(Number(expiresAt) - createdAt.getTime(), 86_400_000);
      for (const lifeMs of [0, -1, 36_501 * 86_400_000]) {
        const endless = { name: 'endless', role: 'reader', lifeMs } as const;
        await refused(tokens.create(endless), 'REQUEST_INVALID', /from one millisecond to 36500 days/);
      }
    });

    test('a signer has the OIDC subjects that it was given, at the beginning or later, until it is removed', async () => {
      const { signers, subjects } = administration;
      const issuer = 'https://issuer.example';
      const claims = { ref: 'refs/heads/*', repository: 'team/app' };
      const wanted = { signer: 'pipe', issuer, claims };
      await refused(subjects.add(wanted), 'NOT_FOUND', /no signer is named "pipe"/);
      const signer = await signers.add({ name: 'pipe', description: '', subjects: [{ issuer, claims }] });
      assert.equal('subjects' in signer, false);
      const [first] = await subjects.list('pipe');
      assert.ok(first !== undefined);
      const { id, createdAt, ...rest } = first;
      assert.deepEqual(rest, wanted);
      assert.ok(createdAt instanceof Date && id > 0);
      assert.deepEqual(await subjects.add(wanted), { ...first, created: false });
      const { created, ...second } = await subjects.add({ ...wanted, claims: { sub: 'x' } });
      assert.ok(created && second.id > id);
      for (const of of ['pipe', null]) assert.deepEqual(await subjects.list(of), [first, second]);
      assert.deepEqual((await signers.show('pipe')).subjects, [first, second]);
      assert.deepEqual(await subjects.remove(id), first);
      await refused(subjects.remove(id), 'NOT_FOUND', /no OIDC subject \d+; see: lookaside signer oidc list/);
      await refused(subjects.list('nobody'), 'NOT_FOUND', /no signer is named "nobody"/);
      await refused(subjects.add({ ...wanted, issuer: 'http://x' }), 'REQUEST_INVALID', /is not an issuer/);
      const evil = { name: 'evil', description: '', subjects: [{ issuer, claims: {} }] };
      await refused(signers.add(evil), 'REQUEST_INVALID', /needs a claim/);
      await refused(signers.show('evil'), 'NOT_FOUND', /evil/);
      assert.deepEqual((await signers.remove('pipe')).subjects, [second]);
      assert.deepEqual(await subjects.list(null), []);
    });

    test('who may sign what is exported, planned and applied as a whole, and what was exported changes nothing', async () => {
      const { keys, signers, grants, subjects, tokens, rules } = administration;
      const [grace, henry] = [makeSigner('grace'), makeSigner('henry')];
      await keys.add(grace.certificate);
      const oidc = [{ issuer: 'https://issuer.example', claims: { sub: 'x' } }];
      await signers.add({ name: 'one', description: 'first', subjects: oidc });
      await grants.add({ signer: 'one', repositories: ['team/*'], keys: [grace.fingerprint], tags: [] });
      await tokens.create({ name: 'one-1', role: 'uploader', lifeMs: null, signer: 'one' });
      const exported = await rules.export();
      const { certificate, ...ofGrace } =
        exported.keys?.find(({ fingerprint }) => fingerprint === grace.fingerprint) ?? {};
      assert.deepEqual(ofGrace, { fingerprint: grace.fingerprint, retired: false });
      assert.match(certificate ?? '', /BEGIN PGP PUBLIC KEY BLOCK/);
      const one = {
        name: 'one',
        description: 'first',
        disabled: false,
        oidc,
        grants: [{ repositories: ['team/*'], fingerprints: [grace.fingerprint], tags: [] }],
      };
      assert.deepEqual(exported.signers, [one]);
      assert.ok(exported.tokens?.some((token) => token.name === 'one-1' && token.signer === 'one'));
      for (const prune of [false, true])
        assert.deepEqual((await rules.plan(exported, { prune })).changes, []);

      const armored = await administration.keys
        .add(henry.certificate)
        .then(() => keys.export([henry.fingerprint], 'gpg-2.2'));
      await keys.remove(henry.fingerprint);
      const wanted = {
        keys: [
          { fingerprint: henry.fingerprint, certificate: armored.armored, retired: null },
          { fingerprint: grace.fingerprint, certificate: null, retired: true },
        ],
        signers: [
          { ...one, description: 'the first', disabled: true, oidc: [], grants: null },
          {
            name: 'two',
            description: null,
            disabled: null,
            oidc: null,
            grants: [{ repositories: ['b'], fingerprints: [henry.fingerprint], tags: ['v*'] }],
          },
        ],
        tokens: null,
      };
      const plan = await rules.plan(wanted, { prune: false });
      assert.deepEqual(
        plan.changes.map(({ kind }) => kind),
        ['add-key', 'retire-key', 'describe-signer', 'disable-signer', 'add-signer', 'add-grant'],
      );
      assert.ok(plan.left.includes('OIDC subject of one: https://issuer.example sub=x'));
      assert.deepEqual(await rules.apply(wanted, { prune: false, id: plan.id }), plan);
      assert.deepEqual((await rules.plan(wanted, { prune: false })).changes, []);
      const details = await signers.show('one');
      assert.deepEqual(
        [details.description, details.disabledAt !== null, details.subjects.length],
        ['the first', true, 1],
      );
      assert.equal((await grants.list('two')).length, 1);
      assert.equal((await keys.show(henry.fingerprint)).fingerprint, henry.fingerprint);
      assert.notEqual((await keys.show(grace.fingerprint)).retiredAt, null);

      // the plan that was shown is no longer the plan, so nothing is done
      const pruned = await rules.plan({ ...wanted, keys: null }, { prune: true });
      assert.deepEqual(
        pruned.changes.map(({ kind }) => kind),
        ['remove-subject'],
      );
      await subjects.add({ signer: 'one', issuer: 'https://issuer.example', claims: { sub: 'y' } });
      const stale = { prune: true, id: pruned.id };
      await refused(
        rules.apply({ ...wanted, keys: null }, stale),
        'CHANGED_MEANWHILE',
        /nothing was applied/,
      );
      assert.equal((await subjects.list('one')).length, 2);

      await refused(
        rules.plan(
          {
            keys: [{ fingerprint: UNKNOWN_FINGERPRINT, certificate: null, retired: null }],
            signers: null,
            tokens: null,
          },
          { prune: false },
        ),
        'REQUEST_INVALID',
        /is not registered, and the document has no certificate/,
      );
      await refused(
        rules.plan(
          {
            keys: [{ fingerprint: UNKNOWN_FINGERPRINT, certificate: armored.armored, retired: null }],
            signers: null,
            tokens: null,
          },
          { prune: false },
        ),
        'REQUEST_INVALID',
        /is of another/,
      );
      const empty = { keys: null, signers: [], tokens: null };
      const { id } = await rules.plan(empty, { prune: true });
      await rules.apply(empty, { prune: true, id });
      assert.deepEqual(
        [await signers.list(), await grants.list(null), await subjects.list(null)],
        [[], [], []],
      );
      assert.equal((await tokens.list()).find(({ name }) => name === 'one-1')?.state, 'revoked');
      await keys.remove(henry.fingerprint);
      await keys.remove(grace.fingerprint);
    });

    test('a signer has the grants and tokens that it was given, until it is removed', async () => {
      const { keys, signers, grants, tokens } = administration;
      const erin = makeSigner('erin');
      await keys.add(erin.certificate);
      const signer = await signers.add({ name: 'ci-team', description: 'pipelines of team' });
      assert.deepEqual(
        [signer.name, signer.description, signer.disabledAt],
        ['ci-team', 'pipelines of team', null],
      );
      assert.deepEqual(await signers.list(), [signer]);
      await refused(signers.add({ name: 'ci-team', description: '' }), 'NAME_TAKEN', /ci-team/);

      const { text } = await tokens.create({
        name: 'ci-team-1',
        role: 'uploader',
        lifeMs: null,
        signer: 'ci-team',
      });
      assert.match(text, /^lookaside_/);
      const wanted = {
        signer: 'ci-team',
        repositories: ['team/*'],
        keys: [erin.fingerprint.slice(-16)],
        tags: ['v*'],
      };
      const { created, ...grant } = await grants.add(wanted);
      assert.equal(created, true);
      const { id, createdAt, ...lists } = grant;
      const fingerprints = [erin.fingerprint];
      assert.deepEqual(lists, { signer: 'ci-team', repositories: ['team/*'], fingerprints, tags: ['v*'] });
      assert.ok(createdAt instanceof Date && id > 0);
      assert.deepEqual(await grants.add(wanted), { ...grant, created: false });
      for (const of of ['ci-team', null]) assert.deepEqual(await grants.list(of), [grant]);

      const details = await signers.show('ci-team');
      assert.deepEqual(
        { ...details, tokens: details.tokens.map(({ name, state }) => [name, state]) },
        {
          ...signer,
          grants: [grant],
          subjects: [],
          tokens: [['ci-team-1', 'valid']],
        },
      );
      const question = { signer: 'ci-team', repository: 'team/app', key: erin.fingerprint, tag: 'v1' };
      assert.deepEqual(await grants.test(question), {
        allowed: true,
        grant: id,
        missing: [],
        message: `grant ${id} of the signer "ci-team" covers the repository "team/app" with the key ${erin.fingerprint} and the tag "v1"`,
      });
      const other = await grants.test({ ...question, repository: 'team-evil/app' });
      assert.deepEqual([other.allowed, other.grant, other.missing], [false, null, ['repository']]);

      assert.notEqual((await signers.disable('ci-team')).disabledAt, null);
      assert.match((await grants.test(question)).message, /is disabled since/);
      assert.equal((await signers.show('ci-team')).tokens[0]?.state, 'disabled');
      assert.deepEqual(await signers.enable('ci-team'), signer);
      assert.deepEqual((await signers.remove('ci-team')).grants, [grant]);
      assert.deepEqual([await signers.list(), await grants.list(null)], [[], []]);
      const token = (await tokens.list()).find(({ name }) => name === 'ci-team-1');
      assert.deepEqual([token?.state, token?.signer], ['revoked', 'ci-team']);
    });

    test('what names no signer, key or grant, and what is no pattern, is refused and changes nothing', async () => {
      const { keys, signers, grants, tokens } = administration;
      const [key] = await keys.list();
      const wanted = { signer: 'nobody', repositories: ['a'], keys: [key?.fingerprint ?? ''], tags: [] };
      await refused(
        grants.add(wanted),
        'NOT_FOUND',
        /no signer is named "nobody"; see: lookaside signer list/,
      );
      await signers.add({ name: 'frank', description: '' });
      const frank = { ...wanted, signer: 'frank' };
      await refused(grants.add({ ...frank, keys: [UNKNOWN_FINGERPRINT] }), 'NOT_FOUND', /is registered/);
      for (const repositories of [[], ['..'], ['Team/app'], ['te*m'], ['team/ä']]) {
        await refused(grants.add({ ...frank, repositories }), 'REQUEST_INVALID', /wanted a repository path/);
      }
      await refused(grants.add({ ...frank, tags: ['v 1'] }), 'REQUEST_INVALID', /is not a pattern of tags/);
      await refused(grants.add({ ...frank, keys: [] }), 'REQUEST_INVALID', /needs a key/);
      assert.deepEqual(await grants.list('frank'), []);
      for (const name of ['nobody', '', '..', 'a/b', 'x'.repeat(65)]) {
        for (const act of [signers.show, signers.disable, signers.enable, signers.remove]) {
          await refused(act(name), 'NOT_FOUND', /^no signer is named ".*"; see: lookaside signer list$/);
        }
      }
      for (const name of ['', 'a b', '..', 'a/b', 'administrator', 'x'.repeat(65)]) {
        await refused(signers.add({ name, description: '' }), 'REQUEST_INVALID', /signer/);
      }
      await refused(grants.list('nobody'), 'NOT_FOUND', /no signer is named "nobody"/);
      await refused(
        grants.remove(123_456),
        'NOT_FOUND',
        /there is no grant 123456; see: lookaside grant list/,
      );
      const bound = { name: 'of-nobody', role: 'uploader', lifeMs: null, signer: 'nobody' } as const;
      await refused(tokens.create(bound), 'NOT_FOUND', /no signer is named "nobody"/);
      const strange = { signer: 'frank', repository: '../app', key: key?.fingerprint ?? '', tag: null };
      await refused(grants.test(strange), 'REQUEST_INVALID', /is not a repository; wanted its path/);
      await signers.remove('frank');
    });

    test('a name that no token can have is refused, and one that no token has is not found', async () => {
      const { tokens } = administration;
      const before = await tokens.list();
      for (const name of ['', 'a b', '..', 'a/b', 'administrator', 'x'.repeat(65)]) {
        await refused(tokens.create({ name, role: 'reader', lifeMs: null }), 'REQUEST_INVALID', /token/);
      }
      for (const name of ['nobody', '', '..', 'a/b', 'a%2fb', 'x'.repeat(65)]) {
        await refused(
          tokens.revoke(name),
          'NOT_FOUND',
          /^no token is named ".*"; see: lookaside token list$/,
        );
      }
      assert.deepEqual(await tokens.list(), before);
    });

    test('an import tells of each part in its order, stores what can be kept, and nothing when it is dry', async () => {
      const bob = makeSigner('bob');
      await administration.keys.add(bob.certificate);
      const named = bob.sign({ repository: 'import/named', tag: 'v1' });
      const claimed = bob.sign({ repository: 'import/claimed', tag: 'v1' });
      const file = `${folderOf('import/named')}/signature-1`;
      const parts = [
        { fileName: file, bytes: named },
        { fileName: 'empty', bytes: Buffer.alloc(0) },
        { fileName: null, bytes: claimed },
      ];
      const kept = (repository: string, bytes: Buffer) => ({
        image: folderOf(repository).replace('=', ':'),
        signatureSha256: sha256Hex(bytes),
      });
      const of = async (dryRun: boolean) => {
        const results = await administration.importBatch(parts, { dryRun });
        return results.map((result) => {
          if (result.result === 'refused') return { part: result.part, code: result.code };
          const { auditSeq, ...rest } = result;
          assert.equal(typeof auditSeq, dryRun ? 'object' : 'number');
          return rest;
        });
      };
      const created = { result: 'created', state: 'verified' };
      const expected = (outcome: object, number: number | null) => [
        { part: 0, ...outcome, ...kept('import/named', named), number },
        { part: 1, code: 'EMPTY' },
        { part: 2, ...outcome, ...kept('import/claimed', claimed), number },
      ];
      assert.deepEqual(await of(true), expected(created, null));
      assert.ok(!existsSync(path.join(root, file)));
      assert.deepEqual(await of(false), expected(created, 1));
      assert.deepEqual(await readFile(path.join(root, file)), named);
      assert.deepEqual(await of(false), expected({ result: 'exists' }, 1));
    });

    test('a signature is withdrawn once, its bytes are refused, and what names none is told so', async () => {
      const gina = makeSigner('gina');
      await administration.keys.add(gina.certificate);
      const folder = folderOf('withdraw/app');
      const [one, two] = ['v1', 'v2'].map((tag) => gina.sign({ repository: 'withdraw/app', tag }));
      const parts = [one, two].map((bytes, at) => ({
        fileName: `${folder}/signature-${at + 1}`,
        bytes: bytes ?? assert.fail(),
      }));
      await administration.importBatch(parts, { dryRun: false });
      const wanted = { path: `/${folder}/signature-1`, reason: 'signed by mistake: é & ?', until: null };
      const listed = { ...wanted, sha256: sha256Hex(two ?? assert.fail()) };
      await refused(administration.withdraw(listed), 'NOT_FOUND', /another signature than the one that was/);
      assert.deepEqual(await readFile(path.join(root, folder, 'signature-1')), one);
      const meant = { ...wanted, sha256: sha256Hex(one ?? assert.fail()) };
      const { withdrawnAt, withdrawnBy, auditSeq, ...withdrawn } = await administration.withdraw(meant);
      assert.ok(withdrawnAt instanceof Date && auditSeq > 0 && withdrawnBy !== '');
      assert.deepEqual(withdrawn, {
        ...wanted,
        number: 1,
        signatureSha256: sha256Hex(one ?? assert.fail()),
      });
      assert.deepEqual(await readFile(path.join(root, folder, 'signature-1')), two);
      const [again] = await administration.importBatch(parts.slice(0, 1), { dryRun: false });
      assert.deepEqual(again?.result === 'refused' && again.code, 'WITHDRAWN');
      await refused(administration.withdraw(wanted), 'NOT_FOUND', /was withdrawn already/);
      const unnamed = { ...wanted, path: `${folder}/signature-3` };
      await refused(administration.withdraw(unnamed), 'NOT_FOUND', /there is no/);
      for (const strange of ['', '..', folder, `${folder}/signature-0`, '/api/v1/keys', 'a\0/signature-1']) {
        await refused(
          administration.withdraw({ ...wanted, path: strange }),
          'PATH_INVALID',
          /names no signature/,
        );
      }
      const second = { ...wanted, path: `${folder}/signature-2` };
      for (const reason of ['', ' ', 'x'.repeat(501)]) {
        await refused(
          administration.withdraw({ ...second, reason }),
          'REQUEST_INVALID',
          /needs a reason of 1 to 500/,
        );
      }
      const past = { ...second, until: new Date('2026-01-01T00:00:00Z') };
      await refused(administration.withdraw(past), 'REQUEST_INVALID', /is past; wanted one that is to come/);
      const { findings } = await administration.fsck({ repair: false });
      assert.deepEqual(
        findings.filter((finding) => finding.path.startsWith(folder)),
        [],
      );
    });

    test('keys are exported in one block, all or those that are named, without those that the readers cannot read', async () => {
      const { keys } = administration;
      const [one, two] = [makeSigner('exported-1'), makeSigner('exported-2')];
      await keys.add(Buffer.concat([one.certificate, two.certificate]));
      const names = [two.fingerprint.slice(-16), one.fingerprint, one.fingerprint.toLowerCase()];
      const { armored, leftOut } = await keys.export(names, 'gpg-2.2');
      assert.deepEqual(leftOut, []);
      assert.equal(armored?.split('BEGIN PGP PUBLIC KEY BLOCK').length, 2);
      const again = await keys.add(Buffer.from(armored ?? ''));
      assert.deepEqual(
        again.map(({ result, fingerprint }) => [result, fingerprint]),
        [
          ['unchanged', two.fingerprint],
          ['unchanged', one.fingerprint],
        ],
      );
      const all = await keys.add(Buffer.from((await keys.export([], 'gpg-2.4')).armored ?? ''));
      assert.equal(all.length, (await keys.list()).length);
      const none = await keys.export([one.fingerprint], 'openshift');
      assert.equal(none.armored, null);
      assert.deepEqual(
        none.leftOut.map(({ fingerprint, reason }) => [fingerprint, /RSA/.test(reason)]),
        [[one.fingerprint, true]],
      );
      const unknown = [one.fingerprint, UNKNOWN_FINGERPRINT];
      await refused(keys.export(unknown, 'gpg-2.2'), 'NOT_FOUND', /no key [0-9A-F]{40} is registered/);
      await refused(keys.export(['alice'], 'gpg-2.2'), 'REQUEST_INVALID', /names no key/);
    });

    test('a rotation counts images by the old key, by both and by the new one, and lists each reference that is left', async () => {
      const { keys } = administration;
      const [old, next] = [makeSigner('rotated'), makeSigner('successor')];
      await keys.add(Buffer.concat([old.certificate, next.certificate]));
      const signed = [
        { by: old, repository: 'rotation/one', tag: 'v1' },
        { by: old, repository: 'rotation/two', tag: 'v1' },
        { by: old, repository: 'rotation/two', tag: 'v2' },
        { by: next, repository: 'rotation/two', tag: 'v1' },
        { by: next, repository: 'rotation/three', tag: 'v1' },
      ];
      const parts = signed.map(({ by, ...what }) => ({ fileName: null, bytes: by.sign(what) }));
      await administration.importBatch(parts, { dryRun: false });
      const rotation = await all(keys.rotation(old.fingerprint.slice(-16), next.fingerprint));
      const left = (repository: string, tag: string) => {
        const image = folderOf(repository).replace('=', ':');
        const digest = image.slice(image.indexOf('@') + 1);
        return { site: 'default', image, digest, reference: `registry.example/${repository}:${tag}` };
      };
      const [counts] = rotation;
      assert.ok(counts !== undefined && 'gaps' in counts);
      const { gaps, ...counted } = counts;
      // only a server scans a tree
      assert.deepEqual(
        gaps.filter((gap) => !/not wholly indexed/.test(gap)),
        [],
      );
      assert.deepEqual(counted, {
        old: old.fingerprint,
        new: next.fingerprint,
        images: { old: 1, both: 1, new: 1 },
      });
      assert.deepEqual(rotation.slice(1), [
        { work: [left('rotation/one', 'v1'), left('rotation/two', 'v2')] },
        { end: { work: 2 } },
      ]);
      const back = await all(keys.rotation(next.fingerprint, old.fingerprint));
      assert.deepEqual(back.at(-1), { end: { work: 1 } });
      const refusals = [
        [old.fingerprint, old.fingerprint, 'REQUEST_INVALID', /wanted the key that ends, and the one/],
        [old.fingerprint, UNKNOWN_FINGERPRINT, 'NOT_FOUND', /no key [0-9A-F]{40} is registered/],
        ['alice', old.fingerprint, 'REQUEST_INVALID', /names no key/],
      ] as const;
      for (const [one, other, code, message] of refusals) {
        await refused(all(keys.rotation(one, other)), code, message);
      }
    });

    test('a refresh merges what is new in registered keys, and takes no other key', async () => {
      const { keys } = administration;
      const [known, other, stranger] = ['refreshed', 'unmeant', 'stranger'].map(makeSigner) as [
        Signer,
        Signer,
        Signer,
      ];
      await keys.add(Buffer.concat([known.certificate, other.certificate]));
      const revoked = { at: SIGNED_AT, reason: 2 };
      const file = Buffer.concat([known, other, stranger].map((one) => one.certifiedAs({ revoked })));
      const { results, ignored } = await keys.refresh(file, [known.fingerprint.slice(-16)]);
      assert.deepEqual(
        results.map((one) => [one.result, one.fingerprint, 'state' in one && one.state]),
        [['updated', known.fingerprint, 'revoked']],
      );
      assert.equal(ignored, 2);
      assert.equal((await keys.show(other.fingerprint)).state, 'valid');
      const all = await keys.refresh(file, []);
      assert.deepEqual(
        all.results.map(({ result }) => result),
        ['unchanged', 'updated'],
      );
      assert.equal(all.ignored, 1);
      await refused(keys.show(stranger.fingerprint), 'NOT_FOUND', /is registered/);
      // an older copy takes no revocation back
      const old = await keys.refresh(known.certificate, []);
      assert.deepEqual(
        old.results.map((one) => 'state' in one && one.state),
        ['revoked'],
      );
      await refused(keys.refresh(file, [UNKNOWN_FINGERPRINT]), 'NOT_FOUND', /is registered/);
      await refused(keys.refresh(Buffer.from('x'), []), 'REQUEST_INVALID', /certificate/);
    });

    test('a revocation says what it breaks, and withdraws all that the key has signed under one event, again without another', async () => {
      const { keys } = administration;
      const [lost, kept] = [makeSigner('lost'), makeSigner('kept')];
      await keys.add(Buffer.concat([lost.certificate, kept.certificate]));
      const signed = [
        { by: lost, repository: 'revoked/one', tag: 'v1' },
        { by: lost, repository: 'revoked/two', tag: 'v1' },
        { by: kept, repository: 'revoked/two', tag: 'v1' },
        { by: lost, repository: 'revoked/two', tag: 'v2' },
      ];
      const parts = signed.map(({ by, ...what }) => ({ fileName: null, bytes: by.sign(what) }));
      await administration.importBatch(parts, { dryRun: false });
      assert.deepEqual(await keys.signatures(lost.fingerprint), [
        { fingerprint: lost.fingerprint, signatures: 3 },
      ]);
      const [impact, ...images] = await all(keys.revocation(lost.fingerprint.slice(-16)));
      assert.ok(impact !== undefined && 'gaps' in impact);
      const { gaps: _, ...counted } = impact;
      assert.deepEqual(counted, {
        fingerprint: lost.fingerprint,
        userIds: ['lost <lost@example.invalid>'],
        state: 'valid',
        signatures: 3,
        images: 2,
        broken: 1,
        refused: 0,
      });
      const image = folderOf('revoked/one').replace('=', ':');
      assert.deepEqual(images, [{ images: [{ site: 'default', image }] }, { end: { images: 1 } }]);

      const wanted = { reason: 'leaked: é & ?', withdraw: false, certificate: null };
      for (const reason of ['', ' ', 'x'.repeat(501)])
        await refused(
          keys.revoke(lost.fingerprint, { ...wanted, reason }),
          'REQUEST_INVALID',
          /needs a reason/,
        );
      const foreign = { ...wanted, certificate: kept.certifiedAs({ revoked: { at: SIGNED_AT, reason: 2 } }) };
      await refused(
        keys.revoke(lost.fingerprint, foreign),
        'REQUEST_INVALID',
        /holds no revocation of the key/,
      );
      await refused(
        keys.revoke(UNKNOWN_FINGERPRINT, wanted),
        'NOT_FOUND',
        /no key [0-9A-F]{40} is registered/,
      );
      assert.equal((await keys.show(lost.fingerprint)).state, 'valid');

      const marked = await keys.revoke(lost.fingerprint.slice(-16), wanted);
      assert.deepEqual([marked.changed, marked.withdrawn, marked.key.state], [true, null, 'revoked']);
      assert.equal(marked.key.revocation?.reason, wanted.reason);
      assert.equal((await keys.revoke(lost.fingerprint, wanted)).changed, false);
      const [late] = await administration.importBatch(parts.slice(0, 1), { dryRun: false });
      assert.equal(late?.result, 'exists', 'what it has signed stays');
      const { leftOut } = await keys.export([lost.fingerprint], 'gpg-2.2');
      assert.match(leftOut[0]?.reason ?? '', /an administrator revoked it/);

      const progress: number[] = [];
      const onProgress = ({ signatures }: { signatures: number }) => void progress.push(signatures);
      const withdrawing = { ...wanted, withdraw: true, onProgress };
      const done = await keys.revoke(lost.fingerprint, withdrawing);
      assert.deepEqual([done.changed, done.withdrawn], [true, 3]);
      assert.deepEqual(
        await readFile(path.join(root, folderOf('revoked/two'), 'signature-1')),
        parts[2]?.bytes,
      );
      assert.equal(existsSync(path.join(root, folderOf('revoked/one'), 'signature-1')), false);
      const [again] = await administration.importBatch(parts.slice(0, 1), { dryRun: false });
      assert.equal(again?.result === 'refused' && again.code, 'WITHDRAWN');
      const repeated = await keys.revoke(lost.fingerprint, withdrawing);
      assert.deepEqual([repeated.changed, repeated.withdrawn], [false, 0]);
      const question = { record: 'audit', filter: { ...ANY_RECORD, fingerprint: lost.fingerprint } } as const;
      const { rows } = await administration.records.page(question, { cursor: null, limit: 100 });
      assert.deepEqual(
        rows.flatMap((row) =>
          'action' in row && row.action.startsWith('key-') ? [[row.action, row.result]] : [],
        ),
        [
          ['key-revoke', 'withdrawn'],
          ['key-revoke', 'revoked'],
          ['key-add', 'added'],
        ],
      );
      const both = await keys.revoke(kept.fingerprint, {
        ...wanted,
        certificate: kept.certifiedAs({ revoked: { at: SIGNED_AT, reason: 2 } }),
      });
      assert.deepEqual([both.key.state, both.key.revocation?.isInCertificate], ['revoked', true]);
      assert.deepEqual((await keys.export([kept.fingerprint], 'gpg-2.2')).leftOut, []);
    });

    test('a key that was removed is found no more, and its signatures stay as they are, of an unknown key', async () => {
      const { keys } = administration;
      const dave = makeSigner('dave');
      await keys.add(dave.certificate);
      const name = `${folderOf('removed/app')}/signature-1`;
      const bytes = dave.sign({ repository: 'removed/app', tag: 'v1' });
      const part = { fileName: name, bytes };
      const [before] = await administration.importBatch([part], { dryRun: true });
      assert.equal(before?.result === 'created' && before.state, 'verified');
      await administration.importBatch([part], { dryRun: false });

      assert.deepEqual(await keys.remove(dave.fingerprint.slice(-16)), {
        fingerprint: dave.fingerprint,
        userIds: ['dave <dave@example.invalid>'],
        signatures: 1,
      });
      assert.ok((await keys.list()).every(({ fingerprint }) => fingerprint !== dave.fingerprint));
      await refused(keys.remove(dave.fingerprint), 'NOT_FOUND', /no key [0-9A-F]{40} is registered/);
      await refused(keys.remove('../tokens'), 'REQUEST_INVALID', /names no key/);
      assert.deepEqual(await readFile(path.join(root, name)), bytes);
      const other = dave.sign({ repository: 'removed/other', tag: 'v1' });
      const [after] = await administration.importBatch([{ fileName: null, bytes: other }], { dryRun: true });
      assert.ok(
        after !== undefined && !('state' in after && after.state === 'verified'),
        JSON.stringify(after),
      );
    });

    test('the records answer who changed what, in pages, in sums and as text, and who asked for addresses is among it', async () => {
      const { records } = administration;
      const audit = { record: 'audit', filter: ANY_RECORD } as const;
      const { total, groups } = await records.sums(audit, ['action'], 100);
      assert.equal(
        groups.reduce((sum, { count }) => sum + count, 0),
        total.count,
      );
      const seqs: number[] = [];
      for (let cursor: string | null = null; ; ) {
        // two pages: each is a thread
        const page: RecordPage = await records.page(audit, { cursor, limit: total.rows - 1 });
        for (const row of page.rows) {
          assert.ok('seq' in row && row.at instanceof Date);
          seqs.push(row.seq);
        }
        if (page.next === null) break;
        cursor = page.next;
      }
      assert.deepEqual(
        seqs,
        Array.from({ length: seqs.length }, (_, k) => seqs.length - k),
      );
      const ofNetwork = { record: 'access', filter: { ...ANY_RECORD, address: '192.0.2.0/24' } } as const;
      const { rows, dropped, gaps } = await records.page(ofNetwork, { cursor: null, limit: 5 });
      assert.deepEqual({ rows, dropped, gaps }, { rows: [], dropped: 0, gaps: [] });
      const pieces: Buffer[] = [];
      for await (const piece of records.export(audit, 'jsonl')) pieces.push(Buffer.from(piece));
      const lines = Buffer.concat(pieces).toString().trimEnd().split('\n');
      assert.equal(lines.length, seqs.length + 3); // the question for a network, this export, and the end
      const [newest, before] = lines.map((line): { action: string; reason: string | null } =>
        JSON.parse(line),
      );
      assert.deepEqual([newest?.action, before?.action], ['export', 'query']);
      assert.equal(before?.reason, 'access address=192.0.2.0/24');
      await refused(
        records.page(audit, { cursor: 'W10', limit: 5 }),
        'REQUEST_INVALID',
        /the cursor is damaged or belongs to another question/,
      );
    });

    test('a question about a key takes its key ID where the key is registered', async () => {
      const { records, keys } = administration;
      const ines = makeSigner('ines');
      await keys.add(ines.certificate);
      const filter = { ...ANY_RECORD, fingerprint: ines.fingerprint.slice(-16) };
      const question = { record: 'audit', filter } as const;
      const { rows } = await records.page(question, { cursor: null, limit: 10 });
      assert.deepEqual(
        rows.map((row) => ('fingerprint' in row ? row.fingerprint : null)),
        [ines.fingerprint],
      );
      assert.equal((await records.sums(question, [], 1)).total.count, 1);
      const pieces: Buffer[] = [];
      for await (const piece of records.export(question, 'csv')) pieces.push(Buffer.from(piece));
      assert.match(Buffer.concat(pieces).toString(), new RegExp(ines.fingerprint));
      const other = { ...question, filter: { ...filter, fingerprint: '0123456789ABCDEF' } } as const;
      await refused(
        records.page(other, { cursor: null, limit: 10 }),
        'REQUEST_INVALID',
        /no registered key has the ID 0123456789ABCDEF/,
      );
    });

    test('a person is forgotten, and the event of it does not say whom', async () => {
      const { records, tokens } = administration;
      await tokens.create({ name: 'mallory', role: 'reader', lifeMs: null });
      const mallory = { kind: 'actor', text: 'mallory' } as const;
      assert.deepEqual(await records.forget(mallory, new Date(0)), { events: 0, reads: 0 });
      assert.deepEqual(await records.forget(mallory, new Date(Date.now() - 1)), { events: 1, reads: 0 });
      const newest = await records.page({ record: 'audit', filter: ANY_RECORD }, { cursor: null, limit: 3 });
      assert.doesNotMatch(JSON.stringify(newest), /mallory/);
      assert.match(JSON.stringify(newest), /"action":"forget"/);
      const tomorrow = new Date(Date.now() + 86_400_000);
      await refused(records.forget(mallory, tomorrow), 'REQUEST_INVALID', /is still to come/);
    });

    test('a signer is forgotten in all that was done to it, and its events stay in the log', async () => {
      const { records, tokens, signers, grants } = administration;
      const henry = makeSigner('henry');
      await administration.keys.add(henry.certificate);
      const page = () => records.page({ record: 'audit', filter: ANY_RECORD }, { cursor: null, limit: 40 });
      const seqOf = ({ rows }: RecordPage) => rows.flatMap((row) => ('seq' in row ? [row.seq] : []));
      await signers.add({ name: 'maria', description: 'release engineer' });
      await tokens.create({ name: 'maria-1', role: 'uploader', lifeMs: null, signer: 'maria' });
      const may = { signer: 'maria', repositories: ['team/*'], keys: [henry.fingerprint], tags: [] };
      const { id } = await grants.add(may);
      await grants.remove(id);
      await signers.disable('maria');
      await signers.remove('maria');
      const before = await page();
      assert.equal(JSON.stringify(before).match(/"reason":"[^"]*maria/g)?.length, 6);
      const now = Date.now();
      await eventually(() => assert.ok(Date.now() > now)); // what is forgotten came before the time that is given
      const forgotten = await records.forget({ kind: 'actor', text: 'maria' }, new Date());
      assert.deepEqual(forgotten, { events: 6, reads: 0 });
      const after = await page();
      assert.doesNotMatch(JSON.stringify(after), /maria/);
      const kept = new Set(seqOf(after));
      // the oldest ones have left the page
      for (const seq of seqOf(before).slice(0, 20)) assert.ok(kept.has(seq), `event ${seq} is gone`);
      const actions = JSON.stringify(after)
        .match(/"action":"(?:signer|grant|token)-[a-z]+"/g)
        ?.slice(0, 6);
      assert.deepEqual(
        actions?.map((one) => one.slice(10, -1)),
        ['signer-remove', 'signer-disable', 'grant-remove', 'grant-add', 'token-create', 'signer-add'],
      );
    });

    test('a ready question is answered whole, and what it is not about is refused', async () => {
      const question = { since: null, until: null, repository: null, limit: 10 } as const;
      const { records } = administration;
      const answer = await records.ready({ ...question, kind: 'who', subject: '192.0.2.1' });
      assert.deepEqual(
        [answer.question, answer.subject, answer.dropped, answer.gaps],
        ['who', '192.0.2.1', 0, []],
      );
      assert.ok(answer.answeredAt instanceof Date);
      assert.deepEqual(answer.facts.slice(0, 2), [
        { name: 'address', value: '192.0.2.1' },
        { name: 'events', value: 0 },
      ]);
      assert.deepEqual(
        answer.tables.map(({ name }) => name),
        ['deeds', 'events', 'fetched'],
      );
      const wrong = records.ready({ ...question, kind: 'key', subject: 'alice/bob' });
      await refused(
        wrong,
        'REQUEST_INVALID',
        /audit key cannot answer about "alice\/bob"; wanted the fingerprint/,
      );
    });

    test('fsck names a lost file, reindex does not forget it unasked, and repair puts it back', async () => {
      const carol = makeSigner('carol');
      await administration.keys.add(carol.certificate);
      const name = `${folderOf('fsck/app')}/signature-1`;
      const [file, bytes] = [path.join(root, name), carol.sign({ repository: 'fsck/app', tag: 'v1' })];
      await administration.importBatch([{ fileName: name, bytes }], { dryRun: false });
      const before = await administration.reindex({ acceptDamage: false });
      assert.deepEqual(Object.keys(before).sort(), ['images', 'problems', 'signatures']);
      assert.ok(before.images > 0 && before.signatures > 0 && before.problems === 0);

      const fsck = async (repair: boolean) => {
        const { findings, ...counts } = await administration.fsck({ repair });
        return { findings: findings.map(withoutMessage), ...counts };
      };
      const clean = { ...before, findings: [], repaired: 0, isCompared: true };
      assert.deepEqual(await fsck(false), clean);
      await rm(file);
      const lost = (repaired: boolean) => ({
        ...clean,
        findings: [{ site: 'default', kind: 'missing', path: name, repaired }],
        problems: 1,
        repaired: repaired ? 1 : 0,
      });
      assert.deepEqual(shapeOf(await fsck(false)), shapeOf(lost(false)));
      assert.ok(!existsSync(file));
      await refused(administration.reindex({ acceptDamage: false }), 'DAMAGE_FOUND', /--accept-damage/);
      assert.deepEqual(shapeOf(await fsck(true)), shapeOf(lost(true)));
      assert.deepEqual(await readFile(file), bytes);
      assert.deepEqual(await fsck(false), clean);

      await rm(path.dirname(file), { recursive: true });
      const after = await administration.reindex({ acceptDamage: true });
      assert.equal(after.images, before.images - 1);
      const { findings, ...counts } = await administration.fsck({ repair: true });
      assert.deepEqual(counts, { ...after, problems: 1, repaired: 0, isCompared: true });
      const [{ message, ...finding } = assert.fail('nothing is named'), ...more] = findings;
      assert.deepEqual(more, []);
      const { upload } = finding;
      assert.ok(upload !== undefined);
      assert.deepEqual(finding, {
        site: 'default',
        kind: 'lost',
        path: path.dirname(name),
        upload: { sha256: sha256Hex(bytes), uploader: upload.uploader, storedAt: upload.storedAt },
        repaired: false,
      });
      assert.ok(upload.storedAt instanceof Date && upload.uploader !== '');
      assert.match(
        message,
        new RegExp(`^the signature with SHA-256 ${upload.sha256}, uploaded by .* Push it again`),
      );
    });
  });
}

function withoutMessage({ message, ...finding }: FsckFinding) {
  assert.notEqual(message, '');
  return finding;
}

/** What a walk counts of damaged images is the scanner's affair. */
function shapeOf({ images, signatures, ...rest }: { images: number; signatures: number }) {
  return rest;
}

async function all<T>(items: AsyncIterable<T>): Promise<readonly T[]> {
  const parts: T[] = [];
  for await (const part of items) parts.push(part);
  return parts;
}
