// The floor of the runtime: node:http over a Map, with the headers of our answers and a record of each read in a ring, which
// nobody writes anywhere. Node.js makes each head anew here; we spare that.
// Run: node bench/floor.mjs FOLDER IMAGES PORT
import { createServer } from 'node:http';
import { bytesOf, imagePath } from './material.mjs';

const [, images, port] = process.argv.slice(2).map(Number);
const signatures = new Map();
for (let number = 0; number < images; number += 1) {
  const bytes = bytesOf(number);
  const headers = [
    'Content-Type',
    'application/octet-stream',
    'Content-Length',
    String(bytes.length),
    'X-Content-Type-Options',
    'nosniff',
    'Content-Security-Policy',
    "default-src 'none'; sandbox",
    'ETag',
    `"${number}"`,
    'Last-Modified',
    'Thu, 01 Jan 2026 00:00:00 GMT',
    'Cache-Control',
    'no-cache',
  ];
  signatures.set(`/${imagePath(number)}/signature-1`, { bytes, headers, number });
}
const NOT_THERE = Buffer.from('not found: no signature has this name\n');
const NOT_THERE_HEADERS = [
  'Content-Type',
  'text/plain; charset=utf-8',
  'Content-Length',
  String(NOT_THERE.length),
  'X-Content-Type-Options',
  'nosniff',
  'Cache-Control',
  'no-store',
];
const ring = new Float64Array(65_536);
let at = 0;

createServer((req, res) => {
  const one = signatures.get(req.url);
  ring[at] = one === undefined ? -1 : one.number;
  ring[at + 1] = performance.now();
  at = (at + 2) % ring.length;
  if (one === undefined) {
    res.writeHead(404, NOT_THERE_HEADERS);
    res.end(NOT_THERE);
  } else {
    res.writeHead(200, one.headers);
    res.end(one.bytes);
  }
}).listen(port, '127.0.0.1');
