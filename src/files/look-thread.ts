// The thread that looks at images of one tree: started by threaded-looks.ts, which says at which. Its calls to the file system block it.
import { parentPort, workerData } from 'node:worker_threads';
import { blockInThisThread } from './calls.ts';
import { createImageReader } from './image-reader.ts';
import type { LookOrder, LookQuestion, LookReply, ToldLook } from './look-questions.ts';
import { openRoot } from './root.ts';

const port = parentPort;
if (port === null) throw new Error('look-thread is started by threaded-looks.ts');

/** The first answers are of use while the others are looked for. */
const MOST_ANSWERS = 16;

blockInThisThread();
// only threaded-looks.ts sets it
const { root, beingWrittenMs } = workerData as LookOrder;
const reader = createImageReader(
  // of a file that may be half-written, no answer of ours is used
  { nowMs: Date.now, beingWrittenMs, isWhole: () => false },
  openRoot(root, Date.now),
);

port.on('message', (questions: readonly LookQuestion[]) => void answerAll(questions));
tell({ answers: [], tookMs: 0 }); // it is ready

async function answerAll(questions: readonly LookQuestion[]): Promise<void> {
  let answers: ToldLook[] = [];
  let fromMs = performance.now();
  for (const question of questions) {
    answers.push(await answerTo(question));
    if (answers.length < MOST_ANSWERS && answers.length < questions.length) continue;
    const nowMs = performance.now();
    tell({ answers, tookMs: nowMs - fromMs });
    [answers, fromMs] = [[], nowMs];
  }
  if (answers.length > 0) tell({ answers, tookMs: performance.now() - fromMs });
}

async function answerTo({ id, folder, numbers }: LookQuestion): Promise<ToldLook> {
  try {
    const read = await reader.readImage(folder, numbers);
    const isUnsure = read?.image.files.some(({ fault }) => fault === 'being-written') ?? false;
    return isUnsure ? { id } : { id, read };
  } catch {
    return { id }; // the look through the pool tells what is wrong
  }
}

function tell(reply: LookReply): void {
  port?.postMessage(reply);
}
