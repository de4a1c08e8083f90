// Setting up a client by a form: the files are those that client-config writes.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { FINGERPRINT, key, servePages } from './scene.ts';

const OTHER = '0F'.repeat(20);

const decoded = (text: string) =>
  text
    .replaceAll('&quot;', '"')
    .replaceAll('&gt;', '>')
    .replaceAll('&lt;', '<')
    .replaceAll('&#39;', "'")
    .replaceAll('&amp;', '&');

test('a registry gives the command, the script and the files, each to copy', async () => {
  await using pages = await servePages({
    keys: [key()],
    grants: [{ signer: 'ci', repositories: ['team/**'], fingerprints: [FINGERPRINT] }],
  });
  const { status, text } = await pages.get('set-up?registry=registry.example.com/team');
  assert.equal(status, 200);
  const said = decoded(text);
  const url = `http://127.0.0.1:${new URL(pages.url).port}`;
  assert.ok(
    said.includes(`lookaside client-config --server ${url} --registry registry.example.com/team --install`),
  );
  assert.ok(said.includes(`curl -fsS ${url}/setup/registry.example.com/team.sh | sudo sh`));
  assert.ok(
    said.includes(`curl -fsS ${url}/keys/${FINGERPRINT}.gpg -o /etc/containers/keys/${FINGERPRINT}.gpg`),
  );
  assert.match(said, /\/etc\/containers\/registries\.d\/lookaside\.yaml/);
  assert.match(said, /"keyPath": "\/etc\/containers\/keys\/00112233/);
  assert.doesNotMatch(said, />ci</, 'who a signer is, visitors do not learn');
});

test('without a grant the page says so, and what to choose; then every key, or single ones', async () => {
  await using pages = await servePages({ keys: [key(), key({ fingerprint: OTHER, userIds: ['Other'] })] });
  const refused = await pages.get('set-up?registry=registry.example.com');
  assert.equal(refused.status, 404);
  assert.match(refused.text, /Nobody has a grant for .*Choose “every key in force”/s);
  const all = await pages.get('set-up?registry=registry.example.com&trust=all&keys=inline');
  assert.match(all.text, /--all-keys --inline-keys --install/);
  assert.match(decoded(all.text), /"keyData": "/);
  assert.doesNotMatch(all.text, /\| sudo sh/, 'the script knows key files alone');
  const chosen = await pages.get(`set-up?registry=registry.example.com&key=${OTHER}`);
  assert.match(chosen.text, new RegExp(`--key ${OTHER} --install`));
  assert.doesNotMatch(chosen.text, new RegExp(`keys/${FINGERPRINT}\\.gpg`));
});

test('each other client has its command, what to do with the files, and the files', async () => {
  await using pages = await servePages({ keys: [key()] });
  const url = `http://127.0.0.1:${new URL(pages.url).port}`;
  const base = `lookaside client-config --server ${url} --registry r.example/team --all-keys`;
  const ask = async (query: string) => {
    const { status, text } = await pages.get(`set-up?registry=r.example/team&trust=all&${query}`);
    return { status, text, said: decoded(text) };
  };
  const contents: readonly (readonly [query: string, ...said: readonly (string | RegExp)[]])[] = [
    [
      'keys=openshift',
      /oc debug node\/NODE -- .* > policy\.json\s+lookaside/,
      `${base} --kind openshift --policy policy.json -o openshift`,
      /cd openshift\s+oc apply -f 99-worker-lookaside\.yaml\s+oc apply -f 99-master-lookaside\.yaml/,
      'weaker than what the command above writes',
      /<summary><code>02-master-lookaside\.yaml<\/code>.*kind: MachineConfig/s,
    ],
    [
      'keys=butane',
      /ssh core@MACHINE .* > policy\.json\s+lookaside/,
      `${base} --kind butane --policy policy.json -o butane`,
      /cd butane\s+butane --strict --files-dir \. MACHINE\.bu -o machine\.ign\s+coreos-installer install DISK --ignition-file machine\.ign/,
    ],
    ['keys=crio&namespace=team-a,+team-b', `${base} --kind crio --namespace team-a team-b --install`],
    [
      'keys=flatpak',
      /cd flatpak\s+flatpak remote-add r\.example_team/,
      'r.example_team.gpg',
      'a whole registry',
    ],
    ['keys=pulp', /cd pulp\s+curl .*--data @r\.example-team\.json/, `"sigstore": "${url}"`, 'verifies none'],
    ['keys=portieris&namespace=shop', '--namespace shop -o portieris', /kind": "ImagePolicy"/, 'keySecret'],
    ['keys=kubernetes', /cd kubernetes\s+kubectl apply -f install\.yaml/, /"kind": "DaemonSet"/],
    [
      'keys=ansible',
      /cd ansible\s+ansible-playbook -i INVENTORY site\.yml/,
      'roles/lookaside_client/tasks/main.yml',
    ],
  ];
  for (const [query, ...wanted] of contents) {
    const { status, said } = await ask(query);
    assert.equal(status, 200, query);
    for (const one of wanted)
      assert.ok(typeof one === 'string' ? said.includes(one) : one.test(said), `${query}: ${one}`);
    assert.doesNotMatch(said, /with curl alone|Then try it/, 'what is not about this client');
  }
  for (const [query, why] of [
    ['keys=crio', /No namespace is named/],
    ['keys=crio&namespace=%3Cb%3E%24(reboot)', /the namespace is .*wanted a name of Kubernetes/is],
    ['keys=pulp&namespace=a', /belongs to no namespace/],
    [
      `keys=crio&namespace=${'abcdefghijk'.split('').join(',')}`,
      /11 namespaces are named, and a page takes 10/,
    ],
  ] as const) {
    const { status, said } = await ask(query);
    assert.equal(status, 400, query);
    assert.match(said, why);
    assert.doesNotMatch(said, /--kind/);
  }
});

test('on a closed server the installer is told to ask with a token', async () => {
  await using pages = await servePages({ keys: [key()], settings: { read: 'token' } });
  const { text } = await pages.get(
    'set-up?registry=r.example&trust=all&keys=ansible',
    await pages.logIn('reader'),
  );
  assert.match(decoded(text), /CLOSED='1'/);
});

test('what is no registry, and hostile text, come back as text and with what is wanted', async () => {
  await using pages = await servePages({ keys: [key()] });
  for (const registry of [
    'team/app:v1',
    `"><script>alert(1)</script>\u202e${'x'.repeat(10_240)}`,
    "a'b;$(reboot)",
  ]) {
    const { status, text } = await pages.get(
      `set-up?registry=${encodeURIComponent(registry).slice(0, 6000)}`,
    );
    assert.equal(status, 400, registry.slice(0, 40));
    assert.match(text, /wanted a registry or a part of it/);
    assert.equal(text.match(/<script/g)?.length, 1);
    assert.doesNotMatch(text, /sudo sh/);
  }
  await using without = await servePages();
  assert.match((await without.get('set-up')).text, /No key is in force yet.*lookaside key add/s);
});
