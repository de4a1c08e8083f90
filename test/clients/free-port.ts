// A port of 127.0.0.1 on which nothing listened a moment ago.
import { type AddressInfo, createServer } from 'node:net';

export async function freePort(): Promise<number> {
  const held = createServer();
  await new Promise<void>((resolve) => held.listen(0, '127.0.0.1', resolve));
  const { port } = held.address() as AddressInfo; // it listens on TCP
  await new Promise((resolve) => held.close(resolve));
  return port;
}
