import assert from 'node:assert/strict';
import { test } from 'node:test';
import { proposalText } from '../../src/cli/mirror.ts';
import { whereOf } from '../../src/cli/mirror-commands.ts';
import { proposeMirrors } from '../../src/domain/mirror-sets.ts';

test('the commands that are proposed go to the server or data directory that the proposal was asked of', () => {
  const proposal = proposeMirrors([
    { source: 'registry.redhat.io/ubi9', mirrors: ['m.example:5000/ubi9'] },
    { source: 'quay.io/other', mirrors: ['m.example:5000/other'] },
  ]);
  const config = { publicUrl: null, remote: { url: null } } as Parameters<typeof proposalText>[1];
  const text = (where: string) => proposalText(proposal, config, { apply: false, where });
  assert.match(text(''), /^lookaside mirror add red-hat --preset red-hat --prefix \/red-hat$/m);
  const where = whereOf({ data: '/srv/my data', root: '/srv/t' });
  assert.equal(where, " --data '/srv/my data' --root /srv/t");
  assert.match(text(where), /--prefix \/red-hat --data '\/srv\/my data' --root \/srv\/t$/m);
  assert.match(text(where), /NAME --upstream URL --prefix \/PATH --data '\/srv\/my data' --root \/srv\/t$/m);
  const remote = whereOf({ server: 'https://s.example', tokenFile: 't', ca: 'ca.pem' });
  assert.equal(remote, ' --server https://s.example --token-file t --ca ca.pem');
});

test('a proposal without a mirror begins with what is unknown', () => {
  const proposal = proposeMirrors([{ source: 'quay.io/other', mirrors: ['m.example:5000/other'] }]);
  const config = { publicUrl: null, remote: { url: null } } as Parameters<typeof proposalText>[1];
  assert.match(
    proposalText(proposal, config, { apply: false, where: '' }),
    /^No signature site is known for: quay\.io\/other\. /,
  );
});
