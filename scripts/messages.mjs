// `npm run messages [-- --json]`: every text that a user of lookaside may meet, file by file: refusals with their codes, lines of
// commands, help, warnings, log lines and pages. To be read through as a whole before a release.
import './node-version.mjs';
import { readFileSync } from 'node:fs';
import { join, relative } from 'node:path';
import process from 'node:process';
import { parseSync, Visitor } from 'oxc-parser';
import { filesBelow, ROOT } from './ready.mjs';
import { runMain } from './run.mjs';

/** A text is for people when it has two words; names, paths and SQL are not. */
const WORDS = /\p{L}{2,}[,;:.]? .*\p{L}{2,}/u;
const SQL = /^\s*(?:SELECT|INSERT|UPDATE|DELETE|CREATE|WITH|PRAGMA|DROP|ALTER|BEGIN|ATTACH)\b/;
const CODE = /^[A-Z][A-Z0-9]*(?:_[A-Z0-9]+)*$/;

runMain(async () => {
  const messages = filesBelow(join(ROOT, 'src'), '.ts').sort().flatMap(messagesOf);
  const text = process.argv.includes('--json')
    ? JSON.stringify(messages, null, 2)
    : messages.map(formatMessage).join('\n');
  process.stdout.write(`${text}\n`);
});

function formatMessage({ file, line, code, text }) {
  return `${file}:${line}${code === null ? '' : ` ${code}`}\n  ${text.replaceAll('\n', '\n  ')}`;
}

function messagesOf(path) {
  const source = readFileSync(path, 'utf8');
  const codes = new Map();
  const messages = [];
  const add = (node, text) => {
    if (!WORDS.test(text) || SQL.test(text)) return;
    const line = source.slice(0, node.start).split('\n').length;
    messages.push({ file: relative(ROOT, path), line, code: codes.get(node.start) ?? null, text });
  };
  const noteCode = ({ arguments: given }) => {
    const code = given.find((one) => one.type === 'Literal' && CODE.test(String(one.value)));
    for (const one of given) if (code !== undefined) codes.set(one.start, code.value);
  };
  new Visitor({
    CallExpression: noteCode,
    NewExpression: noteCode,
    Literal: (node) => typeof node.value === 'string' && add(node, node.value),
    TemplateLiteral: (node) => add(node, templateText(node, source)),
  }).visit(parseSync(path, source).program);
  return messages;
}

/** What is put in at run time stands in braces, as it is written. */
function templateText({ quasis, expressions }, source) {
  return quasis
    .map(({ value }, position) => {
      const put = expressions[position];
      return value.cooked + (put === undefined ? '' : `{${source.slice(put.start, put.end)}}`);
    })
    .join('');
}
