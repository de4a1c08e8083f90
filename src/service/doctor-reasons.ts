// The reason behind the reason of a refusal: a typo in a section, a number that is missing, a mirror's path.
import type { Policy } from '../domain/policy/policy.ts';
import { type Base, type RegistriesD, writingBaseFor } from '../domain/policy/registries-d.ts';
import { dockerScopes, type Selected } from '../domain/policy/scopes.ts';
import type { DockerReference } from '../domain/reference.ts';
import { hasSignature, type LookasideQuestion, withoutPassword } from './doctor-lookaside.ts';
import type { FoundManifest } from './doctor-registry.ts';
import type { ReadPolicy } from './doctor-setup.ts';
import type { Complaint } from './policy-judge.ts';

/** What refine() looks at when it seeks the reason behind the reason. */
export interface Circumstances {
  readonly place: LookasideQuestion;
  readonly base: Base;
  readonly config: RegistriesD;
  readonly manifest: FoundManifest;
  readonly selected: Selected;
  readonly policy: ReadPolicy;
  /** As it is pulled, and as it is asked for. */
  readonly image: DockerReference;
  readonly physical: DockerReference;
  /** Where its signatures would be looked for without a mirror. */
  readonly logical: Base;
}

/** The reason behind the reason: why there is no signature where clients look. */
export async function refine(complaint: Complaint, circumstances: Circumstances): Promise<Complaint> {
  const { selected, policy, image } = circumstances;
  const names = dockerScopes(image);
  if (complaint.code === 'POLICY_REJECT') {
    const near = nearScope(policy.policy, names);
    if (near === null) return { ...complaint, message: `${complaint.message} (${selected.section})` };
    return {
      code: 'SCOPE_NEVER_MATCHES',
      message: `${selected.section} rejects this image; the section "${near}" of ${policy.path} is never used for it`,
      remedy: `write that section as one of ${names.slice(1).join(', ')}`,
    };
  }
  return complaint.code === 'NO_SIGNATURE' ? whyNone(circumstances) : complaint;
}

async function whyNone({
  place,
  base,
  config,
  manifest,
  image,
  physical,
  logical,
}: Circumstances): Promise<Complaint> {
  const names = dockerScopes(physical);
  const where = withoutPassword(base.url);
  if (await hasSignature(place, 2))
    return complaint(
      'FIRST_MISSING',
      `signature-1 is missing and signature-2 is there: clients stop at the first 404`,
      `put the signature there as signature-1: the numbers must have no gap`,
    );
  if (manifest.list !== null && (await hasSignature({ ...place, digest: manifest.list }, 1)))
    return complaint(
      'ONLY_LIST_SIGNED',
      `the image list ${manifest.list} is signed, but not ${manifest.digest}, which this platform pulls`,
      `sign each image of the list: skopeo copy --all --sign-by KEY`,
    );
  const isMoved = nameOf(physical) !== nameOf(image);
  if (isMoved && (await hasSignature({ ...place, base: logical.url, path: image.path }, 1)))
    return mirrorComplaint({ where, image, physical, logical });
  if (base.section !== null) {
    const lost = lostSignature(config, dockerScopes(image));
    const { file } = base.section;
    return complaint(
      'NO_SIGNATURE',
      `${where} has no signature of ${manifest.digest} under ${physical.path}${lost === null ? '' : `; ${lost}`}`,
      lost === null
        ? `sign the image and bring the signature to ${where}, or write the right place into ${file}`
        : `sign the image where that section has lookaside-staging: and sigstore-staging: with file:///FOLDER, and bring FOLDER to ${where} (lookaside push FOLDER); or write the right place into ${file}`,
    );
  }
  const other = sectionsOf(config).find(({ name, lookaside }) => names.includes(name) && lookaside !== null);
  if (other !== undefined)
    return complaint(
      'SPELLING',
      `${other.file} has lookaside: alone, which this generation of clients does not read`,
      `write sigstore: with the same URL beside lookaside: in ${other.file}`,
    );
  const near = nearName([...config.namespaces.keys()], names);
  const hint = near === null ? '' : `; the section "${near}" there is never used for it`;
  return complaint(
    'NOT_CONFIGURED',
    `registries.d names no lookaside for this image${hint}, so clients look into ${where}, where there is no signature`,
    `write into a file of registries.d: docker: {${names.at(1 + (names[1]?.split('/').length ?? 1) - 1) ?? ''}: {lookaside: URL, sigstore: URL}}`,
  );
}

/** podman push --sign-by pushes the image first, and then loses the signature where it may write to no file. */
function lostSignature(config: RegistriesD, names: readonly string[]): string | null {
  const url = writingBaseFor(config, { names, builtIn: 'file:' });
  if (!/^https?:/i.test(url)) return null;
  return `if podman push --sign-by was to write it from this machine: it cannot write to ${withoutPassword(url)}, and nothing names a lookaside-staging`;
}

/** The signatures are there, under the name that was typed, and clients ask under that of the mirror. */
function mirrorComplaint({
  where,
  image,
  physical,
  logical,
}: Pick<Circumstances, 'image' | 'physical' | 'logical'> & { readonly where: string }): Complaint {
  const right = withoutPassword(logical.url);
  return complaint(
    'MIRROR_UNSIGNED',
    `registries.conf sends the pull to ${nameOf(physical)}, and signatures are asked for under ${physical.path} at ${where}, where there is none; under ${image.path} at ${right} there is one`,
    physical.path === image.path
      ? `write into a file of registries.d: docker: {${physical.domain}: {lookaside: "${right}", sigstore: "${right}"}}`
      : `have the lookaside serve the signatures of ${image.path} under ${physical.path} too, as a lookaside server does with a remapped view, or copy their folder ${image.path}@… to ${physical.path}@… at ${where}`,
  );
}

function nameOf({ domain, path }: DockerReference): string {
  return `${domain}/${path}`;
}

function sectionsOf({ standard, namespaces }: RegistriesD) {
  const own = [...namespaces].map(([name, section]) => ({ name, ...section }));
  return standard === null ? own : [...own, { name: 'default-docker', ...standard }];
}

function complaint(code: string, message: string, remedy: string): Complaint {
  return { code, message, remedy };
}

function nearScope(policy: Policy, names: readonly string[]): string | null {
  return nearName([...(policy.transports.get('docker')?.keys() ?? [])], names);
}

/** One that somebody may have meant: the same without its port, or with at most two characters changed. */
function nearName(candidates: readonly string[], names: readonly string[]): string | null {
  const bare = (name: string) =>
    name
      .replace(/:\d+(?=\/|$)/, '')
      .replace(/^https?:\/\//, '')
      .replace(/\/+$/, '')
      .toLowerCase();
  return (
    candidates.find(
      (candidate) =>
        candidate !== '' &&
        !names.includes(candidate) &&
        names.some((name) => bare(name) === bare(candidate) || isNear(name, candidate)),
    ) ?? null
  );
}

const MOST_CHANGES = 2;
const LONGEST_COMPARED = 255;

/** Whether at most two characters are added, left out or changed, of names long enough for that to mean something. */
function isNear(one: string, other: string): boolean {
  if (Math.abs(one.length - other.length) > MOST_CHANGES || one.length < 6 || other.length > LONGEST_COMPARED)
    return false;
  let row = Array.from({ length: other.length + 1 }, (_, column) => column);
  for (const [index, character] of [...one].entries()) {
    const next = [index + 1];
    for (let column = 1; column <= other.length; column += 1) {
      const change = (row[column - 1] ?? 0) + (other[column - 1] === character ? 0 : 1);
      next.push(Math.min(change, (row[column] ?? 0) + 1, (next[column - 1] ?? 0) + 1));
    }
    row = next;
  }
  return (row.at(-1) ?? 0) <= MOST_CHANGES;
}
