// What keeps OpenShift from reading a good signature at its place. OpenShift has two readers: the cluster-version operator
// (library-go, with golang.org/x/crypto/openpgp) reads nine numbers and skips a signature that it cannot read; oc-mirror
// reads only the first.
import type { ImageId } from './image.ts';
import type { KeyDetails } from './key.ts';
import { LAST_OPENSHIFT_NUMBER } from './limits.ts';
import type { Warning } from './receipt.ts';

export interface PlacedSignature {
  readonly image: Pick<ImageId, 'layout'>;
  /** The number under which clients get it. */
  readonly number: number;
  readonly signingFingerprint: string | null;
  /** The registered key; null when it is not known. */
  readonly key: Pick<KeyDetails, 'fingerprint' | 'algorithm' | 'subkeys'> | null;
}

/** Empty when OpenShift's readers can read it. For the repository layout only the number matters. */
export function readerWarnings(placed: PlacedSignature): readonly Warning[] {
  const { image, number } = placed;
  const warnings = [
    number > LAST_OPENSHIFT_NUMBER ? overNine(number) : null,
    image.layout === 'release' && number > 1 ? notTheFirst(number) : null,
    image.layout === 'release' ? keyOfOther(placed) : null,
  ];
  return warnings.filter((warning) => warning !== null);
}

function overNine(number: number): Warning {
  return {
    code: 'OVER_NINE',
    message: `stored as signature-${number}; OpenShift reads signature-1 to signature-${LAST_OPENSHIFT_NUMBER} alone`,
  };
}

function notTheFirst(number: number): Warning {
  return {
    code: 'NOT_THE_FIRST',
    message: `stored as signature-${number}; oc-mirror reads signature-1 of a release alone, so it takes the release only if that signature is by a key it trusts`,
  };
}

function keyOfOther({ number, signingFingerprint, key }: PlacedSignature): Warning | null {
  if (key === null) return null;
  const signer = [key, ...key.subkeys].find(({ fingerprint }) => fingerprint === signingFingerprint);
  // x/crypto drops the whole certificate when it cannot read one of its parts
  const other = [signer ?? key, key, ...key.subkeys].find(({ algorithm }) => !algorithm.startsWith('rsa'));
  if (other === undefined) return null;
  const ofFirst = number === 1 ? '; and oc-mirror reads no other signature than this first one' : '';
  return {
    code: 'OPENSHIFT_KEY',
    message: `the key ${key.fingerprint} is or holds ${other.algorithm}, and OpenShift reads releases signed by RSA keys alone${ofFirst}. Sign releases with an RSA key, and with that one first`,
  };
}
