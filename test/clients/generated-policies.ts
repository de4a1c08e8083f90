// Policies, references, identities, signatures and what registries.d and registries.conf hold, made at random and always the same.
import path from 'node:path';
import fc from 'fast-check';
import { DIGEST, type Machine } from '../service/broken-machine.ts';
import {
  ACCEPT,
  type CaseSignature,
  certificatesOf,
  confsFor,
  type PolicyCase,
  REJECT,
  wordsFor,
} from './policy-cases.ts';

const REPOSITORIES = ['team/app', 'team/app/deep', 'solo'] as const;

/** Another one may be given, to look further: GENERATED_SEED=4242. */
export const SEED = Number(process.env.GENERATED_SEED ?? 17);

/** `count` of them. The first ones stay the same when more are made. */
export function generatedCases(m: Machine, count: number): readonly PolicyCase[] {
  const parts = partsFor(m);
  return fc
    .sample(caseOf(m, parts), { numRuns: count, seed: SEED })
    .map(({ scopes, fallback, signatures, ...rest }, at) => ({
      ...rest,
      name: `generated ${at}`,
      policy: { default: fallback, transports: { docker: Object.fromEntries(scopes) } },
      signatures,
    }));
}

type Parts = ReturnType<typeof partsFor>;

function partsFor(m: Machine) {
  const words = wordsFor(m);
  const scopes = [
    ...words.scopes,
    `${m.host}/solo`,
    `${m.host}/team/app/deep`,
    `${m.host}/team/app:latest`,
    `${m.host}/team/app@${DIGEST}`,
  ];
  return { ...words, scopes };
}

function caseOf(m: Machine, parts: Parts) {
  const some = fc.array(requirementOf(m, parts), { minLength: 1, maxLength: 2 });
  const confs = confsFor(m).map(([, conf]) => conf);
  return fc.record(
    {
      scopes: fc.array(fc.tuple(fc.constantFrom(...parts.scopes), some), { maxLength: 4 }),
      fallback: fc.oneof(fc.constant([ACCEPT]), fc.constant([REJECT]), some),
      repository: fc.constantFrom('team/app', ...REPOSITORIES),
      tag: fc.constantFrom('v1', 'v1', 'v1', 'v2', '', DIGEST, DIGEST),
      signatures: fc.oneof(
        { weight: 6, arbitrary: fc.array(signatureOf(m), { minLength: 1, maxLength: 3 }) },
        { weight: 1, arbitrary: fc.constant([]) },
      ),
      conf: fc.oneof(
        { weight: 9, arbitrary: fc.constant('') },
        { weight: 1, arbitrary: fc.constantFrom(...confs) },
      ),
      registriesD: registriesDOf(m, parts),
    },
    // without registriesD: half
    { requiredKeys: ['scopes', 'fallback', 'repository', 'tag', 'signatures', 'conf'] },
  );
}

function requirementOf(m: Machine, { identities, requirements }: Parts) {
  const keys = Object.entries(certificatesOf(m)).flatMap<object>(([name, bytes]) => [
    { keyPath: path.join(m.folder, name) },
    { keyData: Buffer.from(bytes).toString('base64') },
    { keyPaths: [path.join(m.folder, name), path.join(m.folder, 'mallory.gpg')] },
  ]);
  const right = { keyPath: path.join(m.folder, 'alice.gpg') };
  const signedBy = fc
    .tuple(
      fc.oneof(
        { weight: 2, arbitrary: fc.constant<object>(right) },
        { weight: 1, arbitrary: fc.constantFrom(...keys) },
      ),
      fc.option(fc.constantFrom(...identities), { freq: 1 }),
    )
    .map(([where, identity]) => ({
      ...m.signedBy(where),
      ...(identity === null ? {} : { signedIdentity: identity }),
    }));
  return fc.oneof(
    { weight: 12, arbitrary: signedBy },
    { weight: 2, arbitrary: fc.constantFrom<object>(ACCEPT, REJECT) },
    { weight: 1, arbitrary: fc.constantFrom(...requirements) },
  );
}

function signatureOf({ host }: Machine): fc.Arbitrary<CaseSignature> {
  const names = [
    '',
    `=${host}/team/other:v1`,
    '=other.example/team/app:v1',
    '=No Name',
    '=',
    '=solo:v1',
    DIGEST,
  ];
  const form = fc.oneof(
    { weight: 8, arbitrary: fc.constant('whole' as const) },
    {
      weight: 1,
      arbitrary: fc.constantFrom(
        ...(['cut', 'changed', 'noise', 'page', 'empty', 'armour', 'tagged', 'cosign'] as const),
        ...(['gap', 'forbidden', 'for another manifest'] as const),
      ),
    },
  );
  return fc.oneof(
    {
      weight: 9,
      arbitrary: fc.record({
        by: fc.constantFrom('alice' as const, 'alice' as const, 'mallory' as const),
        says: fc.constantFrom('v1', 'v1', 'v1', 'v1', 'v2', 'latest', ...names),
        form,
      }),
    },
    {
      weight: 1,
      arbitrary: fc.record({
        by: fc.constant('a subkey of alice' as const),
        says: fc.constantFrom('v1', 'latest'),
        form,
      }),
    },
  );
}

/** Mostly none, for which the registry has its lookaside; else sections of any scope, by both spellings. */
function registriesDOf({ host }: Machine, { scopes }: Parts): fc.Arbitrary<object> {
  const base = fc.constantFrom(`http://${host}/sigstore`, `http://${host}/sigstore`, `http://${host}/none`);
  const section = fc.record(
    { lookaside: base, sigstore: base, 'lookaside-staging': base },
    { requiredKeys: [] },
  );
  const sections = fc.array(fc.tuple(fc.constantFrom(...scopes.filter((scope) => scope !== '')), section), {
    maxLength: 3,
  });
  return fc.tuple(sections, fc.option(section)).map(([docker, standard]) => ({
    docker: Object.fromEntries(docker),
    ...(standard === null ? {} : { 'default-docker': standard }),
  }));
}
