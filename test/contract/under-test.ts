// How every contract suite runs a test: over a store of its own, which is closed behind it.
import { it } from 'node:test';

export interface UnderTest {
  close(): Promise<void>;
}

export type TestOver<T> = (title: string, act: (under: T) => Promise<void>) => void;

/** `it` over what `open` opens anew for each test. */
export function testOver<T extends UnderTest>(open: () => Promise<T>): TestOver<T> {
  return (title, act) => {
    it(title, async () => {
      const under = await open();
      try {
        await act(under);
      } finally {
        await under.close();
      }
    });
  };
}
