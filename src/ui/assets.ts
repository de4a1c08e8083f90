// The style, the script and the icon of the pages, read once. Their addresses name their content, so that browsers may keep them.
import { createHash } from 'node:crypto';
import { readFileSync } from 'node:fs';

const TYPES = {
  'page.css': 'text/css; charset=utf-8',
  'page.js': 'text/javascript; charset=utf-8',
  'icon.svg': 'image/svg+xml',
} as const;

export type AssetName = keyof typeof TYPES;

export interface Asset {
  readonly type: string;
  readonly bytes: Uint8Array;
  /** Below `/ui/`: `assets/3f2a…/page.css`. */
  readonly path: string;
}

export type Assets = Readonly<Record<AssetName, Asset>>;

/** Where scripts/ready.mjs and the Dockerfile have copied them. */
const FOLDER = new URL('./assets/', import.meta.url);

export function readAssets(): Assets {
  const names = Object.keys(TYPES) as AssetName[]; // keys of a literal: exactly these
  return Object.fromEntries(names.map((name) => [name, readAsset(name)])) as Assets;
}

function readAsset(name: AssetName): Asset {
  const bytes = readFileSync(new URL(name, FOLDER));
  const version = createHash('sha256').update(bytes).digest('hex').slice(0, 12);
  return { type: TYPES[name], bytes, path: `assets/${version}/${name}` };
}
