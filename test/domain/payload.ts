// Payloads of simple signing, right but for what a test changes.
import { HEX } from './generators.ts';

export const HEX256 = HEX.slice(0, 64);
export const DIGEST = `sha256:${HEX256}`;

interface Parts {
  readonly type?: string;
  readonly digest?: string;
  readonly reference?: string;
  readonly optional?: string;
  /** Further members, each with its comma: `,"x":1`. */
  readonly inTop?: string;
  readonly inCritical?: string;
  readonly inImage?: string;
  readonly inIdentity?: string;
}

/** A payload whose values are JSON texts. */
export function payload(parts: Parts = {}): string {
  const {
    type = '"atomic container signature"',
    digest = `"${DIGEST}"`,
    reference = '"registry.example/team/app:v1"',
    optional = '{"creator":"atomic 5.34.2","timestamp":1483228800}',
    inTop = '',
    inCritical = '',
    inImage = '',
    inIdentity = '',
  } = parts;
  return (
    `{"critical":{"type":${type},"image":{"docker-manifest-digest":${digest}${inImage}},` +
    `"identity":{"docker-reference":${reference}${inIdentity}}${inCritical}},"optional":${optional}${inTop}}`
  );
}
