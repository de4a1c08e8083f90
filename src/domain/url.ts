// URL.parse, which Node.js 20 lacks.

/** Null for what is no URL. */
export function toUrl(text: string, base?: URL): URL | null {
  try {
    return new URL(text, base);
  } catch {
    return null; // only TypeError: no URL
  }
}
