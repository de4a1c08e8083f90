// A promise that a test settles by hand, in place of a wait.

export interface Gate<T> {
  readonly promise: Promise<T>;
  readonly open: (value: T) => void;
  readonly fail: (error: Error) => void;
}

export function createGate<T = void>(): Gate<T> {
  let open: Gate<T>['open'] = () => undefined;
  let fail: Gate<T>['fail'] = () => undefined;
  const promise = new Promise<T>((resolve, reject) => {
    open = resolve;
    fail = reject;
  });
  return { promise, open, fail };
}
