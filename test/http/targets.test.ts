import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { test } from 'node:test';
import fc from 'fast-check';
import { createTargetParser, type SiteTarget } from '../../src/domain/lookaside-path.ts';
import { createTargets } from '../../src/http/targets.ts';

const HEX = 'a'.repeat(64);
const SITES = [
  { name: 'default', prefix: '' },
  { name: 'mirror', prefix: '/mirror' },
];

test('a target means what it means by itself, whatever was asked before', () => {
  const part = fc.constantFrom(
    '/',
    '//',
    'team',
    'mirror',
    'app',
    `app@sha256=${HEX}`,
    `app@sha256%3D${HEX}`,
    `sha256=${HEX}`,
    'signature-1',
    'signature-2',
    'signature-01',
    'signature-0',
    'signature-999999999',
    'signature-1000000000',
    '%2f',
    '%2',
    '?',
    '?a=',
    '#',
    'http://host',
    '..',
    '\0',
    'x'.repeat(300),
    'x'.repeat(8200),
  );
  const raw = fc.array(part, { maxLength: 8 }).map((parts) => parts.join(''));
  const usual = fc
    .tuple(fc.constantFrom('/team', '/mirror', '', '//'), fc.constantFrom('?', '', '/'), fc.nat({ max: 3 }))
    .map(([folder, between, number]) => `${folder}/app@sha256=${HEX}${between}/signature-${number}`);
  fc.assert(
    fc.property(fc.constantFrom('', '/below'), fc.array(fc.oneof(raw, usual)), (prefix, asked) => {
      const parse = createTargetParser(SITES, prefix);
      const targetOf = createTargets(parse);
      for (const target of asked.flatMap((one) => [one, `${prefix}${one}`, one])) {
        assert.deepEqual(targetOf(target), parse(target));
      }
    }),
  );
});

const rawOf = (at: number, number = 1) =>
  `/team/app@sha256=${createHash('sha256').update(String(at)).digest('hex')}/signature-${number}`;

/** With a count of what was parsed. */
function open() {
  const parsed: string[] = [];
  const parse = createTargetParser(SITES, '');
  const targetOf = createTargets((raw) => {
    parsed.push(raw);
    return parse(raw);
  });
  return { parsed, targetOf };
}

test('a folder is parsed for the first of its signatures that are asked for one after the other', () => {
  const { parsed, targetOf } = open();
  for (const number of [1, 2, 3, 4]) {
    const { target } = targetOf(rawOf(0, number));
    assert.equal(target.kind === 'signature' && target.number, number);
  }
  assert.equal(parsed.length, 1);
});

test('a folder that is parsed a second time stays, whatever comes once after it', () => {
  const { parsed, targetOf } = open();
  for (const from of [1, 10_000, 20_000]) {
    targetOf(rawOf(0));
    for (let at = from; at < from + 5000; at += 1) targetOf(rawOf(at));
  }
  targetOf(rawOf(0));
  assert.equal(parsed.filter((raw) => raw === rawOf(0)).length, 2);
});

test('nearly all folders of a tree of 5,000 images are remembered', () => {
  const { parsed, targetOf } = open();
  for (let round = 0; round < 4; round += 1) {
    for (let at = 0; at < 5000; at += 1) for (const number of [1, 2]) targetOf(rawOf(at, number));
  }
  parsed.length = 0;
  for (let at = 0; at < 5000; at += 1) targetOf(rawOf(at));
  assert.ok(parsed.length < 400, `${parsed.length} of 5000 were parsed again`);
});

test('names that each come once are not kept', () => {
  const { targetOf } = open();
  const first = targetOf(rawOf(0));
  for (let at = 1; at < 5000; at += 1) targetOf(rawOf(at));
  const second = targetOf(rawOf(0));
  assert.deepEqual(second, first);
  const imageOf = ({ target }: SiteTarget) => (target.kind === 'signature' ? target.image : assert.fail());
  assert.notEqual(imageOf(second), imageOf(first));
  assert.equal(imageOf(targetOf(rawOf(0))), imageOf(second));
});

test('folders whose hashes are the same are told apart', () => {
  const targetOf = createTargets(createTargetParser(SITES, ''));
  const parse = createTargetParser(SITES, '');
  // of the folder's text the end alone is hashed
  const alike = ['team/app', 'team/abb', 'tram/app'].map(
    (path) => `/${path}@sha256=${'b'.repeat(64)}/signature-1`,
  );
  for (const raw of [...alike, ...alike, ...alike]) assert.deepEqual(targetOf(raw), parse(raw));
});

test('a target of a known folder is remembered as a whole, with the image of the folder', () => {
  const targetOf = createTargets(createTargetParser(SITES, ''));
  const raw = (number: number) => `/team/app@sha256=${HEX}/signature-${number}`;
  for (const number of [1, 2]) targetOf(raw(number));
  const [first, second] = [targetOf(raw(1)), targetOf(raw(2))];
  assert.equal(targetOf(raw(1)), first);
  assert.equal(targetOf(raw(2)), second);
  assert.ok(first.target.kind === 'signature' && second.target.kind === 'signature');
  assert.equal(first.target.image, second.target.image);
});
