// What questions.ts asks its threads, and what comes back.
import type { RecordSession } from '../domain/records.ts';

export interface QuestionThreadData {
  readonly dataDir: string;
  /** One Int32: 1 once nobody waits for the answer. */
  readonly stop: SharedArrayBuffer;
}

type Input<
  Name extends
    | 'page'
    | 'sums'
    | 'unsigned'
    | 'stale'
    | 'repositoryTotals'
    | 'rotation'
    | 'rotationWork'
    | 'revocation'
    | 'revocationBroken'
    | 'signaturesBy',
> = Parameters<RecordSession[Name]>;

export type LookupCall =
  | { readonly name: 'page'; readonly input: Input<'page'> }
  | { readonly name: 'sums'; readonly input: Input<'sums'> }
  | { readonly name: 'unsigned'; readonly input: Input<'unsigned'> }
  | { readonly name: 'stale'; readonly input: Input<'stale'> }
  | { readonly name: 'repositoryTotals'; readonly input: Input<'repositoryTotals'> }
  | { readonly name: 'rotation'; readonly input: Input<'rotation'> }
  | { readonly name: 'rotationWork'; readonly input: Input<'rotationWork'> }
  | { readonly name: 'revocation'; readonly input: Input<'revocation'> }
  | { readonly name: 'revocationBroken'; readonly input: Input<'revocationBroken'> }
  | { readonly name: 'signaturesBy'; readonly input: Input<'signaturesBy'> }
  /** Null: the next piece of the export that was begun. */
  | { readonly name: 'export'; readonly input: Parameters<RecordSession['export']> | null };

/** Between calls: `begin` and `rest` stand around what one asker calls, and `close` ends the thread. None has an answer. */
export type ThreadTurn = 'begin' | 'rest' | 'close';

export type LookupAnswer = (
  | { readonly outcome: 'done'; readonly value: unknown }
  | { readonly outcome: 'failed'; readonly code: string | null; readonly message: string }
) & {
  /** Connections and statements that the thread keeps until it ends. */
  readonly kept: number;
};
