// Set up a client: from a registry and a choice of keys, the files by which podman and its kin demand signatures.
import type { KindFile } from '../../domain/client-config/kind.ts';
import type { Note } from '../../domain/client-config/policy-merge.ts';
import {
  isRegistryScope,
  SCOPE_WANTED,
  type TrustedKey,
  type WantedConfig,
} from '../../domain/client-config/wanted.ts';
import { isLookasideError, LookasideError } from '../../domain/errors.ts';
import type { ShownKey } from '../../domain/key.ts';
import { quoted } from '../../domain/text.ts';
import { shownKeys } from '../../service/administration.ts';
import { chooseKeys, freshFiles } from '../../service/client-config.ts';
import { type Html, html, NOTHING } from '../html.ts';
import type { Content, Page, PageContext } from '../page.ts';
import { block, clip, empty, fingerprint, word } from '../show.ts';
import { HANDED, handedAnswer, namespacesIn } from './set-up-kinds.ts';
import { shellWord } from './shell.ts';

export const setUp: readonly Page[] = [{ path: 'set-up', roles: 'reader', answer: showSetUp }];

/** podman and its kin, as `client-config` knows them: `keysIn` and the option for it. */
const KINDS: readonly {
  readonly keysIn: WantedConfig['keysIn'];
  readonly option: string;
  readonly title: string;
}[] = [
  { keysIn: 'files', option: '', title: 'podman, skopeo, buildah, CRI-O of today: one file for each key' },
  {
    keysIn: 'keyring',
    option: '--one-keyring',
    title: 'the same before containers/image 5.23: one file for all keys',
  },
  {
    keysIn: 'inline',
    option: '--inline-keys',
    title: 'no key files: the keys stand in policy.json, as a MachineConfig wants it',
  },
];

const TRUSTS = ['granted', 'all', 'chosen'] as const;

interface Asked {
  readonly registry: string;
  readonly trust: (typeof TRUSTS)[number];
  readonly keys: readonly string[];
  readonly kind: (typeof KINDS)[number];
  /** Another client, for which `kind` says nothing; null: podman and its kin. */
  readonly handed: (typeof HANDED)[number] | null;
  readonly namespaces: string;
}

/** More are not offered to choose among: whoever has them names them by command. */
const MAX_OFFERED = 100;

async function showSetUp(context: PageContext): Promise<Content> {
  const { services, request, now } = context;
  const asked = askedBy(request.query);
  const all = (await shownKeys(services.keys, now)).filter(({ state }) => state === 'valid');
  const head = html`<div class="head"><h1>Set up a client</h1><p class="lead">A client demands signatures only of registries that its own files name. Name one, and take the files.</p></div>`;
  const { body, status } = await answer(context, asked, all);
  return { title: 'Set up a client', status, body: html`${head}${form(context, asked, all)}${body}` };
}

function askedBy(query: URLSearchParams): Asked {
  const keys = query.getAll('key').slice(0, MAX_OFFERED);
  const client = query.get('keys');
  return {
    registry: (query.get('registry') ?? '')
      .trim()
      .replace(/^(?:https?|docker):\/\//, '')
      .replace(/\/+$/, ''),
    trust: TRUSTS.find((one) => one === query.get('trust')) ?? (keys.length > 0 ? 'chosen' : 'granted'),
    keys,
    kind: KINDS.find(({ keysIn }) => keysIn === client) ?? (KINDS[0] as (typeof KINDS)[number]),
    handed: HANDED.find(({ kind }) => kind === client) ?? null,
    namespaces: query.get('namespace') ?? '',
  };
}

interface Answered {
  readonly body: Html;
  readonly status: number;
}

async function answer(context: PageContext, asked: Asked, all: readonly ShownKey[]): Promise<Answered> {
  if (all.length === 0) return { status: 200, body: noKey() };
  if (asked.registry === '') return { status: 200, body: NOTHING };
  try {
    return { status: 200, body: await files(context, asked) };
  } catch (error) {
    if (!isLookasideError(error) || !['NOT_FOUND', 'REQUEST_INVALID', 'CONFIG_INVALID'].includes(error.code))
      throw error;
    return { status: error.code === 'NOT_FOUND' ? 404 : 400, body: refusal(error, asked) };
  }
}

function noKey(): Html {
  return empty(
    'No key is in force yet',
    html`A client must be told whose signatures it takes. On the server: <code>lookaside key add FILE</code>`,
  );
}

function refusal({ message }: LookasideError, { trust, registry }: Asked): Html {
  const next =
    trust === 'granted' && isRegistryScope(registry)
      ? 'Choose “every key in force” or single keys above; or have an administrator grant a key for these repositories.'
      : 'Change the form above, and ask again.';
  return html`<div class="note wrong" role="status"><p>${word('wrong', `${message.slice(0, 1).toUpperCase()}${message.slice(1)}.`)}</p><p>${next}</p></div>`;
}

function form(
  { link }: PageContext,
  { registry, trust, keys, kind, handed, namespaces }: Asked,
  all: readonly ShownKey[],
): Html {
  const option = (value: string, title: string) =>
    html`<option value="${value}"${value === (handed?.kind ?? kind.keysIn) && html` selected`}>${title}</option>`;
  const radio = (value: Asked['trust'], text: string) =>
    html`<label class="choice"><input type="radio" name="trust" value="${value}"${trust === value && html` checked`}> <span>${text}</span></label>`;
  return html`<form class="card" method="get" action="${link('set-up')}">
<label>Registry, or a part of it<input name="registry" value="${clip(registry, 255)}" placeholder="registry.example.com/team" required maxlength="255" autocomplete="off" spellcheck="false"></label>
<fieldset><legend>Whose signatures it takes</legend>
${radio('granted', 'the keys that grants name for these repositories')}
${radio('all', 'every key in force')}
${radio('chosen', 'these keys:')}
<div class="choices">${all
    .slice(0, MAX_OFFERED)
    .map(
      (key) =>
        html`<label class="choice"><input type="checkbox" name="key" value="${key.fingerprint}"${trust === 'chosen' && keys.includes(key.fingerprint) && html` checked`}> <span><bdi>${clip(key.userIds[0] ?? 'no user ID', 100)}</bdi> <small>${fingerprint(key.fingerprint)}</small></span></label>`,
    )}</div>
</fieldset>
<label>Client<select name="keys">${KINDS.map(({ keysIn, title }) => option(keysIn, title))}${HANDED.map((one) => option(one.kind, one.title))}</select></label>
<label>Namespaces, for CRI-O, Kubernetes and Portieris<input name="namespace" value="${clip(namespaces, 255)}" placeholder="team-a" maxlength="255" autocomplete="off" spellcheck="false"></label>
<div class="actions"><button class="first">Show the files</button></div>
</form>`;
}

/** @throws LookasideError REQUEST_INVALID; as chooseKeys() and freshFiles() */
async function files(context: PageContext, asked: Asked): Promise<Html> {
  const { services, request } = context;
  const { registry, trust, kind, handed } = asked;
  if (!isRegistryScope(registry))
    throw new LookasideError('REQUEST_INVALID', `${quoted(registry)} is not a registry; ${SCOPE_WANTED}`);
  if (trust === 'chosen' && asked.keys.length === 0)
    throw new LookasideError(
      'REQUEST_INVALID',
      'no key is chosen, and a client without a key refuses every image',
    );
  const choice = { keys: trust === 'chosen' ? asked.keys : [], signers: [], isAllKeys: trust === 'all' };
  const { scopes, notes } = await chooseKeys(services, [registry], choice);
  const wanted: WantedConfig = { scopes, lookaside: request.url, staging: null, keysIn: kind.keysIn };
  const keys = new Map(scopes.flatMap((scope) => scope.keys).map((key) => [key.fingerprint, key]));
  if (handed !== null) {
    const rest = { namespaces: namespacesIn(asked.namespaces), command: command(context, asked) };
    const answered = handedAnswer(context, { choice: handed, wanted, ...rest }, (file) =>
      shownFile(context, file, keys),
    );
    return html`${answered.body}${shownNotes([...notes, ...answered.notes])}`;
  }
  const planned = freshFiles(wanted, false);
  return html`<section class="card"><h2>By command</h2>
<p>Where lookaside is installed. It merges into what is there, and never makes a policy accept more than before.</p>${block(`${command(context, asked)} --install`)}
${kind.keysIn === 'files' && html`<p>Where it is not, with curl alone. Read the script first unless this server is reached by https.</p>${block(script(context, asked))}`}</section>
<section class="card"><h2>By hand</h2>
<p>These are the files of a machine that has none yet. Do not lay them over a <code>policy.json</code> that is there: the commands above merge.</p>
${planned.files.map((file) => html`<h3><code>${file.path}</code></h3>${shownFile(context, file, keys)}`)}</section>
${shownNotes([...notes, ...planned.notes])}
<section class="card"><h2>Then try it</h2><p>On the client, with an image of yours:</p>${block(`podman pull ${registry}/IMAGE\nlookaside doctor ${registry}/IMAGE`)}<p>The second line says why the first one failed. <a href="${context.link('check')}">Check a pull</a> asks what this server knows of it.</p></section>`;
}

function shownNotes(notes: readonly Note[]): readonly Html[] {
  return notes.map(
    ({ message }) => html`<p class="note open">${message.slice(0, 1).toUpperCase()}${message.slice(1)}.</p>`,
  );
}

function shownFile(
  { request }: PageContext,
  { path, content, keys }: KindFile,
  known: ReadonlyMap<string, TrustedKey>,
): Html {
  if (keys === null) return html`${block(Buffer.from(content).toString('utf8').trimEnd())}`;
  const lines = keys.map((key) => `curl -fsS ${shellWord(`${request.url}/keys/${key}.gpg`)}`);
  const into = shellWord(path);
  const text = lines.length === 1 ? `${lines[0]} -o ${into}` : `{ ${lines.join('\n  ')}; } > ${into}`;
  return html`<ul class="plain">${keys.map(
    (key) =>
      html`<li><bdi>${clip(known.get(key)?.userIds[0] ?? 'no user ID', 100)}</bdi> ${fingerprint(key)} <a href="${request.base}../keys/${key}.gpg" download>Download</a></li>`,
  )}</ul>${block(text)}`;
}

function command({ request }: PageContext, { registry, trust, keys, kind }: Asked): string {
  return [
    'lookaside client-config',
    `--server ${shellWord(request.url)}`,
    `--registry ${shellWord(registry)}`,
    ...(trust === 'all'
      ? ['--all-keys']
      : trust === 'chosen'
        ? [`--key ${keys.map(shellWord).join(' ')}`]
        : []),
    ...(kind.option === '' ? [] : [kind.option]),
  ].join(' ');
}

function script({ request }: PageContext, { registry, trust, keys }: Asked): string {
  const query = new URLSearchParams();
  if (trust === 'all') query.set('all-keys', '1');
  if (trust === 'chosen') query.set('key', keys.join(','));
  const path = registry.split('/').map(encodeURIComponent).join('/');
  const search = query.size === 0 ? '' : `?${query.toString().replaceAll('%2C', ',')}`;
  return `curl -fsS ${shellWord(`${request.url}/setup/${path}.sh${search}`)} | sudo sh`;
}
