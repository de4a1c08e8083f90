// A port as it is over a network: what is asked of it arrives a turn of the event loop later, and so does the answer.
import { setImmediate } from 'node:timers/promises';

/** The same port, in the order of asking; what is named `peek…` still answers at once. */
export function distant<Port extends object>(port: Port): Port {
  return new Proxy(port, {
    get(target, name) {
      const value: unknown = Reflect.get(target, name, target);
      if (typeof value !== 'function') return value;
      if (String(name).startsWith('peek')) return value.bind(target);
      return async (...asked: readonly unknown[]) => {
        await setImmediate();
        const answer: unknown = await value.apply(target, asked);
        await setImmediate();
        return answer;
      };
    },
  });
}
