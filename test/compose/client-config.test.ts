// Files of this machine as client-config merges them: policies of CRI-O's namespaces beside that of the node.
import assert from 'node:assert/strict';
import { mkdir, readdir, readFile, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { test } from 'node:test';
import { install, planInstall, undo } from '../../src/compose/client-config.ts';
import { isLookasideError } from '../../src/domain/errors.ts';
import { openTempFolder } from '../clients/temp-folder.ts';

const A = 'AA'.repeat(20);
const ACCEPT = { type: 'insecureAcceptAnything' };
const THEIRS = { type: 'signedBy', keyType: 'GPGKeys', keyPath: '/x' };

test('the policy of a namespace begins as what decided there, and goes again', async () => {
  await using temp = await openTempFolder();
  const target = { kind: 'system', root: temp.path, home: temp.path } as const;
  const file = (name: string) => path.join(temp.path, 'etc', name);
  const read = async (name: string) => JSON.parse(await readFile(file(name), 'utf8'));
  await mkdir(file('containers'), { recursive: true });
  await mkdir(file('crio/policies'), { recursive: true });
  const node = JSON.stringify({ default: [ACCEPT], transports: { docker: { 'other.example': [THEIRS] } } });
  const own = JSON.stringify({
    default: [{ type: 'reject' }],
    transports: { docker: { 'r.example': [THEIRS] } },
  });
  await writeFile(file('containers/policy.json'), node);
  await writeFile(file('crio/policies/has-own.json'), own);
  const scopes = [
    {
      registry: 'r.example',
      keys: [{ fingerprint: A, userIds: [], certificate: Buffer.from(A) }],
      identity: null,
    },
  ];
  const options = {
    ...{ target, isStagingChosen: true, mayWiden: false },
    wanted: { scopes, lookaside: 'https://sig.example', staging: null, keysIn: 'inline' } as const,
  };
  const plan = await planInstall({ ...options, namespaces: ['has-own', 'team-a'] });
  await install(plan);
  const ours = { type: 'signedBy', keyType: 'GPGKeys', keyData: Buffer.from(A).toString('base64') };
  assert.deepEqual(await read('crio/policies/team-a.json'), {
    default: [ACCEPT],
    transports: { docker: { 'other.example': [THEIRS], 'r.example': [ours] } },
  });
  assert.deepEqual(await read('crio/policies/has-own.json'), {
    default: [{ type: 'reject' }],
    transports: { docker: { 'r.example': [THEIRS, ours] } },
  });
  assert.equal(await readFile(file('containers/policy.json'), 'utf8'), node);
  assert.deepEqual((await planInstall({ ...options, namespaces: ['has-own', 'team-a'] })).changes, []);
  await undo(target);
  assert.deepEqual(await readdir(file('crio/policies')), ['has-own.json']);
  assert.equal(await readFile(file('crio/policies/has-own.json'), 'utf8'), own);

  await assert.rejects(planInstall({ ...options, namespaces: ['../../root'] }), (error) =>
    isLookasideError(error, 'CONFIG_INVALID'),
  );
});
