// Signers and their grants: who may sign what, added, disabled and removed here.
import { type Grant, type Signer, unknownGrant } from '../../domain/grant.ts';
import type { SignerDetails } from '../../domain/signer.ts';
import { TOKEN_NAME_FORM } from '../../domain/token.ts';
import { type Html, html } from '../html.ts';
import {
  ADMINS,
  ANYBODY,
  actorOf,
  type Content,
  formToken,
  isOneOf,
  type Page,
  type PageContext,
  redirect,
} from '../page.ts';
import { clip, count, empty, fingerprint, number, time, word } from '../show.ts';
import { done, question, refusedNote, words } from './forms.ts';

export const signers: readonly Page[] = [
  {
    path: 'signers',
    roles: ANYBODY,
    answer: (context) => listSigners(context),
    submit: { roles: ADMINS, answer: addSigner },
  },
  change('disable', askDisable, async ({ services, request, rest }) => {
    await services.signers.setDisabled(rest, true, actorOf(request));
  }),
  change('enable', askEnable, async ({ services, request, rest }) => {
    await services.signers.setDisabled(rest, false, actorOf(request));
  }),
  {
    path: 'signers/*/remove',
    roles: ADMINS,
    answer: askRemove,
    submit: { roles: ADMINS, answer: remove },
  },
  {
    path: 'grants/*/remove',
    roles: ADMINS,
    answer: askRemoveGrant,
    submit: { roles: ADMINS, answer: removeGrant },
  },
  {
    path: 'signers/*',
    roles: ANYBODY,
    answer: (context) => showSigner(context),
    submit: { roles: ADMINS, answer: addGrant },
  },
];

function change(
  verb: 'disable' | 'enable',
  ask: (context: PageContext) => Promise<Content>,
  act: (context: PageContext) => Promise<void>,
): Page {
  return {
    path: `signers/*/${verb}`,
    roles: ADMINS,
    answer: ask,
    submit: {
      roles: ADMINS,
      async answer(context) {
        await act(context);
        return redirect(context.link(`signers/${context.rest}`, { done: `${verb}d` }));
      },
    },
  };
}

const DONE = {
  added: 'The signer is there. It may sign nothing until it has a grant.',
  disabled: 'None of its tokens gives access until it is enabled.',
  enabled: 'Its tokens give access again.',
  removed: 'The signer is gone, its grants with it, and its tokens are revoked.',
  granted: 'The grant is in force.',
  'grant-removed': 'The grant is gone.',
};

interface Listed {
  readonly note?: Html;
  readonly status?: number;
}

async function listSigners(
  context: PageContext,
  { note = done(context, DONE), status = 200 }: Listed = {},
): Promise<Content> {
  const { services, request, link } = context;
  const [all, grants] = [await services.signers.list(), await services.signers.listGrants(null)];
  const isAdmin = isOneOf(request.viewer, ADMINS);
  const rows = all.map((signer) => {
    const own = grants.filter((grant) => grant.signer === signer.name);
    return html`<tr><th scope="row"><a href="${link(`signers/${signer.name}`)}">${signer.name}</a></th><td>${stateWord(signer)}</td><td>${clip(signer.description, 120)}</td><td data-of="May sign">${clip(own.flatMap(({ repositories }) => repositories).join(', ') || 'nothing yet', 160)}</td><td data-of="Added">${time(signer.createdAt)}</td></tr>`;
  });
  const none = empty(
    'No signer yet',
    html`A signer is a person or pipeline that may upload. Its grants say for which repositories, by which keys. Without signers, every token of the role uploader may upload what any registered key has signed.`,
  );
  const form = html`<section class="card"><h2>Add a signer</h2><form class="filters" method="post" action="${link('signers')}">${formToken(request)}
<label>Name<input name="name" value="${clip(request.form.get('name') ?? '', 64)}" required maxlength="64" autocomplete="off" spellcheck="false" title="${TOKEN_NAME_FORM}"></label>
<label>Description<input name="description" value="${clip(request.form.get('description') ?? '', 500)}" maxlength="500" autocomplete="off"></label>
<div class="actions"><button class="first">Add the signer</button></div></form></section>`;
  return {
    title: 'Signers',
    status,
    body: html`<div class="head"><h1>Signers</h1><p class="lead">Who may upload which signatures, by which keys.</p></div>
${note}
${all.length === 0 ? none : html`<div class="tablewrap"><table class="stacks"><thead><tr><th>Name</th><th>State</th><th>Description</th><th>May sign</th><th>Added</th></tr></thead><tbody>${rows}</tbody></table></div>`}
${isAdmin && form}`,
  };
}

function stateWord({ disabledAt }: Signer): Html {
  return disabledAt === null ? word('good', 'enabled') : word('open', 'disabled');
}

async function addSigner(context: PageContext) {
  const { services, request, link } = context;
  const { form } = request;
  const name = (form.get('name') ?? '').trim();
  try {
    await services.signers.add(
      { name, description: (form.get('description') ?? '').trim() },
      actorOf(request),
    );
  } catch (error) {
    const note = refusedNote(error);
    if (note === null) throw error;
    return listSigners(context, { note, status: 422 });
  }
  return redirect(link(`signers/${name}`, { done: 'added' }));
}

async function showSigner(
  context: PageContext,
  { note = done(context, DONE), status = 200 }: Listed = {},
): Promise<Content> {
  const { services, request, rest, link } = context;
  const signer = await services.signers.show(rest);
  const isAdmin = isOneOf(request.viewer, ADMINS);
  const tokenRows = signer.tokens.map(
    ({ name, state, lastUsedAt }) =>
      html`<tr><th scope="row">${name}</th><td>${state === 'valid' ? word('good', 'in force') : word('wrong', state)}</td><td data-of="Last used">${time(lastUsedAt, 'never')}</td></tr>`,
  );
  const subjects = signer.subjects.map(
    ({ issuer, claims }) =>
      html`<li><code>${clip(issuer, 255)}</code> where ${Object.entries(claims).map(([name, value]) => html`<code>${name}=${clip(String(value), 255)}</code> `)}</li>`,
  );
  const toggle = signer.disabledAt === null ? 'disable' : 'enable';
  return {
    title: signer.name,
    status,
    body: html`<div class="head"><p class="crumbs"><a href="${link('signers')}">Signers</a></p><h1>${signer.name}</h1><p>${stateWord(signer)} ${signer.disabledAt !== null && html`since ${time(signer.disabledAt)}`}</p>${signer.description !== '' && html`<p class="lead">${signer.description}</p>`}</div>
${note}
<section class="card"><h2>What it may sign</h2>${grantsTable(context, signer, isAdmin)}</section>
${isAdmin && (await grantForm(context))}
<section class="card"><h2>Its tokens</h2>${tokenRows.length === 0 ? html`<p class="quiet">None. ${isAdmin && html`<a href="${link('tokens')}#new">Make one</a> that names this signer.`}</p>` : html`<div class="tablewrap"><table class="stacks"><thead><tr><th>Name</th><th>State</th><th>Last used</th></tr></thead><tbody>${tokenRows}</tbody></table></div>`}</section>
${subjects.length > 0 && html`<section class="card"><h2>Pipelines that it is, by OIDC</h2><ul class="plain">${subjects}</ul></section>`}
${isAdmin && html`<div class="actions"><a class="button" href="${link(`signers/${signer.name}/${toggle}`)}">${toggle === 'disable' ? 'Disable' : 'Enable'}…</a><a class="button" href="${link(`signers/${signer.name}/remove`)}">Remove…</a></div>`}`,
  };
}

function grantsTable({ link }: PageContext, { grants }: SignerDetails, isAdmin: boolean): Html {
  if (grants.length === 0) return html`<p class="quiet">Nothing: it has no grant.</p>`;
  const rows = grants.map(
    (grant) =>
      html`<tr><th scope="row">${grant.repositories.map((one) => html`<code>${one}</code> `)}</th><td data-of="By">${grant.fingerprints.map((one) => html`<a href="${link(`keys/${one}`)}">${fingerprint(one)}</a> `)}</td><td data-of="Tags">${grant.tags.length === 0 ? 'every reference' : grant.tags.map((one) => html`<code>${one}</code> `)}</td><td>${isAdmin && html`<a href="${link(`grants/${grant.id}/remove`)}" aria-label="Remove grant ${grant.id}">Remove…</a>`}</td></tr>`,
  );
  return html`<div class="tablewrap"><table class="stacks"><thead><tr><th>Repositories</th><th>By the keys</th><th>Tags</th><th><span class="unseen">Change</span></th></tr></thead><tbody>${rows}</tbody></table></div>`;
}

async function grantForm({ services, request, rest, link }: PageContext): Promise<Html> {
  const { form } = request;
  const all = await services.keys.list();
  const chosen = form.getAll('key');
  const choices = all.map(
    ({ fingerprint: name, userIds }) =>
      html`<label class="choice"><input type="checkbox" name="key" value="${name}"${chosen.includes(name) && html` checked`}> <span><bdi>${clip(userIds[0] ?? 'no user ID', 100)}</bdi> <small>${fingerprint(name)}</small></span></label>`,
  );
  return html`<section class="card"><h2>Add a grant</h2><form class="stack" method="post" action="${link(`signers/${rest}`)}">${formToken(request)}
<label>Repositories<input name="repositories" value="${clip(form.get('repositories') ?? '', 1000)}" required maxlength="1000" autocomplete="off" spellcheck="false" placeholder="team/app team/tools/**"></label>
<fieldset><legend>By the keys</legend>${all.length === 0 ? html`<p class="quiet">No key is registered yet: <a href="${link('keys/add')}">add one</a> first.</p>` : html`<div class="choices">${choices}</div>`}</fieldset>
<label>Tags (left empty: every reference)<input name="tags" value="${clip(form.get('tags') ?? '', 1000)}" maxlength="1000" autocomplete="off" spellcheck="false" placeholder="v* latest"></label>
<div class="actions"><button class="first">Add the grant</button></div></form></section>`;
}

async function addGrant(context: PageContext) {
  const { services, request, rest, link } = context;
  const { form } = request;
  const wanted = {
    signer: rest,
    repositories: words(form.get('repositories')),
    keys: form.getAll('key'),
    tags: words(form.get('tags')),
  };
  try {
    await services.signers.addGrant(wanted, actorOf(request));
  } catch (error) {
    const note = refusedNote(error);
    if (note === null) throw error;
    return showSigner(context, { note, status: 422 });
  }
  return redirect(link(`signers/${rest}`, { done: 'granted' }));
}

/** Those of its tokens that give access, with the sessions that they have begun. */
async function liveTokens({ services }: PageContext, { tokens, name }: SignerDetails): Promise<Html> {
  const live = tokens.filter(({ state }) => state === 'valid').map((token) => token.name);
  const sessions = (await services.sessions.list()).filter(({ token }) => live.includes(token));
  const named = live.length === 0 ? '' : `: ${clip(live.join(', '), 400)}`;
  return html`${name} has ${count(live.length, 'token')} in force${named}, with ${count(sessions.length, 'open session')} of these pages.`;
}

async function askDisable(context: PageContext): Promise<Content> {
  const signer = await context.services.signers.show(context.rest);
  return question(context, {
    title: `Disable the signer ${signer.name}?`,
    consequences: [
      html`None of its tokens ${signer.subjects.length > 0 && html`and pipelines `}gives access until it is enabled again.`,
      await liveTokens(context, signer),
      html`Its grants (${number(signer.grants.length)}) stay, and so does all that it has uploaded.`,
    ],
    act: 'Disable it',
    back: context.link(`signers/${signer.name}`),
  });
}

async function askEnable(context: PageContext): Promise<Content> {
  const signer = await context.services.signers.show(context.rest);
  const tokens = signer.tokens.filter(({ state }) => state === 'disabled').map(({ name }) => name);
  return question(context, {
    title: `Enable the signer ${signer.name}?`,
    consequences: [
      html`${count(tokens.length, 'token')} ${tokens.length === 1 ? 'gives' : 'give'} access again${tokens.length > 0 && `: ${clip(tokens.join(', '), 400)}`}.`,
      html`${count(signer.grants.length, 'grant')} ${signer.grants.length === 1 ? 'says' : 'say'} what it may sign.`,
    ],
    act: 'Enable it',
    back: context.link(`signers/${signer.name}`),
  });
}

async function askRemove(context: PageContext): Promise<Content> {
  const signer = await context.services.signers.show(context.rest);
  return question(context, {
    title: `Remove the signer ${signer.name}?`,
    consequences: [
      html`Its tokens are revoked for ever; their names cannot be used again.`,
      await liveTokens(context, signer),
      html`Removed with it: ${count(signer.grants.length, 'grant')}${signer.subjects.length > 0 && ` and ${count(signer.subjects.length, 'OIDC subject')}`}.`,
      html`What it has uploaded stays, and stays verified.`,
    ],
    act: 'Remove it',
    back: context.link(`signers/${signer.name}`),
  });
}

async function remove({ services, request, rest, link }: PageContext) {
  await services.signers.remove(rest, actorOf(request));
  return redirect(link('signers', { done: 'removed' }));
}

/** @throws LookasideError NOT_FOUND */
async function grantAt({ services, rest }: PageContext): Promise<{ grant: Grant; others: number }> {
  const all = await services.signers.listGrants(null);
  const grant = all.find(({ id }) => String(id) === rest);
  if (grant === undefined) throw unknownGrant(/^[0-9]{1,15}$/.test(rest) ? Number(rest) : Number.NaN);
  return { grant, others: all.filter(({ signer }) => signer === grant.signer).length - 1 };
}

async function askRemoveGrant(context: PageContext): Promise<Content> {
  const { grant, others } = await grantAt(context);
  const { signer, repositories, fingerprints, tags } = grant;
  return question(context, {
    title: `Remove this grant of ${signer}?`,
    consequences: [
      html`${signer} can no longer upload for ${repositories.map((one) => html`<code>${one}</code> `)} what ${fingerprints.map((one) => html`${fingerprint(one)} `)} has signed${tags.length > 0 && ` with the tags ${tags.join(', ')}`}, unless another grant covers it.`,
      html`${count(others, 'other grant')} of it ${others === 1 ? 'stays' : 'stay'}${others === 0 && ': it may then sign nothing'}.`,
      html`What it has uploaded stays, and stays verified.`,
    ],
    act: 'Remove it',
    back: context.link(`signers/${signer}`),
  });
}

async function removeGrant(context: PageContext) {
  const { grant } = await grantAt(context);
  await context.services.signers.removeGrant(grant.id, actorOf(context.request));
  return redirect(context.link(`signers/${grant.signer}`, { done: 'grant-removed' }));
}
