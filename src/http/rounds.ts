// Requests that are answered together, once the turn of the event loop in which they came has taken in all that there was.
import type { Round } from '../domain/concurrency.ts';

/**
 * Answers each that is handed over before the event loop looks for new requests, and after everything else of its turn. So what is
 * learnt for one of them is new enough for all. `answer` must not throw.
 */
export function createRounds<Asked>(answer: (asked: Asked, round: Round) => void): (asked: Asked) => void {
  let all: Asked[] = [];

  function answerAll(): void {
    const asked = all;
    // what asks from here on, as the next request of a connection may, is of the next round
    all = [];
    const round: Round = Symbol('round');
    for (const one of asked) answer(one, round);
  }

  return (asked) => {
    if (all.push(asked) === 1) setImmediate(answerAll);
  };
}
