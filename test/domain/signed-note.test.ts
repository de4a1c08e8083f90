import assert from 'node:assert/strict';
import { createPrivateKey, createPublicKey, generateKeyPairSync, sign, verify } from 'node:crypto';
import { test } from 'node:test';
import fc from 'fast-check';
import {
  COSIGNATURE_V1,
  cosignedMessage,
  ED25519,
  formatNote,
  formatNoteKey,
  noteKey,
  parseNote,
  parseNoteKey,
  timestamped,
  type VerifySignature,
  verdictOf,
} from '../../src/domain/signed-note.ts';
import { isSignedBy, sha256Of } from './independent-log.ts';

const verifyEd25519: VerifySignature = (_, publicKey, message, signature) => {
  const spki = Buffer.concat([Buffer.from('302a300506032b6570032100', 'hex'), publicKey]);
  return verify(null, message, createPublicKey({ key: spki, format: 'der', type: 'spki' }), signature);
};

/** The example of C2SP signed-note, "Verifier keys". */
const VKEY = 'example.com/foo+530d903a+AekyeRrm56hApGFkyQR4ZCbV54Id2LKaANYcrnKv3U2k';
const NOTE = `This is an example message.

— example.com/foo Uw2QOkn8srV1yJGh2VYRlL1Tnagv1YEq6TfXppzi2ONncAlTgK7Ztg1ERYNZXsYjOBH3mFXmRKuwHjG1Yu72IneyaQM=
`;

const key = () => {
  const parsed = parseNoteKey(sha256Of, VKEY);
  assert.ok(parsed !== null);
  return parsed;
};

test('the example of the specification verifies, and is written as it was read', () => {
  const note = parseNote(NOTE);
  assert.ok(note !== null);
  assert.deepEqual(verdictOf(note, key(), verifyEd25519), { verdict: 'good', atSeconds: null });
  assert.ok(isSignedBy(NOTE, VKEY));
  assert.equal(formatNote(note), NOTE);
  assert.equal(formatNoteKey(key()), VKEY);
});

test('any one byte of a note or of a key that is changed is found', () => {
  const bytes = Buffer.from(NOTE);
  fc.assert(
    fc.property(fc.nat(bytes.length - 1), fc.integer({ min: 1, max: 255 }), (at, by) => {
      const other = Buffer.from(bytes);
      other[at] = (other[at] ?? 0) ^ by;
      const note = parseNote(other.toString('utf8'));
      assert.ok(note === null || verdictOf(note, key(), verifyEd25519).verdict !== 'good');
    }),
    { numRuns: 500 },
  );
  for (let at = 0; at < VKEY.length; at += 1) {
    const other = `${VKEY.slice(0, at)}${VKEY[at] === 'b' ? 'c' : 'b'}${VKEY.slice(at + 1)}`;
    assert.equal(parseNoteKey(sha256Of, other), null, other);
  }
});

test('a cosignature binds its time, and signatures by others are passed over', () => {
  const { privateKey, publicKey } = generateKeyPairSync('ed25519');
  const raw = publicKey.export({ format: 'der', type: 'spki' }).subarray(12);
  const witness = noteKey(sha256Of, 'witness.example/w1', COSIGNATURE_V1, raw);
  const note = parseNote(NOTE);
  assert.ok(note !== null);
  const atSeconds = 1_679_315_147;
  const message = cosignedMessage(note.text, atSeconds);
  assert.equal(
    Buffer.from(message).toString(),
    'cosignature/v1\ntime 1679315147\nThis is an example message.\n',
  );
  const bytes = timestamped(atSeconds, sign(null, message, privateKey));
  const cosigned = parseNote(
    formatNote({ ...note, signatures: [...note.signatures, { name: witness.name, id: witness.id, bytes }] }),
  );
  assert.ok(cosigned !== null);
  assert.deepEqual(verdictOf(cosigned, witness, verifyEd25519), { verdict: 'good', atSeconds });
  assert.equal(verdictOf(cosigned, key(), verifyEd25519).verdict, 'good');
  assert.equal(verdictOf(note, witness, verifyEd25519).verdict, 'absent');
  const later = Uint8Array.from(bytes);
  later[7] = (later[7] ?? 0) + 1;
  const forged = { ...note, signatures: [{ name: witness.name, id: witness.id, bytes: later }] };
  assert.equal(verdictOf(forged, witness, verifyEd25519).verdict, 'bad');
});

test('a key of one type is not taken for another', () => {
  const { privateKey } = generateKeyPairSync('ed25519');
  const raw = createPublicKey(createPrivateKey(privateKey.export({ format: 'pem', type: 'pkcs8' })))
    .export({ format: 'der', type: 'spki' })
    .subarray(12);
  const [log, cosigner] = [ED25519, COSIGNATURE_V1].map((type) => noteKey(sha256Of, 'a.example', type, raw));
  assert.ok(log !== undefined && cosigner !== undefined);
  assert.notEqual(log.id, cosigner.id);
  assert.deepEqual(parseNoteKey(sha256Of, formatNoteKey(cosigner))?.type, COSIGNATURE_V1);
});

test('what is no signed note is none', () => {
  for (const text of [
    '',
    '\n',
    'a\n',
    'a\n\n',
    'a\n\n\n',
    NOTE.slice(0, -1),
    NOTE.replace('—', '-'),
    `\u0007${NOTE}`,
  ]) {
    assert.equal(parseNote(text), null, JSON.stringify(text));
  }
  for (const text of ['', 'a', 'a+530d903a+', 'a b+530d903a+AQ==', `${VKEY}=`, VKEY.toUpperCase()]) {
    assert.equal(parseNoteKey(sha256Of, text), null, text);
  }
});
