// What the settings of a mirror may be. Apart from mirror.ts, as zod takes a command longer to load than all else that it needs of mirrors.
import { z } from 'zod';
import { LookasideError } from './errors.ts';
import { isNamespaceFolder } from './image.ts';
import type { MirrorSettings } from './mirror.ts';
import { MIRROR_LAYOUTS } from './mirror-presets.ts';
import { RESERVED_SEGMENTS } from './reserved-segments.ts';
import { quoted } from './text.ts';

const path = z.string().max(255);

const settings: z.ZodType<MirrorSettings> = z.strictObject({
  upstreams: z.array(z.string().max(2048)).min(1).max(8),
  layout: z.enum(MIRROR_LAYOUTS),
  views: z
    .array(z.strictObject({ prefix: path, strip: path, add: path }))
    .min(1)
    .max(32),
  missing: z.array(z.int().min(400).max(499)).min(1).max(8),
  redirects: z.array(z.string().max(300)).max(32),
  onDemand: z.array(path).max(64).nullable(),
  onUpstreamFailure: z.enum(['503', '404']),
  maxAgeMs: z.int().min(1000),
  // mirrors of older versions lack it
  maxBytes: z.int().min(0).nullable().default(null),
  ca: z.string().nullable(),
  certificate: z.string().nullable(),
  key: z.string().nullable(),
  credentials: z.string().nullable(),
});

/** The settings, with prefixes and paths as they are stored. @throws LookasideError REQUEST_INVALID */
export function parseMirrorSettings(value: unknown): MirrorSettings {
  const read = settings.safeParse(value);
  if (!read.success) {
    const [issue] = read.error.issues;
    throw invalid(
      `${issue?.path.map(String).join('.') || 'the mirror'}: ${issue?.message ?? 'is not valid'}`,
    );
  }
  const { data } = read;
  const views = data.views.map(({ prefix, strip, add }) => ({
    prefix: `/${folderOf(prefix, 'the prefix')}`,
    strip: strip === '' ? '' : folderOf(strip, 'the path to strip'),
    add: add === '' ? '' : folderOf(add, 'the path to add'),
  }));
  for (const { prefix } of views) {
    if (RESERVED_SEGMENTS.has(prefix.split('/')[1] ?? ''))
      throw invalid(`the prefix ${prefix} is a path of the server itself; choose another`);
  }
  return { ...data, upstreams: data.upstreams.map(upstreamOf), views };
}

function folderOf(text: string, what: string): string {
  const folder = text.replace(/^\/+|\/+$/g, '');
  if (isNamespaceFolder(folder)) return folder;
  throw invalid(`${what} is ${quoted(text)}; wanted one like /rh or /rh/ubi9`);
}

function upstreamOf(text: string): string {
  let url: URL;
  try {
    url = new URL(text);
  } catch {
    throw invalid(`the upstream ${quoted(text)} is not a URL; wanted one like https://example.com/sigstore`);
  }
  if (url.username !== '' || url.password !== '')
    throw invalid(
      'the upstream has a user or a password, which others would see; put them into a file, and name it with --credentials',
    );
  if (url.protocol !== 'https:' && url.protocol !== 'http:')
    throw invalid(`the upstream begins with ${url.protocol}; wanted https:// or http://`);
  url.hash = '';
  return url.href;
}

function invalid(message: string): LookasideError {
  return new LookasideError('REQUEST_INVALID', message);
}
