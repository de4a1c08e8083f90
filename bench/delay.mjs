// A TCP proxy that keeps bytes back, as a long line does. `node bench/delay.mjs PORT TARGET_PORT MS`: MS is the time there and back.
// With MS = hole it takes connections and never answers.
import { connect, createServer } from 'node:net';

const [port, targetPort, delay] = process.argv.slice(2);

const server = createServer({ noDelay: true }, (client) => {
  client.on('error', () => undefined);
  if (delay === 'hole') {
    client.resume();
    return;
  }
  const target = connect({ port: Number(targetPort), host: '127.0.0.1', noDelay: true });
  later(client, target, Number(delay) / 2);
  later(target, client, Number(delay) / 2);
});
server.listen(Number(port), '127.0.0.1');

/** In their order, each piece that long after it came. */
function later(from, to, ms) {
  from.on('data', (piece) => setTimeout(() => to.write(piece), ms));
  from.on('end', () => setTimeout(() => to.end(), ms));
  from.on('error', () => to.destroy());
  from.on('close', () => setTimeout(() => to.destroy(), ms + 1));
}
