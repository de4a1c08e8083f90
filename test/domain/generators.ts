// Arbitrary images, names and digests for properties.
import fc from 'fast-check';
import { ALGORITHMS, type ImageId } from '../../src/domain/image.ts';

export const HEX_LENGTH = { sha256: 64, sha384: 96, sha512: 128 } as const;

export const HEX = '0123456789abcdef'.repeat(8);

/** A component of a repository path as people and Docker's grammar have them, and the wider ones of folders. */
export const component = fc.oneof(
  fc.constantFrom('team', 'app', 'v2', 'api', 'livez', 'library', 'a', '_', 'sha256', 'signature-1', 'A~b+c'),
  fc.stringMatching(/^[A-Za-z0-9_][A-Za-z0-9._~+-]{0,12}$/),
);

const path = fc.array(component, { minLength: 1, maxLength: 5 }).map((components) => components.join('/'));

const digest = fc.constantFrom(...ALGORITHMS).chain((algorithm) => {
  const length = HEX_LENGTH[algorithm];
  const hex = fc.string({
    unit: fc.constantFrom(...'0123456789abcdef'),
    minLength: length,
    maxLength: length,
  });
  return fc.record({ algorithm: fc.constant(algorithm), hex });
});

export const SITE = 'default';

export const imageId: fc.Arbitrary<ImageId> = fc.oneof(
  fc
    .record({ path, digest })
    .map(({ path, digest }): ImageId => ({ site: SITE, layout: 'repository', path, ...digest })),
  fc
    .record({ path: fc.option(path, { nil: '' }), digest })
    .map(({ path, digest }): ImageId => ({ site: SITE, layout: 'release', path, ...digest })),
);
