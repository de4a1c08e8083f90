import assert from 'node:assert/strict';
import { test } from 'node:test';
import { authFilePlaces, loginIn } from '../../src/domain/auth-file.ts';

const auth = (pair: string) => ({ auth: Buffer.from(pair).toString('base64') });

test('logins are looked for where podman and docker keep them', () => {
  const [home, userId] = ['/home/alice', 1000];
  assert.deepEqual(authFilePlaces({ environment: {}, home, userId }), [
    '/run/containers/1000/auth.json',
    '/home/alice/.config/containers/auth.json',
    '/home/alice/.docker/config.json',
  ]);
  const environment = { XDG_RUNTIME_DIR: '/run/user/1000', XDG_CONFIG_HOME: '/c', DOCKER_CONFIG: '/d' };
  assert.deepEqual(authFilePlaces({ environment, home, userId }), [
    '/run/user/1000/containers/auth.json',
    '/c/containers/auth.json',
    '/d/config.json',
  ]);
});

test('the longest entry that covers a repository counts', () => {
  const text = JSON.stringify({
    auths: {
      'r.example:5000': auth('host:pass:word'),
      'r.example:5000/team': auth('team:päss'),
      'https://index.docker.io/v1/': auth('hub:x'),
      'helped.example': {},
      'null.example': null,
    },
    credHelpers: { 'helped.example': 'secretservice' },
  });
  const cases: readonly [string, string | null][] = [
    ['r.example:5000', 'host:pass:word'],
    ['r.example:5000/other/app', 'host:pass:word'],
    ['r.example:5000/team', 'team:päss'],
    ['r.example:5000/team/app', 'team:päss'],
    ['r.example:5000/teams/app', 'host:pass:word'],
    ['index.docker.io/library/x', 'hub:x'],
    ['r.example/team/app', null],
    ['helped.example/x', null],
    ['null.example/x', null],
  ];
  for (const [place, wanted] of cases) {
    const login = loginIn(text, place);
    assert.equal(login === null ? null : `${login.user}:${login.password}`, wanted, place);
  }
});
