// Stands for a reader process in the tests of its owner. READER_CHILD=deaf: it never says that it has forgotten.
import type { FromReader, ToReader } from '../../src/readers/messages.ts';

function tell(message: FromReader): void {
  process.send?.(message);
}

function act(message: ToReader): void {
  switch (message.kind) {
    case 'begin':
      tell({ kind: 'begun' });
      break;
    case 'listen':
      tell({ kind: 'listening' });
      break;
    case 'forget':
      if (process.env.READER_CHILD !== 'deaf') tell({ kind: 'forgotten', number: message.number });
      break;
    case 'abort':
      process.exit(0);
  }
}

process.on('disconnect', () => process.exit(0));
process.on('message', (message) => act(message as ToReader)); // only fleet.ts sends
