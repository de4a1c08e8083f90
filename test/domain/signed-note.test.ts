import assert from 'node:assert/strict';
import {
  createPrivateKey,
  createPublicKey,
  generateKeyPairSync,
  type KeyObject,
  sign,
  verify,
} from 'node:crypto';
import { test } from 'node:test';
import fc from 'fast-check';
import {
  COSIGNATURE_V1,
  cosignedMessage,
  ED25519,
  formatNote,
  formatNoteKey,
  ML_DSA_44_COSIGNATURE,
  noteKey,
  parseNote,
  parseNoteKey,
  timestamped,
  type VerifySignature,
  verdictOf,
} from '../../src/domain/signed-note.ts';
import { canVerify, verifySignature } from '../../src/service/note-keys.ts';
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

/** What C2SP tlog-cosignature has a cosigner sign with ML-DSA-44, member by member. */
function cosignedMessageOf(cosigner: string, atSeconds: number, origin: string, size: number, root: Buffer) {
  const uint64 = (value: number) => {
    const bytes = Buffer.alloc(8);
    bytes.writeBigUInt64BE(BigInt(value));
    return bytes;
  };
  return Buffer.concat([
    Buffer.from('subtree/v1\n\0', 'latin1'),
    Buffer.from([cosigner.length]),
    Buffer.from(cosigner),
    uint64(atSeconds),
    Buffer.from([origin.length]),
    Buffer.from(origin),
    uint64(0),
    uint64(size),
    root,
  ]);
}

test('a cosignature by ML-DSA-44 binds who cosigns, its time and the head, and not what else the log says', () => {
  const root = Buffer.alloc(32, 7);
  const text = `log.example\n70000\n${root.toString('base64')}\nan extension\n`;
  const atSeconds = 1_679_315_147;
  const witness = noteKey(sha256Of, 'witness.example/w1', ML_DSA_44_COSIGNATURE, Buffer.alloc(1312, 1));
  assert.equal(parseNoteKey(sha256Of, formatNoteKey(witness))?.type, ML_DSA_44_COSIGNATURE);
  const seen: { readonly type: number; readonly message: Buffer; readonly signature: Buffer }[] = [];
  const noting: VerifySignature = (type, _, message, signature) => {
    seen.push({ type, message: Buffer.from(message), signature: Buffer.from(signature) });
    return true;
  };
  const of = (signature: Uint8Array) =>
    parseNote(
      formatNote({
        text,
        signatures: [{ name: witness.name, id: witness.id, bytes: timestamped(atSeconds, signature) }],
      }),
    ) ?? assert.fail('it is a note');
  const signature = Buffer.alloc(2420, 9);
  assert.deepEqual(verdictOf(of(signature), witness, noting), { verdict: 'good', atSeconds });
  const message = cosignedMessageOf(witness.name, atSeconds, 'log.example', 70_000, root);
  assert.deepEqual(seen, [{ type: ML_DSA_44_COSIGNATURE, message, signature }]);
  for (const other of [signature.subarray(1), Buffer.alloc(2421), Buffer.alloc(64)])
    assert.equal(verdictOf(of(other), witness, noting).verdict, 'bad', `${other.length} bytes`);
  const asText = { ...of(signature), text: 'a note\nthat is no head\n' };
  assert.equal(verdictOf(asText, witness, noting).verdict, 'bad');
  assert.equal(seen.length, 1);
});

test('a cosignature by ML-DSA-44 is verified by a Node.js that has it, and no other takes such a key', () => {
  // the types of Node.js 20 do not know it
  const generate = generateKeyPairSync as unknown as (type: string) => ReturnType<typeof generateKeyPairSync>;
  const name = 'witness.example/w1';
  let pair: { readonly publicKey: KeyObject; readonly privateKey: KeyObject };
  try {
    pair = generate('ml-dsa-44') as unknown as typeof pair;
  } catch {
    const key = noteKey(sha256Of, name, ML_DSA_44_COSIGNATURE, Buffer.alloc(1312, 1));
    assert.equal(canVerify(key), false, 'openWitness refuses such a key when the server starts');
    assert.equal(verifySignature(key.type, key.publicKey, Buffer.from('a'), Buffer.alloc(2420)), false);
    return;
  }
  const raw = pair.publicKey.export({ format: 'der', type: 'spki' }).subarray(-1312);
  const witness = noteKey(sha256Of, name, ML_DSA_44_COSIGNATURE, raw);
  assert.equal(canVerify(witness), true);
  const root = Buffer.alloc(32, 7);
  const message = cosignedMessageOf(name, 5, 'log.example', 3, root);
  const noteAt = (atSeconds: number, size: number) => ({
    text: `log.example\n${size}\n${root.toString('base64')}\n`,
    signatures: [
      { name, id: witness.id, bytes: timestamped(atSeconds, sign(null, message, pair.privateKey)) },
    ],
  });
  assert.deepEqual(verdictOf(noteAt(5, 3), witness, verifySignature), { verdict: 'good', atSeconds: 5 });
  for (const other of [noteAt(6, 3), noteAt(5, 4)])
    assert.equal(verdictOf(other, witness, verifySignature).verdict, 'bad');
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
