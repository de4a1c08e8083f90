// For health checks of containers: exit status 0 while the server of this data directory can serve reads. Asked through
// its socket, so that it is the same for every address, prefix and certificate that it may have been given.
import { get } from 'node:http';
import { join } from 'node:path';
import process from 'node:process';

const socketPath = join(process.env.LOOKASIDE_DATA || 'data', 'lookaside.sock');
const request = get({ socketPath, path: '/readyz' }, (response) => {
  process.exitCode = response.statusCode === 200 ? 0 : 1;
  response.pipe(process.stdout);
});
request.setTimeout(4000, () => request.destroy(new Error('no answer within 4 s')));
request.on('error', (error) => {
  process.stderr.write(`${socketPath}: ${error.message}\n`);
  process.exitCode = 1;
});
