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

test('a folder is parsed for its first two signatures, and then no more', () => {
  let parsed = 0;
  const parse = createTargetParser(SITES, '');
  const targetOf = createTargets((raw) => {
    parsed += 1;
    return parse(raw);
  });
  for (const number of [1, 2, 3, 4]) {
    const { target } = targetOf(`/team/app@sha256=${HEX}/signature-${number}`);
    assert.equal(target.kind === 'signature' && target.number, number);
  }
  assert.equal(parsed, 2);
});

test('names that each come once are not kept', () => {
  const targetOf = createTargets(createTargetParser(SITES, ''));
  const rawAt = (at: number) =>
    `/team/app@sha256=${createHash('sha256').update(String(at)).digest('hex')}/signature-1`;
  const first = targetOf(rawAt(0));
  for (let at = 1; at < 1000; at += 1) targetOf(rawAt(at));
  const second = targetOf(rawAt(0));
  assert.deepEqual(second, first);
  const imageOf = ({ target }: SiteTarget) => (target.kind === 'signature' ? target.image : assert.fail());
  assert.notEqual(imageOf(second), imageOf(first));
  assert.equal(imageOf(targetOf(rawAt(0))), imageOf(second));
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
