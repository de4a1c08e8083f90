// URL.parse, which Node.js 20 lacks, and what a URL has encoded.

/** Null for what is no URL. */
export function toUrl(text: string, base?: URL): URL | null {
  try {
    return new URL(text, base);
  } catch {
    return null; // only TypeError: no URL
  }
}

/** Decodes a user name, a password or a path; a percent sign that encodes nothing means itself. */
export function percentDecode(text: string): string {
  try {
    return decodeURIComponent(text);
  } catch {
    return text; // only URIError
  }
}
