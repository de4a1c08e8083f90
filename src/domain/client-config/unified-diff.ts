// What changes in a text file, as `diff -u` writes it and `patch` reads it: one hunk from the first to the last line that differs.

const CONTEXT = 3;

/** Empty when nothing differs. `before` null: there is no such file yet. */
export function unifiedDiff(path: string, before: string | null, after: string): string {
  if (before === after) return '';
  const [old, now] = [linesOf(before ?? ''), linesOf(after)];
  let start = 0;
  while (start < old.length && start < now.length && old[start] === now[start]) start += 1;
  let end = 0;
  while (end < old.length - start && end < now.length - start && old.at(-1 - end) === now.at(-1 - end))
    end += 1;
  const from = Math.max(start - CONTEXT, 0);
  const tail = Math.max(end - CONTEXT, 0);
  const lines = [
    ...old.slice(from, start).map((line) => mark(' ', line)),
    ...old.slice(start, old.length - end).map((line) => mark('-', line)),
    ...now.slice(start, now.length - end).map((line) => mark('+', line)),
    ...old.slice(old.length - end, old.length - tail).map((line) => mark(' ', line)),
  ];
  const range = (count: number) => `${count === 0 ? from : from + 1},${count}`;
  return [
    `--- ${before === null ? '/dev/null' : path}`,
    `+++ ${path}`,
    `@@ -${range(old.length - tail - from)} +${range(now.length - tail - from)} @@`,
    ...lines,
  ]
    .map((line) => `${line}\n`)
    .join('');
}

/** Each with its line end, if it has one. */
function linesOf(text: string): readonly string[] {
  return text.match(/[^\n]*\n|[^\n]+$/g) ?? [];
}

function mark(sign: string, line: string): string {
  return line.endsWith('\n') ? sign + line.slice(0, -1) : `${sign}${line}\n\\ No newline at end of file`;
}
