import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import fc from 'fast-check';
import { MAX_BATCH_BYTES, MAX_BODY_BYTES_IN_FLIGHT } from '../../src/domain/limits.ts';
import { type Claim, createSharedRoom, createUndividedRoom, type Room } from '../../src/domain/room.ts';

const MAX = 8000;

const holder = (caller: string, network = 'net') => ({ caller, network });

/** Takes bytes one by one as long as they are given; how many. */
function fill(claim: Claim): number {
  let taken = 0;
  while (claim.take(1)) taken += 1;
  return taken;
}

const leftTo = (room: Room, caller: string, network: string) =>
  room.open(holder(caller, network)).leftBytes();

describe('a shared room', () => {
  test('gives one caller a quarter, on however many connections, and the next ones of his network less and less', () => {
    const room = createSharedRoom(MAX);
    const claims = Array.from({ length: 200 }, () => room.open(holder('a')));
    assert.equal(
      claims.reduce((sum, claim) => sum + fill(claim), 0),
      MAX / 4,
    );
    assert.equal(leftTo(room, 'b', 'net'), MAX / 8);
    assert.equal(leftTo(room, 'b', 'elsewhere'), (MAX - MAX / 4) / 4);
    for (const caller of 'bcdefgh') fill(room.open(holder(caller)));
    const { networkBytes } = room.open(holder('z')).held();
    assert.ok(networkBytes > MAX * 0.4 && networkBytes <= MAX / 2, `${networkBytes}`);
    assert.ok(leftTo(room, 'z', 'elsewhere') >= MAX / 8);
  });

  test('gives one caller no more for coming from many networks', () => {
    const room = createSharedRoom(MAX);
    let taken = 0;
    for (let k = 0; k < 50; k += 1) taken += fill(room.open(holder('a', `net-${k}`)));
    assert.ok(taken <= MAX / 4, `${taken}`);
    assert.ok(leftTo(room, 'b', 'net-0') >= MAX / 8);
  });

  test('has a quarter of what is free for the next one, however many hold all they can', () => {
    const room = createSharedRoom(1024 * MAX);
    const callers = 20;
    for (let k = 0; k < callers; k += 1) {
      const claim = room.open(holder(`caller-${k}`, `net-${k}`));
      while (claim.take(Math.max(1, Math.ceil(claim.leftBytes() / 2))));
    }
    assert.ok(leftTo(room, 'next', 'elsewhere') >= (1024 * MAX * 0.75 ** callers) / 4);
  });

  test('tells who holds it', () => {
    const room = createSharedRoom(MAX);
    room.open(holder('a')).take(10);
    room.open(holder('a', 'elsewhere')).take(20);
    room.open(holder('b')).take(30);
    room.open(holder('c', 'elsewhere')).take(40);
    const { ownBytes, networkBytes, othersBytes } = room.open(holder('a')).held();
    assert.deepEqual([ownBytes, networkBytes, othersBytes], [30, 30, 40]);
  });

  test('whatever one caller takes and gives back, another has an eighth of it, and all of it comes back', () => {
    const act = fc.record({
      network: fc.constantFrom('net', 'elsewhere', 'there'),
      // of what is left: more than that is never given
      share: fc.double({ min: 0, max: 1.2, noNaN: true }),
      isRelease: fc.boolean(),
    });
    fc.assert(
      fc.property(fc.array(act, { maxLength: 60 }), (acts) => {
        const room = createSharedRoom(MAX);
        const claims: Claim[] = [];
        let held = 0;
        const sizes = new Map<Claim, number>();
        for (const { network, share, isRelease } of acts) {
          const claim = room.open(holder('a', network));
          const left = claim.leftBytes();
          const bytes = Math.ceil(share * left);
          assert.equal(claim.take(bytes), bytes <= left);
          if (bytes <= left) {
            held += bytes;
            sizes.set(claim, bytes);
            claims.push(claim);
          }
          if (isRelease) {
            const first = claims.shift();
            first?.release();
            first?.release();
            if (first !== undefined) held -= sizes.get(first) ?? 0;
          }
          assert.equal(room.open(holder('a', network)).held().ownBytes, held);
          assert.ok(held <= MAX / 4);
          for (const other of ['net', 'elsewhere', 'nowhere']) assert.ok(leftTo(room, 'b', other) >= MAX / 8);
        }
        for (const claim of claims) claim.release();
        assert.equal(leftTo(room, 'a', 'net'), MAX / 4);
      }),
    );
  });

  test('of the size that bodies have leaves room for a whole form', () => {
    assert.ok((MAX_BODY_BYTES_IN_FLIGHT - MAX_BATCH_BYTES) / 8 >= MAX_BATCH_BYTES);
  });
});

describe('an undivided room', () => {
  test('may be held by one, to the last byte and not one more', () => {
    const room = createUndividedRoom(MAX);
    const claim = room.open(holder('a'));
    assert.equal(claim.take(MAX + 1), false);
    assert.equal(claim.take(MAX), true);
    assert.equal(leftTo(room, 'b', 'elsewhere'), 0);
    claim.release();
    assert.equal(leftTo(room, 'b', 'elsewhere'), MAX);
  });
});
