// Armour in 500 variants, as editors, mail programs and people leave it: we take what gpg takes, and no more.
import assert from 'node:assert/strict';
import { mkdir, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { describe, test } from 'node:test';
import fc from 'fast-check';
import { armorPublicKey } from '../../src/openpgp/armor.ts';
import { cleanCertificates } from '../../src/openpgp/certificates.ts';
import { makeKey, simpleCertificate } from '../openpgp/certificate-writer.ts';
import { needs } from './available.ts';
import { run } from './command.ts';
import { openTempFolder } from './temp-folder.ts';

const VARIANTS = 500;
const SEED = 13;

/** What becomes of the lines of an armoured key; mostly nothing. */
const variant = fc.record({
  userIdLength: fc.integer({ min: 1, max: 60 }),
  begin: often('', fc.constantFrom(' ', ':', '> ', '\ufeff', '-', '\t')),
  beginEnd: often('', fc.constantFrom(' ', '\t ', 'x', ' -')),
  label: often(
    'PUBLIC KEY BLOCK',
    fc.constantFrom('PRIVATE KEY BLOCK', 'SECRET KEY BLOCK', 'MESSAGE', 'SIGNATURE', 'public key block'),
  ),
  headers: fc.array(
    fc.constantFrom(
      'Version: 1',
      'Comment:',
      'Comment: ',
      'X.Key: 1',
      'My Comment: 1',
      ': x',
      '-: x',
      'a: b: c',
      'Comment:x',
      'Comment x',
      ' more',
      'Hash: SHA1',
    ),
    { maxLength: 2 },
  ),
  separator: often('\n', fc.constantFrom('', ' \n', '\t\n', '\n\n', '\f\n', '\u00a0\n')),
  width: often(64, fc.constantFrom(1, 60, 63, 76, 10_000)),
  indent: often('', fc.constantFrom(' ', '\t', '> ', '| ')),
  lineEnd: often('', fc.constantFrom(' ', '\t', '\u00a0', '=')),
  checksum: fc.constantFrom(
    'right',
    'right',
    'right',
    'right',
    'right',
    'none',
    'wrong',
    'inline',
    'indented',
    'short',
    'longer',
    'split',
    'empty',
    'doubled',
  ),
  end: often(
    '-----END PGP PUBLIC KEY BLOCK-----\n',
    fc.constantFrom(
      '',
      '-----END PGP PUBLIC KEY BLOCK-----',
      ' -----END PGP PUBLIC KEY BLOCK-----\n',
      '-----END PGP MESSAGE-----\n',
    ),
  ),
  newline: often('\n', fc.constantFrom('\r\n', '\r', '\n\n')),
  before: often('', fc.constantFrom('\n', 'my key\n', '\ufeff\n', '-----\n', 'a: b\n\n', '\n\n\n')),
  after: often('', fc.constantFrom('bye\n', '\n\n', '= =\n', '-- \n')),
  damage: often(
    null,
    fc.record({
      at: fc.nat(10_000),
      kind: fc.constantFrom('changed', 'lost', 'doubled', 'foreign', 'line lost', 'escaped'),
    }),
  ),
});
type Variant = typeof variant extends fc.Arbitrary<infer Value> ? Value : never;

function often<Value>(usual: Value, others: fc.Arbitrary<Value>): fc.Arbitrary<Value> {
  return fc.oneof({ weight: 7, arbitrary: fc.constant(usual) }, { weight: 1, arbitrary: others });
}

function write(certificate: Uint8Array, choice: Variant): string {
  const lines = armorPublicKey(certificate).split('\n');
  const base64 = spoil(lines.slice(2, -3).join(''), choice.damage);
  const wrapped = base64.match(new RegExp(`.{1,${choice.width}}`, 'g')) ?? [];
  const data = wrapped.map((line) => `${choice.indent}${line}${choice.lineEnd}`).join('\n');
  const text = [
    `${choice.before}${choice.begin}-----BEGIN PGP ${choice.label}-----${choice.beginEnd}\n`,
    ...choice.headers.map((header) => `${header}\n`),
    choice.separator,
    data,
    checksumLines(lines.at(-3) ?? '', choice),
    choice.end,
    choice.after,
  ].join('');
  return text.replaceAll('\n', choice.newline);
}

function checksumLines(line: string, { checksum, indent }: Variant): string {
  switch (checksum) {
    case 'right':
      return `\n${line}\n`;
    case 'none':
      return '\n';
    case 'wrong':
      return '\n=AbCd\n';
    case 'inline':
      return `${line}\n`;
    case 'indented':
      return `\n${indent}  ${line} \n`;
    case 'short':
      return `\n${line.slice(0, 4)}\n`;
    case 'longer':
      return `\n${line}AA\n`;
    case 'split': // behind two digits both might take it for a character that a mail program encoded
      return `\n${line.slice(0, 4)} ${line.slice(4)}\n`;
    case 'empty':
      return '\n=\n';
    case 'doubled':
      return `\n=${line}\n`;
  }
}

function spoil(base64: string, damage: Variant['damage']): string {
  if (damage === null) return base64;
  const at = damage.at % base64.replace(/=+$/, '').length;
  const [ahead, one, behind] = [base64.slice(0, at), base64.charAt(at), base64.slice(at + 1)];
  switch (damage.kind) {
    case 'changed':
      return `${ahead}${one === 'A' ? 'B' : 'A'}${behind}`;
    case 'lost':
      return ahead + behind;
    case 'doubled':
      return ahead + one + one + behind;
    case 'foreign':
      return `${ahead}${one}#${behind}`;
    case 'line lost':
      return base64.slice(0, at) + base64.slice(at + 64);
    case 'escaped': // as mail programs write one character at the end of a line
      return `${ahead}=${one.charCodeAt(0).toString(16).toUpperCase()}\n${behind}`;
  }
}

/** A checksum that is split behind two hex digits, by the chance of the key: gpg and we read `=Ce ` as one character. */
const BEGINS_AS_QUOTED_PRINTABLE = /\n=[0-9A-Fa-f]{2} [A-Za-z0-9+/]{2}\n/;

/** Where we differ from gpg 2.2 on purpose; null where we do not. */
function explained(choice: Variant, text: string): 'byte order mark' | 'neither padding nor checksum' | null {
  if (choice.begin === '\ufeff') return 'byte order mark'; // gpg 2.2 finds no armour behind it
  // it takes the line of END for data then; RFC 9580, section 6.1 has no checksum any more
  const hasNone = choice.checksum === 'none' || BEGINS_AS_QUOTED_PRINTABLE.test(text);
  return hasNone ? 'neither padding nor checksum' : null;
}

describe('armour', needs('gpg'), () => {
  test(`in ${VARIANTS} variants is taken where gpg takes it`, async () => {
    await using temp = await openTempFolder();
    const home = path.join(temp.path, 'home');
    await mkdir(home, { mode: 0o700 });
    const now = new Date();
    const variants = fc.sample(variant, { numRuns: VARIANTS, seed: SEED }).map((choice, index) => {
      const key = makeKey(); // of each its own: gpg looks at all files at once
      const text = write(simpleCertificate(key, 'x'.repeat(choice.userIdLength)), choice);
      return { choice, key, text, file: path.join(temp.path, `${index}.asc`) };
    });
    await Promise.all(variants.map(({ file, text }) => writeFile(file, Buffer.from(text, 'utf8'))));
    const files = variants.map(({ file }) => file);
    const { stdout } = await run(
      ['gpg', '--homedir', home, '--batch', '--no-tty', '--with-colons', '--show-keys', ...files],
      { env: { PATH: process.env.PATH ?? '', LC_ALL: 'C', HOME: temp.path } },
    );
    const byGpg = new Set(
      [...stdout.matchAll(/^fpr:+([0-9A-F]{40}):/gm)].map(([, fingerprint]) => fingerprint),
    );
    const counts = { taken: 0, refused: 0, explained: 0 };
    for (const { choice, key, text } of variants) {
      const isTaken = takes(Buffer.from(text, 'utf8'), key.fingerprint, now);
      const isTakenByGpg = byGpg.has(key.fingerprint);
      if (isTaken !== isTakenByGpg && isTaken && explained(choice, text) !== null) counts.explained += 1;
      else assert.equal(isTaken, isTakenByGpg, `ours, then gpg's: ${JSON.stringify(choice)}\n${text}`);
      counts[isTaken ? 'taken' : 'refused'] += 1;
    }
    assert.ok(counts.taken > 100 && counts.refused > 100 && counts.explained < 60, JSON.stringify(counts));
  });
});

function takes(bytes: Uint8Array, fingerprint: string, now: Date): boolean {
  try {
    const results = cleanCertificates(bytes, new Map(), now);
    return results.some((result) => result.kind === 'clean' && result.details.fingerprint === fingerprint);
  } catch {
    return false; // there is none at all
  }
}
