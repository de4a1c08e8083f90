// Two RSA keys whose fingerprints end in the same 64 bits, so that they share a key ID: found by a parallel search with
// distinguished points (van Oorschot and Wiener) over the public exponent, in three minutes on one core.
import { createPrivateKey, createPublicKey, type JsonWebKey, sign as signByNode } from 'node:crypto';
import { keyOf, T0, type WrittenKey } from './certificate-writer.ts';
import { mpi, type WriterKey } from './packet-writer.ts';

const P = BigInt(
  '0xcd5e03da9ce00e1520f3d7caa87445cf8e1a3ea511163b7d22802461ab61c814691f4b55be860a8454a34692cd5cde' +
    '031b5ff4b485b23d75c03c6d69c7e85711cf79a99ddeef57b641c14067d8dcc9c6eece67fd5999eab60a41602f1583e3' +
    'e34c34a469a32e3dce8a76603d27fcae4b27ccbe525a3b3242ae4558aa9fe404e3',
);
const Q = BigInt(
  '0xf78dc69c60b6e94faa85a54b1d55b6398687afa02ad8f54b45ab47b138e39b7caf43d279f76527b87608d99777416b' +
    'd39055dcba75494fa8ed17f64232d2a1069c86e6bce5ea3d10db01f3572f7940263a6ea1655ed05d9038d34e58b85495' +
    'fce77f36d3e79d889b1b7ad0aa8ef34c80b93bee9d5c9a3740e7cada709beaab03',
);

export const SHARED_KEY_ID = '460C50111AD564AC';

/** Both work: P and Q are safe primes, so that every odd exponent has its inverse. */
export const TWINS: readonly [WriterKey, WriterKey] = [
  twin(T0 + 3, 0x8a89e1bef9d91477n),
  twin(T0 + 2, 0xd913cbd2167eb449n),
];

function twin(createdAt: number, exponent: bigint): WriterKey {
  const d = inverse(exponent, (P - 1n) * (Q - 1n));
  const key: JsonWebKey = {
    kty: 'RSA',
    n: base64Url(P * Q),
    e: base64Url(exponent),
    d: base64Url(d),
    p: base64Url(P),
    q: base64Url(Q),
    dp: base64Url(d % (P - 1n)),
    dq: base64Url(d % (Q - 1n)),
    qi: base64Url(inverse(Q, P)),
  };
  const privateKey = createPrivateKey({ key, format: 'jwk' });
  const material = Buffer.concat([mpi(toBytes(P * Q)), mpi(toBytes(exponent))]);
  const { body, fingerprint, keyId }: WrittenKey = keyOf(1, material, createdAt);
  return {
    body: Buffer.from(body),
    fingerprint,
    keyId,
    createdAt: new Date(createdAt * 1000),
    algorithm: 1,
    hash: 'sha256',
    publicKey: createPublicKey(privateKey),
    sign: (hash, data) => mpi(signByNode(hash, data, privateKey)),
  };
}

/** The inverse of `value`, which has no common factor with `modulus`. */
function inverse(value: bigint, modulus: bigint): bigint {
  let [one, other] = [value % modulus, modulus];
  let [factor, next] = [1n, 0n];
  while (other !== 0n) {
    const quotient = one / other;
    [one, other] = [other, one - quotient * other];
    [factor, next] = [next, factor - quotient * next];
  }
  return ((factor % modulus) + modulus) % modulus;
}

function toBytes(value: bigint): Buffer {
  const digits = value.toString(16);
  return Buffer.from(digits.padStart(digits.length + (digits.length % 2), '0'), 'hex');
}

function base64Url(value: bigint): string {
  return toBytes(value).toString('base64url');
}
