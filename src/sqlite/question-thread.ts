// Answers one asker at a time, from databases that it opens for reading alone. What it has open serves the next asker too.
import { parentPort, workerData } from 'node:worker_threads';
import { systemCode } from '../domain/errors.ts';
import { keptObjects } from './connect.ts';
import { messageOf } from './open.ts';
import { Stopped } from './question-parts.ts';
import type { LookupAnswer, LookupCall, QuestionThreadData, ThreadTurn } from './question-request.ts';
import { QuestionSession } from './question-session.ts';

const port = parentPort;
if (port === null) throw new Error('question-thread is started by questions.ts');
// only questions.ts sets it
const { dataDir, stop } = workerData as QuestionThreadData;
const stopped = new Int32Array(stop);
const session = new QuestionSession(dataDir, () => {
  if (Atomics.load(stopped, 0) === 1) throw new Stopped('nobody waits for the answer');
});
let exporting: Generator<string> | null = null;

port.on('message', (call: LookupCall | ThreadTurn) => {
  switch (call) {
    case 'begin':
      session.begin();
      return;
    case 'rest':
      exporting = null;
      session.rest();
      return;
    case 'close':
      session.close();
      port.close();
      return;
    default:
      port.postMessage(answerTo(call));
  }
});

function answerTo(call: LookupCall): LookupAnswer {
  try {
    return { outcome: 'done', value: carryOut(call), kept: keptObjects() };
  } catch (error) {
    return { outcome: 'failed', code: systemCode(error), message: messageOf(error), kept: keptObjects() };
  }
}

function carryOut(call: LookupCall): unknown {
  switch (call.name) {
    case 'page':
      return session.page(...call.input);
    case 'sums':
      return session.sums(...call.input);
    case 'unsigned':
      return session.unsigned(...call.input);
    case 'stale':
      return session.stale(...call.input);
    case 'repositoryTotals':
      return session.repositoryTotals(...call.input);
    case 'rotation':
      return session.rotation(...call.input);
    case 'rotationWork':
      return session.rotationWork(...call.input);
    case 'revocation':
      return session.revocation(...call.input);
    case 'revocationBroken':
      return session.revocationBroken(...call.input);
    case 'signaturesBy':
      return session.signaturesBy(...call.input);
    case 'export': {
      if (call.input !== null) exporting = session.export(...call.input);
      const piece = exporting?.next();
      return piece === undefined || piece.done === true ? null : piece.value;
    }
  }
}
