import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { setImmediate as nextTurn } from 'node:timers/promises';
import type { Round } from '../../src/domain/concurrency.ts';
import { createRounds } from '../../src/http/rounds.ts';
import { sendRaw } from './raw-request.ts';
import { IDLE_RECORDER, serveOver, UNASKED_READER } from './served.ts';

const digest = (digit: string) => digit.repeat(64);
const NOTHING = { generation: 0, entries: [] };

describe('a round', () => {
  test('has all that came in one turn of the event loop, and is answered behind it', async () => {
    const answered: { readonly asked: string; readonly round: Round }[] = [];
    const ask = createRounds<string>((asked, round) => void answered.push({ asked, round }));
    for (const asked of ['one', 'two', 'three']) ask(asked);
    assert.equal(answered.length, 0);
    await nextTurn();
    assert.deepEqual(
      answered.map(({ asked }) => asked),
      ['one', 'two', 'three'],
    );
    assert.equal(new Set(answered.map(({ round }) => round)).size, 1);
  });

  test('has nothing that is asked once its first answer is being made', async () => {
    const rounds: Round[] = [];
    const ask = createRounds<number>((left, round) => {
      rounds.push(round);
      if (left > 0) ask(left - 1);
    });
    ask(2);
    while (rounds.length < 3) await nextTurn();
    assert.equal(new Set(rounds).size, 3);
  });

  test('never has two requests of one connection: the second may have been sent after the first look', async () => {
    const rounds: (Round | undefined)[] = [];
    await using server = await serveOver({
      reader: {
        ...UNASKED_READER,
        isForRound: () => true,
        peekSet(_, round) {
          rounds.push(round);
          return NOTHING;
        },
      },
      recorder: IDLE_RECORDER,
    });
    const heads = ['a', 'b', 'c'].map(
      (digit, at) =>
        `GET /team/app@sha256=${digest(digit)}/signature-1 HTTP/1.1\r\nHost: lookaside.example\r\n${at === 2 ? 'Connection: close\r\n' : ''}\r\n`,
    );
    const answers = (await sendRaw(server.port, heads.join(''))).toString('latin1');
    assert.equal(answers.match(/HTTP\/1\.1 404 /g)?.length, 3);
    assert.equal(new Set(rounds).size, 3);
    assert.ok(!rounds.includes(undefined));
  });
});
