// Many changes of who may sign what at once, as the main thread sees them: through the writer thread, in one transaction.
import type { AccessStep, AccessStore } from '../domain/ports.ts';
import { EVENT_BYTES } from './audit-log.ts';
import type { Writer } from './writer.ts';

export class SqliteAccessStore implements AccessStore {
  readonly #writer: Writer;
  readonly #onChanged: (fingerprints: readonly string[]) => void;

  /** `onChanged` is told, also after a failure, that tokens and these keys may be others now. */
  constructor(writer: Writer, onChanged: (fingerprints: readonly string[]) => void) {
    this.#writer = writer;
    this.#onChanged = onChanged;
  }

  async apply(steps: readonly AccessStep[]): Promise<void> {
    if (steps.length === 0) return;
    // cloning a view to the thread would copy the whole buffer beneath it
    const own = steps.map((step) =>
      step.kind === 'put-key'
        ? { ...step, key: { ...step.key, certificate: new Uint8Array(step.key.certificate) } }
        : step,
    );
    const certificates = own.reduce(
      (sum, step) => sum + (step.kind === 'put-key' ? step.key.certificate.length : 0),
      0,
    );
    try {
      await this.#writer.run('state.apply-access', own, own.length * EVENT_BYTES + certificates);
    } finally {
      this.#onChanged(
        own.flatMap((step) => {
          if (step.kind === 'put-key') return [step.key.fingerprint];
          return step.kind === 'remove-key' || step.kind === 'retire-key' ? [step.fingerprint] : [];
        }),
      );
    }
  }
}
