// What a push says of images, files and the whole.
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { behindGaps, createTally, formatImage, formatSummary } from '../../src/cli/push-report.ts';
import { formatStrangers } from '../../src/cli/staged-report.ts';
import { imageFolder } from '../../src/domain/image.ts';
import type { PushedFile, PushOutcome } from '../../src/service/push.ts';
import { imageOf } from '../service/hand-driven.ts';

const APP = imageOf('team/app');
const NAME = `team/app@sha256:${'a'.repeat(64)}`;
const NO_GAPS: ReadonlySet<string> = new Set();

function file(source: string, outcome: PushOutcome): PushedFile {
  return { source, sha256: 'f'.repeat(64), sizeBytes: 700, outcome };
}

function staged(number: number, outcome: PushOutcome): PushedFile {
  return file(`st/${imageFolder(APP)}/signature-${number}`, outcome);
}

const sent = (number: number): PushOutcome => ({
  result: 'sent',
  number,
  path: `/${imageFolder(APP)}/signature-${number}`,
  warnings: [],
});

describe('the line of an image', () => {
  it('counts what became of its files, and tells the numbers of those that were sent', () => {
    const files = [staged(1, { result: 'there' }), staged(2, sent(4)), staged(3, sent(5))];
    assert.equal(
      formatImage({ image: APP, files }, NO_GAPS),
      `${NAME} 2 sent as signature-4, signature-5, 1 there already`,
    );
    const many = [1, 2, 3, 4].map((number) => staged(number, sent(number)));
    assert.equal(formatImage({ image: APP, files: many }, NO_GAPS), `${NAME} 4 sent`);
  });

  it('names the file where its path does not tell the image', () => {
    const files = ['a', 'b', 'c', 'd', 'e'].map((name) => file(name, { result: 'missing' }));
    assert.equal(
      formatImage({ image: APP, files }, NO_GAPS),
      `${NAME} 5 would be sent from a, b, c and 2 more`,
    );
  });

  it('is followed by each refused file with code and sentence, and by warnings', () => {
    const refused = {
      result: 'refused',
      code: 'KEY_UNKNOWN',
      message: 'no such key',
      isMisrooted: false,
    } as const;
    const warned = {
      ...sent(10),
      warnings: [{ code: 'OVER_NINE', message: 'stored as signature-10' }],
    } as const;
    const equivalent = { result: 'equivalent', number: 1, path: '/x' } as const;
    const lines = formatImage(
      { image: APP, files: [staged(1, refused), staged(2, warned), staged(3, equivalent)] },
      NO_GAPS,
    ).split('\n');
    const below = `  st/${imageFolder(APP)}`;
    assert.deepEqual(lines, [
      `${NAME} 1 sent as signature-10, 1 there as an equivalent, 1 refused`,
      `${below}/signature-1: refused (KEY_UNKNOWN): no such key`,
      `${below}/signature-2: warning: stored as signature-10`,
      `${below}/signature-3: signature-1 on the server says the same by the same key; --force sends this one too`,
    ]);
  });

  it('says which files stand behind a gap, and where they are now', () => {
    const hidden = behindGaps([{ source: `st/${imageFolder(APP)}`, hidden: [5, 6, 7] }]);
    const lines = formatImage(
      {
        image: APP,
        files: [
          staged(1, sent(1)),
          staged(5, sent(2)),
          staged(6, { result: 'there' }),
          staged(7, { result: 'missing' }),
        ],
      },
      hidden,
    ).split('\n');
    assert.equal(lines.length, 4);
    assert.match(
      lines[1] ?? '',
      /signature-5 stands behind a gap .* sent too and is signature-2 on the server$/,
    );
    assert.match(lines[2] ?? '', /signature-6 stands behind a gap .* the server has it$/);
    assert.match(lines[3] ?? '', /signature-7 stands behind a gap .* it would be sent too$/);
    assert.ok(behindGaps([{ source: 'dir/abc', hidden: [3] }]).has('dir/abc.signature-3'));
  });

  it('shows nothing that could steer a terminal', () => {
    const hostile = { result: 'refused', code: 'EMPTY', message: '\u001b[2J', isMisrooted: false } as const;
    const text = formatImage({ image: null, files: [file('a\u001b[31m\nb', hostile)] }, NO_GAPS);
    assert.deepEqual(text.split('\n'), [
      'image unknown 1 refused',
      '  a\\u001b[31m\\u000ab: refused (EMPTY): \\u001b[2J',
    ]);
    assert.match(formatStrangers({ count: 1, first: ['x\u001b'] }) ?? '', /: x\\u001b$/);
  });
});

describe('the summary', () => {
  it('adds up all that was told and all that was not, and names no number of images where some were not looked at', () => {
    const tally = createTally();
    tally.add({ image: APP, files: [staged(1, sent(1)), staged(2, { result: 'there' })] });
    tally.add({ image: null, files: [file('x', { result: 'there' })] });
    tally.addUnsent(3);
    tally.addProblems(1);
    const text = formatSummary({
      counts: tally.counts(),
      sentBytes: 2048,
      tookMs: 1234,
      server: 'https://signatures.example.com',
    });
    assert.equal(
      text,
      '6 signatures: 1 sent, 2 there already, 1 unreadable, 3 not sent; 2.0 KiB to https://signatures.example.com in 1.2 s',
    );
  });

  it('says of how many images the signatures are where all were looked at', () => {
    const tally = createTally();
    tally.add({ image: APP, files: [staged(1, sent(1))] });
    const text = formatSummary({ counts: tally.counts(), sentBytes: 0, tookMs: 0, server: 'here' });
    assert.equal(text, '1 signature of 1 image: 1 sent; 0 B to here in 0.0 s');
  });

  it('names three strangers', () => {
    assert.equal(formatStrangers({ count: 0, first: [] }), null);
    assert.equal(
      formatStrangers({ count: 9, first: ['a', 'b', 'c', 'd'] }),
      '9 files not named like a signature left out: a, b, c, …',
    );
  });
});
