// Making other people's text safe to show: in logs, on terminals, in pages.

// control and format characters and line separators: they can control a terminal, reorder text or break lines
const HOSTILE = /[\p{Cc}\p{Cf}\p{Zl}\p{Zp}]/gu;

/**
 * Whether people can have meant the text: without control characters other than line feed and tab, and without half characters.
 * PostgreSQL can take no NUL out of JSON.
 */
export function isPlain(text: string): boolean {
  return !/(?![\n\t])[\p{Cc}\p{Cs}]/u.test(text);
}

/** JSON text with every hostile character as a \u escape; it still means the same. */
export function escapeJson(json: string): string {
  return json.replace(HOSTILE, escapeUnits);
}

/** Text for one line of a log: hostile characters, quotes and backslashes escaped. */
export function escapeLine(text: string): string {
  return text.replace(/["\\]/g, '\\$&').replace(HOSTILE, escapeUnits);
}

/** Text for a terminal: hostile characters escaped, the rest as it is. */
export function escapeTerminal(text: string): string {
  return text.replace(HOSTILE, escapeUnits);
}

/** Text in quotes for a message: hostile characters escaped, cut to 64. */
export function quoted(text: string): string {
  return escapeJson(JSON.stringify(text.length <= 64 ? text : `${text.slice(0, 64)}…`));
}

const ENTITIES: Record<string, string> = {
  '&': '&amp;',
  '<': '&lt;',
  '>': '&gt;',
  '"': '&quot;',
  "'": '&#39;',
};

export function escapeHtml(text: string): string {
  return text.replace(/[&<>"']/g, (character) => ENTITIES[character] ?? '').replace(HOSTILE, '\ufffd');
}

function escapeUnits(character: string): string {
  return Array.from({ length: character.length }, (_, unit) => {
    return `\\u${character.charCodeAt(unit).toString(16).padStart(4, '0')}`;
  }).join('');
}
