// Clients that wrk cannot play, in a process of their own: whole pulls, and uploads. Prints one JSON value.
// Run: node bench/clients.mjs pull URL IMAGES SECONDS | upload URL STAGING FROM COUNT CLIENTS BATCH
import { readFileSync } from 'node:fs';
import { Agent, request } from 'node:http';
import { connect as connectTcp } from 'node:net';
import { join } from 'node:path';
import { connect as connectTls } from 'node:tls';
import { bytesOf, imagePath, signedPath } from './material.mjs';

const PULLS_AT_ONCE = 8;

const [what, address, ...rest] = process.argv.slice(2);
const url = new URL(address);
const tookMs = [];
const startedMs = performance.now();

if (what === 'pull') {
  const [images, seconds] = rest.map(Number);
  const endMs = startedMs + 1000 * seconds;
  let at = Math.floor(Math.random() * images);
  await Promise.all(
    Array.from({ length: PULLS_AT_ONCE }, async () => {
      while (performance.now() < endMs) {
        at = (at + 1) % images;
        await timed(() => pull(at));
      }
    }),
  );
  print({ pulls: tookMs.length });
} else if (what === 'upload') {
  const [staging, ...numbers] = rest;
  const [from, count, clients, batch] = numbers.map(Number);
  const agent = new Agent({ keepAlive: true, maxSockets: clients });
  let next = from;
  await Promise.all(
    Array.from({ length: clients }, async () => {
      while (next < from + count) {
        const first = next;
        next = Math.min(next + batch, from + count);
        await timed(() =>
          batch === 1 ? upload(agent, staging, first) : uploadBatch(agent, staging, first, next),
        );
      }
    }),
  );
  agent.destroy();
  print({});
} else throw new Error(`no clients that do ${what}`);

function print(more) {
  tookMs.sort((a, b) => a - b);
  const at = (share) => tookMs[Math.min(tookMs.length - 1, Math.floor(share * tookMs.length))];
  const durationMs = performance.now() - startedMs;
  process.stdout.write(JSON.stringify({ ...more, durationMs, p50Ms: at(0.5), p99Ms: at(0.99) }));
}

async function timed(act) {
  const beforeMs = performance.now();
  await act();
  tookMs.push(performance.now() - beforeMs);
}

/** As podman pulls: a handshake without a session of before. */
function pull(number) {
  return new Promise((resolve, reject) => {
    const { hostname: host, port } = url;
    const fail = (why) => reject(new Error(`${imagePath(number)} at ${address}: ${why}`));
    const socket =
      url.protocol === 'https:'
        ? connectTls({ host, port, rejectUnauthorized: false }, begin)
        : connectTcp({ host, port, noDelay: true }, begin);
    let received = Buffer.alloc(0);
    let isSecond = false;
    function ask(name) {
      socket.write(
        `GET /${imagePath(number)}/${name} HTTP/1.1\r\nHost: ${url.host}\r\nUser-Agent: containers/5.36.2 (github.com/containers/image)\r\nAccept-Encoding: gzip\r\n\r\n`,
      );
    }
    function begin() {
      ask('signature-1');
    }
    socket.on('data', (piece) => {
      received = received.length === 0 ? piece : Buffer.concat([received, piece]);
      const end = received.indexOf('\r\n\r\n');
      if (end === -1) return;
      const head = received.toString('latin1', 0, end);
      const length = Number(/\r\ncontent-length: ([0-9]+)/i.exec(head)?.[1]);
      if (received.length < end + 4 + length) return;
      const status = head.slice(9, 12);
      if (isSecond) {
        if (status !== '404') fail(`signature-2 is ${status}, wanted 404`);
        socket.destroySoon();
        resolve();
        return;
      }
      if (status !== '200' || !received.subarray(end + 4, end + 4 + length).equals(bytesOf(number)))
        fail(`signature-1 is ${status}, or has wrong bytes`);
      isSecond = true;
      received = Buffer.alloc(0);
      ask('signature-2');
    });
    socket.on('error', fail);
  });
}

function upload(agent, staging, number) {
  const path = `${signedPath(number)}/signature-1`;
  return send(agent, 'PUT', `/${path}`, 'application/octet-stream', readFileSync(join(staging, path)), 201);
}

async function uploadBatch(agent, staging, from, to) {
  const boundary = 'bench-boundary';
  const parts = [];
  for (let number = from; number < to; number += 1) {
    const path = `${signedPath(number)}/signature-1`;
    parts.push(
      Buffer.from(
        `--${boundary}\r\nContent-Disposition: form-data; name="signature"; filename="${path}"\r\nContent-Type: application/octet-stream\r\n\r\n`,
      ),
      readFileSync(join(staging, path)),
      Buffer.from('\r\n'),
    );
  }
  parts.push(Buffer.from(`--${boundary}--\r\n`));
  await send(
    agent,
    'POST',
    '/api/v1/signatures',
    `multipart/form-data; boundary=${boundary}`,
    Buffer.concat(parts),
    200,
  );
}

function send(agent, method, path, type, body, wanted) {
  return new Promise((resolve, reject) => {
    const headers = {
      Authorization: `Bearer ${process.env.BENCH_TOKEN}`,
      'Content-Type': type,
      'Content-Length': body.length,
    };
    const req = request({ agent, host: url.hostname, port: url.port, method, path, headers }, (res) => {
      const pieces = [];
      res.on('data', (piece) => pieces.push(piece));
      res.on('end', () => {
        const text = Buffer.concat(pieces).toString();
        if (res.statusCode === wanted && !text.includes('"errors"')) resolve();
        else
          reject(new Error(`${method} ${path} was answered with ${res.statusCode}: ${text.slice(0, 500)}`));
      });
      res.on('error', reject);
    });
    req.on('error', reject);
    req.end(body);
  });
}
