import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { refuse } from '../../src/http/guard.ts';
import { incoming } from './incoming.ts';

describe('what is refused before anything looks at it', () => {
  test('100 header lines are taken, one more is too many', () => {
    const lines = (count: number) => [
      'Host',
      'a',
      ...Array.from({ length: count - 1 }, (_, line) => [`X-${line}`, 'v']).flat(),
    ];
    assert.equal(refuse(incoming({ headers: lines(100) })), null);
    assert.equal(refuse(incoming({ headers: lines(101) }))?.code, 'HEADERS_TOO_LARGE');
    const same = Array.from({ length: 101 }, () => ['X', 'v']).flat();
    assert.equal(refuse(incoming({ headers: same }))?.code, 'HEADERS_TOO_LARGE');
  });

  test('two Host lines are refused however they are written, and none where HTTP/1.1 demands one', () => {
    assert.match(refuse(incoming())?.message ?? '', /has no Host line/);
    const older = incoming();
    older.httpVersion = '1.0';
    assert.equal(refuse(older), null);
    assert.equal(refuse(incoming({ headers: ['Host', 'a.example'] })), null);
    for (const other of ['Host', 'host', 'HOST', 'hOsT']) {
      const headers = ['Host', 'a.example', 'Accept', '*/*', other, 'a.example'];
      assert.equal(refuse(incoming({ headers }))?.code, 'REQUEST_INVALID');
    }
  });

  test('a header whose value is host is no Host line', () => {
    assert.equal(refuse(incoming({ headers: ['Host', 'a.example', 'X-Name', 'Host', 'X-Host', 'b'] })), null);
  });
});
