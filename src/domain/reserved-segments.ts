// The server's own paths.

/** First path segments that belong to the server itself, unless the path is a signature's or lies in a site with a prefix. */
export const RESERVED_SEGMENTS: ReadonlySet<string> = new Set([
  'api',
  'keys',
  'keyrings',
  'setup',
  'pks',
  'log',
  'witness',
  'v2',
  'extensions',
  'ui',
  'metrics',
  'livez',
  'readyz',
  'healthz',
  '.well-known',
]);
