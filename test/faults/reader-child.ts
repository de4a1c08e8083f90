// Stands for a reader process in the tests of its owner. READER_CHILD=deaf: it never says that it has
// forgotten. busy: it answers more than its owner.
import type { FromReader, Report, ToReader } from '../../src/readers/messages.ts';

const BUSY: Report = {
  counts: { routes: new Map(), reads: new Map() },
  buffer: { rows: 0, dropped: 0 },
  cache: { bytes: 0, sets: 0, hits: 0, misses: 0 },
  traffic: { requestsPerSecond: 20_000, connections: 16 },
};

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
      if (process.env.READER_CHILD === 'busy') setInterval(() => tell({ kind: 'report', report: BUSY }), 100);
      break;
    case 'let-go':
      tell({ kind: 'log', level: 'info', fields: { connections: message.connections }, message: 'let go' });
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
