// What armour looks like by the time it reaches us: copied, mailed, indented, edited.
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { armorPublicKey, checksumOf, displacedArmor, untrustedBlocks } from '../../src/openpgp/armor.ts';
import { makeKey, simpleCertificate } from './certificate-writer.ts';

const BEGIN = '-----BEGIN PGP PUBLIC KEY BLOCK-----\n\n';

/** Three certificates, whose base64 ends with no, one and two characters of padding. */
const CERTIFICATES = [0, 1, 2].map((more) => {
  const key = makeKey();
  const { length } = simpleCertificate(key, '');
  return simpleCertificate(key, 'x'.repeat(((300 - length) % 3) + more));
});

const blocksOf = (text: string) => untrustedBlocks(Buffer.from(text, 'latin1'));

describe('armour', () => {
  const taken: readonly [string, (armor: string) => string][] = [
    ['with an empty comment', (armor) => armor.replace(BEGIN, `${BEGIN.trimEnd()}\nComment:\n\n`)],
    ['with an empty version', (armor) => armor.replace(BEGIN, `${BEGIN.trimEnd()}\nVersion: \n\n`)],
    [
      'with a dot in the name of a header',
      (armor) => armor.replace(BEGIN, `${BEGIN.trimEnd()}\nX.Key: 1\n\n`),
    ],
    [
      'with blanks in the name of a header',
      (armor) => armor.replace(BEGIN, `${BEGIN.trimEnd()}\nMy Key: 1\n\n`),
    ],
    ['with its checksum on the last line of data', (armor) => armor.replace(/\n=(?=....\n-)/, '=')],
    ['with indented data', (armor) => armor.replaceAll(/\n(?=[^-\n])/g, '\n  ')],
    ['with indented data and end', (armor) => armor.replaceAll(/\n(?=[^\n])/g, '\n\t')],
    ['without an empty line ahead of its data', (armor) => armor.replace('\n\n', '\n')],
    ['with a blank in the empty line', (armor) => armor.replace('\n\n', '\n \t\n')],
    ['with empty lines in its data', (armor) => armor.replaceAll('\n', '\n\n')],
    ['in one line', (armor) => armor.replace(/(?<=\n\n)[^=-]*/, (data) => `${data.replaceAll('\n', '')}\n`)],
    ['with CR LF', (armor) => armor.replaceAll('\n', '\r\n')],
    ['behind a byte order mark', (armor) => `\xef\xbb\xbf${armor}`],
    ['with text around it', (armor) => `Dear all,\nmy key: \n\n${armor}\n= Bye =\n`],
    ['quoted in a mail below its first line', (armor) => armor.replaceAll(/\n(?=[^-\n])/g, '\n> ')],
    ['without a checksum', (armor) => armor.replace(/\n=....\n/, '\n')],
    ['without an end', (armor) => armor.replace(/\n-----END.*\n/, '\n')],
    ['of a secret key by its words', (armor) => armor.replaceAll('PUBLIC', 'SECRET')],
  ];
  for (const [name, dress] of taken) {
    test(`${name} is taken off`, () => {
      for (const bytes of CERTIFICATES) {
        const text = dress(armorPublicKey(bytes));
        const [block, another] = blocksOf(text);
        assert.equal(another, undefined);
        assert.ok(block !== undefined && typeof block !== 'string', `${block}: ${text}`);
        assert.ok(Buffer.from(block).equals(bytes), text);
      }
    });
  }

  const damaged: readonly [string, (armor: string) => string, RegExp][] = [
    ['another checksum', (armor) => armor.replace(/(?<=\n)=....(?=\n)/, '=AAAA'), /^the checksum .*AAAA/],
    // not of hex digits: those after a = are one character of quoted-printable
    ['half a checksum', (armor) => armor.replace(/(?<=\n=)....(?=\n)/, 'zz'), /^the checksum/],
    [
      'a character in place of another',
      (armor) => armor.replace(/(?<=\n\n)./, (first) => (first === 'n' ? 'm' : 'n')),
      /^the checksum/,
    ],
    ['a lost line', (armor) => armor.replace(/(?<=\n\n)[^\n]+\n/, ''), /^the checksum/],
    [
      'a header without a colon',
      (armor) => armor.replace('\n\n', '\nComment here\n\n'),
      /^the (checksum|armour lacks)/,
    ],
    ['a character too many', (armor) => armor.replace(/=*\n=/, 'A\n='), /^the (checksum|armour lacks)/],
  ];
  for (const [name, spoil, why] of damaged) {
    test(`with ${name} is damaged, and why is told`, () => {
      for (const bytes of CERTIFICATES) {
        const text = spoil(armorPublicKey(bytes));
        const [block] = blocksOf(text);
        assert.ok(typeof block === 'string', text);
        assert.match(block, why);
      }
    });
  }

  test('of several blocks each is taken off by itself, whatever the one before it is like', () => {
    const armors = CERTIFICATES.map(armorPublicKey);
    const spoilt = armors.map((armor) => armor.replace(/(?<=\n)=....(?=\n)/, '=AAAA'));
    const blocks = blocksOf(
      `${armors[0]}and\n${spoilt[1]}${armors[2]?.replace(/\n=....\n/, '\n')}${armors[1]}`,
    );
    assert.deepEqual(
      blocks.map((block) => (typeof block === 'string' ? 'damaged' : checksumOf(block))),
      [CERTIFICATES[0], null, CERTIFICATES[2], CERTIFICATES[1]].map((bytes) =>
        bytes == null ? 'damaged' : checksumOf(bytes),
      ),
    );
  });

  test('what stands ahead of BEGIN on its line is found', () => {
    const armor = armorPublicKey(CERTIFICATES[0] ?? new Uint8Array());
    const ahead = (text: string) => displacedArmor(Buffer.from(text, 'latin1'));
    assert.equal(ahead(`a revocation certificate\n\n:${armor}`), ':');
    assert.equal(ahead(`key: |\n    ${armor}`), '    ');
    assert.equal(ahead(armor), null);
    assert.equal(ahead('nothing'), null);
  });

  test('of millions of tricks is read in time that grows with its length alone', () => {
    const size = 1024 * 1024;
    for (const piece of [
      '=4D\n',
      `${BEGIN}AAAA\n-----END PGP\n`,
      '-----END PGP',
      'a:\n',
      ' \n',
      '=',
      '\n-----END PG',
    ]) {
      const text = BEGIN + piece.repeat(size / piece.length);
      assert.ok(blocksOf(text).length > 0);
      displacedArmor(Buffer.from(text));
    }
  });
});
