// A picture with 256 colours: a fourth of the bytes of what a browser writes, and pages have few colours.
import { crc32, deflateSync, inflateSync } from 'node:zlib';

const SIGNATURE = Buffer.from('89504e470d0a1a0a', 'hex');
const MOST_COLOURS = 256;
const [GREY_OR_RGB, PALETTE] = [2, 3];
const ALPHA = 4;

/** `png`: 8 bits for each of three or four channels, not interlaced, as Chromium writes it. */
export function smallPng(png) {
  const { width, height, channels, rows } = unpacked(png);
  const { palette, indexes } = reduced(rows, width * height, channels);
  const lines = Buffer.alloc(height * (width + 1)); // each line begins with its filter: 0, none
  for (let y = 0; y < height; y += 1) indexes.copy(lines, y * (width + 1) + 1, y * width, (y + 1) * width);
  const head = Buffer.alloc(13);
  head.writeUInt32BE(width, 0);
  head.writeUInt32BE(height, 4);
  head.set([8, PALETTE, 0, 0, 0], 8);
  return Buffer.concat([
    SIGNATURE,
    chunk('IHDR', head),
    chunk('PLTE', palette),
    chunk('IDAT', deflateSync(lines, { level: 9 })),
    chunk('IEND', Buffer.alloc(0)),
  ]);
}

function chunk(name, bytes) {
  const body = Buffer.concat([Buffer.from(name, 'latin1'), bytes]);
  const [length, sum] = [Buffer.alloc(4), Buffer.alloc(4)];
  length.writeUInt32BE(bytes.length);
  sum.writeUInt32BE(crc32(body));
  return Buffer.concat([length, body, sum]);
}

function unpacked(png) {
  const parts = [];
  let head = Buffer.alloc(0);
  for (let at = SIGNATURE.length; at < png.length; ) {
    const length = png.readUInt32BE(at);
    const name = png.toString('latin1', at + 4, at + 8);
    const bytes = png.subarray(at + 8, at + 8 + length);
    if (name === 'IHDR') head = bytes;
    if (name === 'IDAT') parts.push(bytes);
    at += length + 12;
  }
  const [width, height, colours] = [head.readUInt32BE(0), head.readUInt32BE(4), head[9]];
  if (head[8] !== 8 || (colours & ~ALPHA) !== GREY_OR_RGB || head[12] !== 0)
    throw new Error('this is no PNG of three or four channels with 8 bits each');
  const channels = colours & ALPHA ? 4 : 3;
  return {
    width,
    height,
    channels,
    rows: unfiltered(inflateSync(Buffer.concat(parts)), { width, height, channels }),
  };
}

/** https://www.w3.org/TR/png-3/#9Filters */
function unfiltered(lines, { width, height, channels }) {
  const stride = width * channels;
  const rows = Buffer.alloc(stride * height);
  for (let y = 0; y < height; y += 1) {
    const filter = lines[y * (stride + 1)];
    for (let x = 0; x < stride; x += 1) {
      const left = x < channels ? 0 : rows[y * stride + x - channels];
      const up = y === 0 ? 0 : rows[(y - 1) * stride + x];
      const upLeft = x < channels || y === 0 ? 0 : rows[(y - 1) * stride + x - channels];
      const predicted = [0, left, up, (left + up) >> 1, paeth(left, up, upLeft)][filter];
      rows[y * stride + x] = lines[y * (stride + 1) + 1 + x] + predicted;
    }
  }
  return rows;
}

function paeth(left, up, upLeft) {
  const [a, b, c] = [Math.abs(up - upLeft), Math.abs(left - upLeft), Math.abs(left + up - 2 * upLeft)];
  if (a <= b && a <= c) return left;
  return b <= c ? up : upLeft;
}

/** The most frequent colours; each other one becomes the nearest of them. */
function reduced(rows, count, channels) {
  const colourAt = (k) => (rows[k * channels] << 16) | (rows[k * channels + 1] << 8) | rows[k * channels + 2];
  const counts = new Map();
  for (let k = 0; k < count; k += 1) counts.set(colourAt(k), (counts.get(colourAt(k)) ?? 0) + 1);
  const kept = [...counts]
    .sort((one, other) => other[1] - one[1])
    .slice(0, MOST_COLOURS)
    .map(([colour]) => colour);
  const known = new Map(kept.map((colour, index) => [colour, index]));
  const indexes = Buffer.alloc(count);
  for (let k = 0; k < count; k += 1) {
    const colour = colourAt(k);
    let index = known.get(colour);
    if (index === undefined) {
      index = nearest(kept, colour);
      known.set(colour, index);
    }
    indexes[k] = index;
  }
  return {
    palette: Buffer.from(kept.flatMap((colour) => [colour >> 16, (colour >> 8) & 255, colour & 255])),
    indexes,
  };
}

function nearest(kept, colour) {
  const distance = (other) =>
    [16, 8, 0].reduce((sum, shift) => sum + (((other >> shift) & 255) - ((colour >> shift) & 255)) ** 2, 0);
  let best = 0;
  for (let index = 1; index < kept.length; index += 1) {
    if (distance(kept[index]) < distance(kept[best])) best = index;
  }
  return best;
}
