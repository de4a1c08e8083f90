// lookaside mirror sync: which images, from wherever they are named, and what became of them.
import { createHash } from 'node:crypto';
import { setTimeout as wait } from 'node:timers/promises';
import type { Config } from '../config.ts';
import { loadTextYaml } from '../config.ts';
import type { AskWeb } from '../domain/client-machine.ts';
import { isLookasideError, LookasideError } from '../domain/errors.ts';
import { parseImageName } from '../domain/image.ts';
import { MAX_CERTIFICATES_BYTES, MAX_MIRROR_IMAGES } from '../domain/limits.ts';
import type { MirrorSettings, SyncAnswer } from '../domain/mirror.ts';
import {
  type GraphsTold,
  graphChannels,
  graphReleases,
  type Release,
  releasesAtOnce,
  type WholeChannel,
} from '../domain/release-graph.ts';
import {
  type NamedImage,
  type NamedImages,
  type NamedReference,
  namedImages,
  needsYaml,
} from '../domain/sync-source.ts';
import { escapeTerminal } from '../domain/text.ts';
import { viewed } from '../domain/view.ts';
import type { ResolvedImages, UnresolvedName } from '../service/resolved-images.ts';
import { administerByServer } from './administer.ts';
import { readInput } from './input.ts';
import { progressLine } from './progress.ts';
import type { LoginOptions } from './registry-logins.ts';
import { catchStopSignals } from './stop-signals.ts';
import { EXIT, plural, print, printJson, tell } from './terminal.ts';

export interface MirrorSyncOptions {
  readonly name: string;
  readonly files: readonly string[];
  /** `HOST/REPOSITORY`, each. */
  readonly registries: readonly string[];
  /** Registries that are asked what names stand for, as parseResolveRule() reads them. */
  readonly resolve: readonly string[];
  readonly logins: LoginOptions;
  readonly graphs: readonly string[];
  readonly listings: readonly string[];
  /** Null: not from the record. */
  readonly fromMissesMs: number | null;
  /** Print the images, and fetch nothing. */
  readonly listOnly: boolean;
  /** Null: once. */
  readonly everyMs: number | null;
  readonly maxAgeMs: number | null;
  readonly changedOnly: boolean;
  readonly json: boolean;
}

const MAX_MANIFEST_BYTES = 4 * 1024 * 1024; // containers/image takes no larger manifest
export const MAX_SOURCE_BYTES = 256 * 1024 * 1024;
const CA = { maxBytes: MAX_CERTIFICATES_BYTES, remedy: 'name a file with certificates in PEM' };
const PATIENCE_MS = 60_000;
/** Names and registries that a message lists. */
const MAX_TOLD = 10;
/** A part of the interval, so that many sites do not ask the same upstream in the same second for ever. */
const JITTER = 0.1;

export async function runMirrorSync(config: Config, options: MirrorSyncOptions): Promise<number> {
  const { everyMs } = options;
  if (everyMs === null) return syncOnce(config, options);
  if (options.files.includes('-'))
    throw new LookasideError(
      'CONFIG_INVALID',
      '--every reads the images anew each time, and standard input ends; name a file',
    );
  const stopping = catchStopSignals();
  await repeat({
    everyMs,
    run: () => loggedSync(config, options),
    pause: async (ms) => {
      if (!options.json) tell(`the next run begins at ${new Date(Date.now() + ms).toISOString()}`);
      await wait(ms, undefined, { signal: stopping.signal }).catch(() => undefined); // only AbortError: we were told to stop
    },
    isOver: () => stopping.signal.aborted,
    chance: Math.random,
  });
  return stopping.exitCode() ?? EXIT.done;
}

export interface Repeating {
  readonly everyMs: number;
  readonly run: () => Promise<unknown>;
  /** Ends early when all is over. */
  readonly pause: (ms: number) => Promise<void>;
  readonly isOver: () => boolean;
  /** From 0 to below 1. */
  readonly chance: () => number;
}

/** Runs at once, and again after the pause, until it is over. */
export async function repeat({ everyMs, run, pause, isOver, chance }: Repeating): Promise<void> {
  while (!isOver()) {
    await run();
    if (!isOver()) await pause(Math.round(everyMs * (1 - JITTER + 2 * JITTER * chance())));
  }
}

/** A run that fails is told, and the next one comes all the same. */
async function loggedSync(config: Config, options: MirrorSyncOptions): Promise<void> {
  try {
    await syncOnce(config, options);
  } catch (error) {
    if (!isLookasideError(error)) throw error;
    if (options.json) printJson({ errors: [{ code: error.code, message: error.message }] });
    else tell(error.message);
  }
}

async function syncOnce(config: Config, options: MirrorSyncOptions): Promise<number> {
  const { name, maxAgeMs, changedOnly, json, listOnly } = options;
  if (options.files.includes('-') && process.stdin.isTTY === true)
    tell('images are read from standard input, one a line, like ubi9/ubi@sha256:<hex>; Ctrl-D ends them');
  const files = await fromFiles(options.files);
  const { images: fetched, ...elsewhere } = await fromElsewhere(options, config);
  const references = [...files.references, ...elsewhere.references];
  const resolved = await resolveAll(options, config, references);
  tellPassedOver(resolved, files.repositories);
  const line = syncLine(name);
  const done = await administerByServer(config, async ({ mirrors }) => {
    const mirror = await mirrors.show(name);
    const { fromMissesMs } = options;
    const missed =
      fromMissesMs === null ? [] : await mirrors.missed(name, new Date(Date.now() - fromMissesMs));
    const all = [
      ...files.named,
      ...resolved.images,
      ...fetched.map((image) => asUpstream(image, mirror)),
      ...missed.flatMap((text) => namedOf(name, text)),
    ];
    // that clients missed nothing is good news, and no mistake of who asks
    if (all.length === 0 && fromMissesMs !== null) return { images: [], answer: null };
    const images = imagesOf(mirror, all);
    if (listOnly) return { images, answer: null };
    const allReleases = mirror.layout === 'release' ? [...files.releases, ...elsewhere.releases] : [];
    const releases = releasesAtOnce(allReleases);
    if (releases.length < allReleases.length)
      tell(
        `the graphs name ${allReleases.length} releases with their channels, and the server is told of the first ${releases.length}; ask for the others in a sync of their own`,
      );
    const wholeChannels = releases.length < allReleases.length ? [] : elsewhere.wholeChannels;
    const request = { images, maxAgeMs, releases, wholeChannels, onProgress: line.show };
    return { images, answer: await mirrors.sync(name, request) };
  }).finally(line.end);
  const { unresolved } = resolved;
  const exitCode = unresolved.length > 0 ? EXIT.failed : EXIT.done;
  if (done.answer === null) {
    if (json) printJson({ images: done.images, unresolved });
    else if (done.images.length === 0) tell('clients missed nothing in that time; nothing is fetched');
    else print(done.images.join('\n'));
    return exitCode;
  }
  tellSync(done.answer, { changedOnly, json, unresolved });
  const { counts, unrecorded } = done.answer;
  return counts.failed + counts.refused > 0 || unrecorded !== null ? EXIT.failed : exitCode;
}

async function fromFiles(files: readonly string[]) {
  const named: NamedImage[] = [];
  const references: NamedReference[] = [];
  const repositories: string[] = [];
  const releases: Release[] = [];
  for (const file of files) {
    const remedy = 'name a file with images, or - for standard input';
    const bytes = await readInput(file, { maxBytes: MAX_SOURCE_BYTES, remedy });
    const text = Buffer.from(bytes).toString('utf8');
    releases.push(...graphReleases(text, null));
    const inFile = await namedIn(text);
    for (const image of inFile.images) named.push(image);
    for (const reference of inFile.references) references.push(reference);
    repositories.push(...inFile.repositories);
  }
  return { named, references, repositories, releases };
}

async function namedIn(text: string): Promise<NamedImages> {
  const parseYaml = needsYaml(text) ? await loadTextYaml() : () => null;
  return namedImages(text, parseYaml);
}

async function fromElsewhere(
  { registries, graphs, listings, logins }: MirrorSyncOptions,
  config: Config,
): Promise<GraphsTold & Pick<NamedImages, 'images' | 'references'>> {
  const images: NamedImage[] = [];
  const references: NamedReference[] = [];
  const releases: Release[] = [];
  const wholeChannels: WholeChannel[] = [];
  if (registries.length + graphs.length + listings.length > 0) {
    const { fetchGraph, listedImages, registryImages } = await import('../service/mirror-sources.ts');
    await withPages(config, { maxBytes: MAX_SOURCE_BYTES }, async (ask, onFound) => {
      const options = { ask, digestOf: sha256Of, onFound };
      for (const url of graphs) {
        const text = await fetchGraph(options, url);
        const inGraph = await namedIn(text);
        images.push(...inGraph.images);
        references.push(...inGraph.references);
        const named = graphReleases(text, url);
        releases.push(...named);
        wholeChannels.push(...graphChannels(named, url));
      }
      for (const url of listings) images.push(...(await listedImages(options, url)));
      for (const registry of registries)
        images.push(...(await registryImages(options, await loggedIn(registry, logins))));
    });
  }
  return { images, references, releases, wholeChannels };
}

/** What the names stand for, by the registries that may be asked. @throws LookasideError */
async function resolveAll(
  { resolve, logins }: MirrorSyncOptions,
  config: Config,
  references: readonly NamedReference[],
): Promise<ResolvedImages> {
  if (resolve.length === 0) return { images: [], unresolved: [], unasked: references };
  const { parseResolveRule, resolveImages } = await import('../service/resolved-images.ts');
  const rules = resolve.map(parseResolveRule);
  const bounds = { maxBytes: MAX_MANIFEST_BYTES };
  return withPages(config, bounds, (ask, onFound) =>
    withPages(config, { ...bounds, isPublicOnly: true }, (askPublic) => {
      const withLogin = (registry: string) => loggedIn(registry, logins);
      const options = { ask, askPublic, withLogin, digestOf, onFound };
      return resolveImages(options, references, rules);
    }),
  );
}

/** `onFound` shows how many images are named so far. */
async function withPages<T>(
  { remote: { caFile } }: Config,
  bounds: { readonly maxBytes: number; readonly isPublicOnly?: boolean },
  act: (ask: AskWeb, onFound: (images: number) => void) => Promise<T>,
): Promise<T> {
  const { openPages } = await import('../upstream/ask-pages.ts');
  const ca = caFile === null ? null : Buffer.from(await readInput(caFile, CA)).toString('utf8');
  const pages = openPages({ ca, patienceMs: PATIENCE_MS, ...bounds });
  const line = progressLine((images: number) => `${plural(images, 'image')} named so far`);
  try {
    return await act(pages.ask, line.show);
  } finally {
    await pages.close();
    line.end();
  }
}

async function loggedIn(registry: string, logins: LoginOptions): Promise<string> {
  // with zod, which only a file of log-ins needs
  const { withLogin } = await import('./registry-logins.ts');
  return withLogin(registry, logins);
}

/** Names with a tag whose digest nobody was asked for, those of which a registry did not tell, and those that stand for all tags. */
function tellPassedOver(
  { unresolved, unasked }: Pick<ResolvedImages, 'unresolved' | 'unasked'>,
  repositories: readonly string[],
): void {
  if (repositories.length > 0) {
    const some = repositories.slice(0, MAX_TOLD).map((one) => `--registry ${one}`);
    const more = repositories.length > MAX_TOLD ? ' and so on' : '';
    tell(
      escapeTerminal(
        `repositories of a sync.yaml without tags, or with a pattern of tags, are passed over (${repositories.length}); to fetch all their tags, add ${some.join(' ')}${more}`,
      ),
    );
  }
  const tagged = unasked.filter(({ digest }) => digest === null);
  const [first] = tagged;
  if (first !== undefined) {
    const registries = new Set(tagged.flatMap(({ registry }) => registry ?? []));
    const more = registries.size > MAX_TOLD ? `, or all for the ${registries.size} registries together` : '';
    const ask =
      registries.size === 0
        ? '--resolve all=REGISTRY asks that registry for the digests'
        : `to ask for the digests, add ${[...registries]
            .slice(0, MAX_TOLD)
            .map((one) => `--resolve ${one}`)
            .join(' ')}${more}`;
    tell(
      escapeTerminal(
        `${plural(tagged.length, 'name')} with a tag and without a digest ${tagged.length === 1 ? 'is' : 'are'} passed over, like ${first.name}: signatures are found by digest; ${ask}`,
      ),
    );
  }
  for (const { name, message } of unresolved.slice(0, MAX_TOLD))
    tell(escapeTerminal(`not asked for whole: ${name}: ${message}`));
  if (unresolved.length > MAX_TOLD)
    tell(`and ${plural(unresolved.length - MAX_TOLD, 'other name')}; --json names each`);
}

function digestOf(bytes: Uint8Array, algorithm: string): string {
  return `${algorithm}:${createHash(algorithm).update(bytes).digest('hex')}`;
}

const sha256Of = (bytes: Uint8Array) => digestOf(bytes, 'sha256');

/** A mirror registry may have other paths than the upstream: those that a view rewrites. */
function asUpstream(
  image: NamedImage,
  { name, views, layout }: MirrorSettings & { readonly name: string },
): NamedImage {
  if (image.repository === null || layout === 'release') return image;
  const asked = parseImageName(name, `${image.repository}@${image.digest}`);
  if (asked === null) return image;
  for (const view of views) {
    if (view.strip === '') continue;
    const rewritten = viewed(asked, { ...view, layout });
    if (rewritten !== null) return { repository: rewritten.path, digest: image.digest };
  }
  return image;
}

function namedOf(site: string, text: string): readonly NamedImage[] {
  const image = parseImageName(site, text);
  if (image === null) return [];
  const { layout, path, algorithm, hex } = image;
  return [{ repository: layout === 'repository' ? path : null, digest: `${algorithm}:${hex}` }];
}

/** As the mirror names them. @throws LookasideError REQUEST_INVALID */
function imagesOf(
  { layout }: Pick<MirrorSettings, 'layout'>,
  named: readonly NamedImage[],
): readonly string[] {
  const images = new Set<string>();
  let bare = 0;
  for (const { repository, digest } of named) {
    if (layout === 'release') images.add(digest);
    else if (repository !== null) images.add(`${repository}@${digest}`);
    else bare += 1;
  }
  if (bare > 0)
    tell(`${plural(bare, 'digest')} without a repository left out: this mirror needs REPOSITORY@DIGEST`);
  if (images.size === 0)
    throw new LookasideError(
      'REQUEST_INVALID',
      'no image with a digest is named, so nothing is fetched; name a file with one a line, like ubi9/ubi@sha256:<hex>, or give --registry, --graph, --listing or --from-misses; names with a tag need --resolve',
    );
  if (images.size > MAX_MIRROR_IMAGES) {
    const message = `${images.size} images are named, and one run takes ${MAX_MIRROR_IMAGES}; divide them`;
    throw new LookasideError('REQUEST_INVALID', message);
  }
  return [...images];
}

interface Telling {
  readonly changedOnly: boolean;
  readonly json: boolean;
  readonly unresolved: readonly UnresolvedName[];
}

function tellSync(answer: SyncAnswer, { changedOnly, json, unresolved }: Telling): void {
  const { counts, startedAt, finishedAt, unrecorded } = answer;
  if (unrecorded !== null) tell(escapeTerminal(unrecorded));
  const images = answer.images.filter(
    ({ result }) => !changedOnly || !['unchanged', 'missing'].includes(result),
  );
  if (json) {
    printJson({ startedAt, finishedAt, counts, images, unresolved, unrecorded });
    return;
  }
  for (const { image, result, message } of images) {
    if (changedOnly || result === 'failed' || result === 'refused')
      print(escapeTerminal(`${result}: ${image}${message === null ? '' : `: ${message}`}`));
  }
  const seconds = Math.round((finishedAt.getTime() - startedAt.getTime()) / 1000);
  print(`${plural(answer.images.length, 'image')} in ${seconds} s: ${countsText(counts)}`);
  if (counts.failed > 0) print('Run it again with --max-age 1d: what has come is not asked for again.');
}

/** Count, rate and what is left of the time. */
function syncLine(name: string) {
  const startedMs = performance.now();
  return progressLine(({ done, total }: { readonly done: number; readonly total: number }) => {
    const rate = done / Math.max(1, (performance.now() - startedMs) / 1000);
    const left = rate > 0 ? `, ${Math.ceil((total - done) / rate)} s left` : '';
    return `${name}: ${done}/${total} images, ${Math.round(rate)}/s${left}`;
  });
}

export function countsText({
  new: fresh,
  unchanged,
  missing,
  refused,
  failed,
}: SyncAnswer['counts']): string {
  return `${fresh} new, ${unchanged} unchanged, ${missing} without signatures, ${refused} refused, ${failed} failed`;
}
