// The feed of audit events while its server is killed, and while its reader is: a reader that keeps the last number that it has handled
// gets each event once and in order, whichever end dies, as lines of JSON and as server-sent events.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { setTimeout as pause } from 'node:timers/promises';
import { createToken, startServer } from '../clients/server.ts';
import { openTempFolder } from '../clients/temp-folder.ts';
import { count } from './promise.ts';

const KILLS = count(20, 1);

/** What it has handled survives it; the rest does not. */
class Reader {
  readonly handled: number[] = [];
  readonly #token: string;
  readonly #asStream: boolean;

  constructor(token: string, asStream: boolean) {
    this.#token = token;
    this.#asStream = asStream;
  }

  get last(): number {
    return this.handled.at(-1) ?? 0;
  }

  /** Reads until either end dies. */
  async follow(url: string, signal: AbortSignal): Promise<void> {
    const own = this.#asStream
      ? { accept: 'text/event-stream', 'last-event-id': String(this.last) }
      : undefined;
    const query = this.#asStream ? '' : `?follow=1&after=${this.last}`;
    try {
      const answer = await fetch(`${url}/api/v1/events${query}`, {
        headers: { authorization: `Bearer ${this.#token}`, ...own },
        signal,
      });
      assert.equal(answer.status, 200);
      let text = '';
      for await (const piece of answer.body ?? []) {
        text += Buffer.from(piece).toString('utf8');
        const lines = text.split('\n');
        text = lines.pop() ?? ''; // a line that was cut off is none
        for (const line of lines) this.#handle(line);
      }
    } catch (error) {
      if (error instanceof assert.AssertionError) throw error;
      // one of the two ends is gone
    }
  }

  #handle(line: string): void {
    const json = this.#asStream ? /^data: (.*)$/.exec(line)?.[1] : line;
    if (json === undefined || json === '') return;
    this.handled.push(JSON.parse(json).seq);
  }
}

test(`a reader of the feed gets each event once and in order over ${KILLS} kills of either end`, async () => {
  await using temp = await openTempFolder();
  const token = await createToken(temp.path, 'siem', 'auditor');
  const readers = [new Reader(token, false), new Reader(token, true)];
  let [url, isOver, acknowledged] = ['', false, 0];
  const ask = async () => {
    // each question for an address is an event
    while (!isOver) {
      const about = `${url}/api/v1/access?address=192.0.2.7`;
      const status = await fetch(about, { headers: { authorization: `Bearer ${token}` } }).then(
        (answer) => answer.arrayBuffer().then(() => answer.status),
        () => null,
      );
      if (status === 200) acknowledged += 1;
      else await pause(20);
    }
  };
  const following = readers.map(async (reader) => {
    while (!isOver) {
      const dying = new AbortController();
      const timer = setTimeout(() => dying.abort(), 50 + Math.random() * 400);
      await reader.follow(url, dying.signal);
      clearTimeout(timer);
      await pause(10);
    }
  });
  let asking: Promise<void> | null = null;
  for (let kill = 0; kill < KILLS; kill += 1) {
    const server = await startServer({ data: temp.path });
    url = server.url;
    asking ??= ask();
    await pause(300 + Math.random() * 500);
    process.kill(server.pid, 'SIGKILL');
    await server.ended;
  }
  await using server = await startServer({ data: temp.path });
  url = server.url;
  await pause(300);
  isOver = true;
  await Promise.all([...following, asking]);
  const all = await fetch(`${url}/api/v1/events?after=0`, { headers: { authorization: `Bearer ${token}` } });
  const seqs = (await all.text())
    .trim()
    .split('\n')
    .map((line): number => JSON.parse(line).seq);
  assert.ok(seqs.length > acknowledged && acknowledged > 0, `${seqs.length} of ${acknowledged}`);
  assert.deepEqual(
    seqs,
    seqs.map((_, k) => k + 1),
  );
  for (const reader of readers) {
    const end = new AbortController();
    setTimeout(() => end.abort(), 1500);
    const reading = reader.follow(url, end.signal);
    while (reader.last < seqs.length && !end.signal.aborted) await pause(10);
    end.abort();
    await reading;
    assert.deepEqual(
      reader.handled.slice(0, seqs.length),
      seqs,
      `${reader.handled.length} handled of ${seqs.length}`,
    );
  }
});
