// Keys, added from a file or by paste, retired, and removed: each with what it means for the signatures that are here.
import type { KeyResult } from '../../domain/key.ts';
import { type Html, html } from '../html.ts';
import {
  ADMINS,
  actorOf,
  type Content,
  formToken,
  formTokenQuery,
  type Page,
  type PageContext,
  redirect,
} from '../page.ts';
import { clip, count, fingerprint, time, word } from '../show.ts';
import { question, refusedNote } from './forms.ts';

export const keyChanges: readonly Page[] = [
  {
    path: 'keys/add',
    roles: ADMINS,
    answer: async (context) => addPage(context, null),
    submit: { roles: ADMINS, answer: addPasted },
  },
  {
    path: 'keys/add-file',
    roles: ADMINS,
    answer: async ({ link }) => redirect(link('keys/add')),
    submit: { roles: ADMINS, answer: addFiles },
  },
  retirement('retire'),
  retirement('unretire'),
  {
    path: 'keys/*/remove',
    roles: ADMINS,
    answer: askRemove,
    submit: {
      roles: ADMINS,
      async answer({ services, request, rest, link }) {
        await services.keys.remove(rest, actorOf(request));
        return redirect(link('keys', { done: 'removed' }));
      },
    },
  },
];

/** By what stands in the address. */
export const KEY_DONE = {
  removed: 'The key is removed. What it signed counts as made by an unknown key.',
  retired: 'The key is retired: new uploads by it are refused.',
  unretired: 'Uploads by the key are taken again.',
};

function addPage({ link, request }: PageContext, note: Html | null, status = 200): Content {
  const file = link('keys/add-file', formTokenQuery(request));
  return {
    title: 'Add a key',
    status,
    body: html`<div class="narrow"><div class="head"><p class="crumbs"><a href="${link('keys')}">Keys</a></p><h1>Add a key</h1><p class="lead">The public part, as <code>gpg --export --armor KEY</code> writes it. From then on, uploads signed by it are accepted, and what is stored of it is verified again. A key that is here already is brought up to date.</p></div>
${note}
<form class="card stack" method="post" enctype="multipart/form-data" action="${file}"><label>From a file, armoured or binary<input type="file" name="signature" required></label><div class="actions"><button class="first">Add from the file</button></div></form>
<form class="card stack" method="post" action="${link('keys/add')}">${formToken(request)}<label>Or pasted<textarea name="key" rows="8" required maxlength="50000" spellcheck="false" placeholder="-----BEGIN PGP PUBLIC KEY BLOCK-----"></textarea></label><div class="actions"><button>Add what is pasted</button></div></form></div>`,
  };
}

async function addPasted(context: PageContext): Promise<Content> {
  return addAll(context, [Buffer.from(context.request.form.get('key') ?? '', 'utf8')]);
}

async function addFiles(context: PageContext): Promise<Content> {
  return addAll(
    context,
    context.request.files.map(({ bytes }) => bytes),
  );
}

async function addAll(context: PageContext, files: readonly Uint8Array[]): Promise<Content> {
  const { services, request, link } = context;
  const results: KeyResult[] = [];
  try {
    for (const file of files) results.push(...(await services.keys.add(file, actorOf(request))));
  } catch (error) {
    const note = refusedNote(error);
    if (note === null) throw error;
    return addPage(context, note, 422);
  }
  return {
    title: 'Keys added',
    body: html`<div class="narrow"><div class="head"><p class="crumbs"><a href="${link('keys')}">Keys</a></p><h1>What became of the file</h1></div>
${results.map((result) => resultCard(context, result))}
<div class="actions"><a class="button" href="${link('keys/add')}">Add another</a><a class="button" href="${link('keys')}">All keys</a></div></div>`,
  };
}

export function resultCard({ link }: PageContext, result: KeyResult): Html {
  if (result.result === 'refused') {
    const { fingerprint: name, message } = result;
    return html`<section class="card"><p>${word('wrong', 'refused')} ${name !== null && fingerprint(name)}</p><p>${message.slice(0, 1).toUpperCase()}${message.slice(1)}.</p></section>`;
  }
  const { fingerprint: name, userIds, state, expiresAt, warnings } = result;
  return html`<section class="card"><p>${word('good', result.result)} <a href="${link(`keys/${name}`)}">${clip(userIds[0] ?? 'no user ID')}</a></p><p>${fingerprint(name)}</p><p>${state === 'valid' ? word('good', 'in force') : word('wrong', state)} Expires: ${time(expiresAt, 'never')}</p>${warnings.map(({ message }) => html`<p class="note open">${message}</p>`)}</section>`;
}

function retirement(verb: 'retire' | 'unretire'): Page {
  return {
    path: `keys/*/${verb}`,
    roles: ADMINS,
    answer: verb === 'retire' ? askRetire : askUnretire,
    submit: {
      roles: ADMINS,
      async answer({ services, request, rest, link }) {
        const { fingerprint: name } = await services.keys.setRetired(
          rest,
          verb === 'retire',
          actorOf(request),
        );
        return redirect(link(`keys/${name}`, { done: `${verb}d` }));
      },
    },
  };
}

/** How many signatures of this server verified by it, and who may sign by it. */
async function weightOf(
  { services }: PageContext,
  name: string,
): Promise<{ signatures: string; grants: Html }> {
  const signatures = await services.countByKey(name);
  const granted = (await services.signers.listGrants(null)).filter(({ fingerprints }) =>
    fingerprints.includes(name),
  );
  const signers = [...new Set(granted.map(({ signer }) => signer))];
  return {
    signatures:
      signatures === null
        ? 'the signatures that verified by it (the index is being rebuilt, so they cannot be counted now)'
        : count(signatures, 'signature'),
    grants:
      signers.length === 0
        ? html`No signer has a grant for it.`
        : html`${count(granted.length, 'grant')} ${granted.length === 1 ? 'names' : 'name'} it, of the signers ${clip(signers.join(', '), 300)}: they can upload nothing by it.`,
  };
}

async function askRetire(context: PageContext): Promise<Content> {
  const { fingerprint: name, userIds } = await context.services.keys.find(context.rest);
  const { signatures, grants } = await weightOf(context, name);
  return question(context, {
    title: 'Retire this key?',
    consequences: [
      html`<bdi>${clip(userIds[0] ?? 'no user ID')}</bdi> ${fingerprint(name)}`,
      html`New uploads signed by it are refused. Its holder signs with the key that takes its place.`,
      html`What it has signed stays as it is: ${signatures} stored here, which clients go on accepting.`,
      grants,
      html`This can be undone.`,
    ],
    act: 'Retire it',
    back: context.link(`keys/${name}`),
  });
}

async function askUnretire(context: PageContext): Promise<Content> {
  const { fingerprint: name, userIds } = await context.services.keys.find(context.rest);
  return question(context, {
    title: 'Take uploads by this key again?',
    consequences: [
      html`<bdi>${clip(userIds[0] ?? 'no user ID')}</bdi> ${fingerprint(name)}`,
      html`New uploads signed by it are accepted again, as far as grants allow.`,
    ],
    act: 'Take them again',
    back: context.link(`keys/${name}`),
  });
}

async function askRemove(context: PageContext): Promise<Content> {
  const { fingerprint: name, userIds } = await context.services.keys.find(context.rest);
  const { signatures, grants } = await weightOf(context, name);
  return question(context, {
    title: 'Remove this key?',
    consequences: [
      html`<bdi>${clip(userIds[0] ?? 'no user ID')}</bdi> ${fingerprint(name)}`,
      html`${signatures} stored here will no longer count as verified, but as made by an unknown key. They are served as before, so clients that have the key go on accepting them.`,
      html`New uploads signed by it are refused.`,
      grants,
      html`To end its use without that, retire it instead. A removed key can be added again from its file.`,
    ],
    act: 'Remove it',
    back: context.link(`keys/${name}`),
  });
}
