// A signature server that loads its client when it is first asked: a command that asks nothing ends without loading it.
import { dirname, resolve } from 'node:path';
import type {
  ImageNotes,
  KeyNames,
  ServedSignatures,
  SignatureServer,
  WithdrawnList,
} from '../domain/remote.ts';
import { nameOfServer } from './address.ts';
import type { AskerOptions } from './asker.ts';

type Server = SignatureServer & KeyNames & ServedSignatures & ImageNotes & WithdrawnList;

/** As connectSignatureServer(). */
export function connectWhenAsked(options: AskerOptions): Server {
  let opened: Promise<Server> | null = null;
  let isClosed = false;

  async function open(): Promise<Server> {
    const { connectSignatureServer } = await import('./signature-server.ts');
    const server = connectSignatureServer(options);
    if (isClosed) await server[Symbol.asyncDispose]();
    return server;
  }

  function server(): Promise<Server> {
    opened ??= open();
    return opened;
  }

  return {
    // of a server on this machine people know the data directory
    name: 'socketPath' in options.at ? dirname(resolve(options.at.socketPath)) : nameOfServer(options.at),
    missing: async (asked) => (await server()).missing(asked),
    uploadBatch: async (parts, how) => (await server()).uploadBatch(parts, how),
    ofImage: async (image) => (await server()).ofImage(image),
    details: async (image) => (await server()).details(image),
    async *search(filter) {
      yield* (await server()).search(filter);
    },
    async *withdrawals(filter) {
      yield* (await server()).withdrawals(filter);
    },
    certificates: async () => (await server()).certificates(),
    userIds: async () => (await server()).userIds(),
    signature: async (image, number) => (await server()).signature(image, number),
    async [Symbol.asyncDispose]() {
      isClosed = true;
      const there = await opened?.catch(() => null); // whoever asked has got this error
      await there?.[Symbol.asyncDispose]();
    },
  };
}
