// Dates as HTTP writes them. Each answer with a signature has one, and Date.toUTCString() takes several times as long.

const DAY_MS = 86_400_000;
const DAYS_KEPT = 1024;
const TWO_DIGITS = Array.from({ length: 60 }, (_, number) => String(number).padStart(2, '0'));

/** The beginnings of dates, `Sun, 06 Nov 1994 `, at their days' places. They take 100 KiB. */
const days: ({ readonly day: number; readonly text: string } | undefined)[] =
  Array(DAYS_KEPT).fill(undefined);

/** The same text as toUTCString(). */
export function httpDate(date: Date): string {
  const ms = date.getTime();
  const day = Math.floor(ms / DAY_MS);
  const seconds = Math.floor((ms - day * DAY_MS) / 1000);
  const minutes = Math.floor(seconds / 60);
  const hours = Math.floor(minutes / 60);
  return `${beginningOf(day)}${TWO_DIGITS[hours]}:${TWO_DIGITS[minutes % 60]}:${TWO_DIGITS[seconds % 60]} GMT`;
}

function beginningOf(day: number): string {
  const place = Math.abs(day) % DAYS_KEPT;
  const known = days[place];
  if (known?.day === day) return known.text;
  const text = new Date(day * DAY_MS).toUTCString().slice(0, -'00:00:00 GMT'.length);
  days[place] = { day, text };
  return text;
}
