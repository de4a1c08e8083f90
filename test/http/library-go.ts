// Reads the signatures of a release as OpenShift's cluster-version operator does: openshift/library-go, pkg/verify/verify.go and
// pkg/verify/store/sigstore. Its checks of the content are here too; OpenPGP.js stands for its OpenPGP.
import { readKey, readMessage, verify } from 'openpgp';

/** maxSignatureSearch is 10, and the loop ends before it. */
const LAST_NUMBER = 9;

export interface Verified {
  /** Names of the keyrings by which nothing good was found; none: the release counts as signed. */
  readonly remaining: readonly string[];
  readonly asked: readonly string[];
  /** The signatures that counted. */
  readonly signedWith: readonly Buffer[];
  readonly errors: readonly string[];
}

/** `keyrings`: certificates by the name of the keyring; each keyring needs a good signature. */
export async function verifyRelease(
  store: string,
  digest: string,
  keyrings: ReadonlyMap<string, Uint8Array>,
): Promise<Verified> {
  const remaining = new Map(keyrings);
  const [asked, signedWith, errors]: [string[], Buffer[], string[]] = [[], [], []];
  for (let number = 1; number <= LAST_NUMBER && remaining.size > 0; number += 1) {
    const url = `${store.replace(/\/+$/, '')}/${digest.replace(':', '=')}/signature-${number}`;
    asked.push(url);
    const answer = await fetch(url, { headers: { 'User-Agent': 'Go-http-client/1.1' } });
    const bytes = Buffer.from(await answer.arrayBuffer());
    if (answer.status === 404) break;
    if (!answer.ok) errors.push(`${url}: ${answer.status}`);
    if (!answer.ok || bytes.length === 0) continue;
    for (const [name, certificate] of remaining) {
      const problem = await problemOf(bytes, certificate, digest);
      if (problem !== null) {
        errors.push(`${url}: ${problem}`);
        continue;
      }
      remaining.delete(name);
      signedWith.push(bytes);
    }
  }
  return { remaining: [...remaining.keys()], asked, signedWith, errors };
}

async function problemOf(bytes: Buffer, certificate: Uint8Array, digest: string): Promise<string | null> {
  try {
    const result = await verify({
      message: await readMessage({ binaryMessage: new Uint8Array(bytes) }),
      verificationKeys: await readKey({ binaryKey: certificate }),
      expectSigned: true,
      format: 'binary',
    });
    const { data } = result;
    if (!(data instanceof Uint8Array)) return 'no content';
    return problemOfContent(JSON.parse(Buffer.from(data).toString('utf8')), digest);
  } catch (error) {
    return String(error);
  }
}

interface Content {
  readonly critical?: {
    readonly type?: string;
    readonly image?: Readonly<Record<string, string>>;
    readonly identity?: Readonly<Record<string, string>>;
  };
  readonly optional?: object | null;
}

function problemOfContent({ critical, optional, ...more }: Content, digest: string): string | null {
  const { type, image = {}, identity = {}, ...others } = critical ?? {};
  const members = [...Object.keys(more), ...Object.keys(others)];
  const known = [...Object.keys(image), ...Object.keys(identity), ...Object.keys(optional ?? {})];
  const expected = ['docker-manifest-digest', 'docker-reference', 'creator', 'timestamp'];
  const strange = [...members, ...known.filter((name) => !expected.includes(name))];
  if (strange.length > 0) return `unknown field ${strange[0]}`;
  if (type !== 'atomic container signature') return 'signature is not the correct type';
  if (!identity['docker-reference']) return 'signature must have an identity';
  return image['docker-manifest-digest'] === digest ? null : 'signature digest does not match';
}
