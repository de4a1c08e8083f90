import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { type PublicKey, parsePublicKey } from '../../src/openpgp/public-key.ts';
import { isConfirmed } from '../../src/openpgp/second-opinion.ts';
import { type ReadSignature, readSignaturePacket } from '../../src/openpgp/signature-packet.ts';
import { type KeyKind, makeKey, signatureBody } from './packet-writer.ts';

const CONTENT = Buffer.from('what is signed');

function keyOf(body: Uint8Array): PublicKey {
  const key = parsePublicKey(body);
  assert.ok('hasSigned' in key);
  return key;
}

function signatureOf(body: Uint8Array): ReadSignature {
  const signature = readSignaturePacket(body);
  assert.ok('numbers' in signature);
  return signature;
}

describe('OpenPGP.js', () => {
  for (const kind of [
    'rsa2048',
    'ed25519',
    'nistp256',
    'nistp384',
    'nistp521',
  ] satisfies readonly KeyKind[]) {
    test(`confirms what a ${kind} key has signed, and nothing that was changed or is another's`, async () => {
      const [signer, other] = [makeKey(kind), makeKey(kind)];
      const signature = signatureOf(signatureBody(signer, CONTENT, {}));
      const finding = { key: keyOf(signer.body), isSubkey: false, signature, content: CONTENT };
      assert.equal(await isConfirmed(finding), true);
      assert.equal(await isConfirmed({ ...finding, isSubkey: true }), true);
      assert.equal(await isConfirmed({ ...finding, content: Buffer.from('what is signee') }), false);
      assert.equal(await isConfirmed({ ...finding, content: Buffer.alloc(0) }), false);
      assert.equal(await isConfirmed({ ...finding, key: keyOf(other.body) }), false);
      const body = Buffer.from(signature.body);
      body[body.length - 1] = (body.at(-1) ?? 0) ^ 1;
      assert.equal(await isConfirmed({ ...finding, signature: { ...signature, body } }), false);
    });
  }
});
