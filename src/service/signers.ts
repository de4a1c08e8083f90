// Signers and their grants: who may upload what, and the decision about each upload.
import type { TestedGrant } from '../domain/administration.ts';
import { LookasideError } from '../domain/errors.ts';
import {
  type AddedGrant,
  checkQuestion,
  decideGrant,
  type Grant,
  type GrantDecision,
  grantLists,
  type Signer,
  unknownGrant,
  unknownSigner,
  type WantedGrant,
} from '../domain/grant.ts';
import type { ImageId } from '../domain/image.ts';
import { checkSubject } from '../domain/oidc.ts';
import type { Clock, GrantStore, KeyStore, SignerStore, SubjectStore } from '../domain/ports.ts';
import { checkSigner, type SignerDetails, type WantedSigner } from '../domain/signer.ts';
import type { ShownToken } from '../domain/token.ts';
import { type Actor, ADMINISTRATOR, type MakeEvent, SERVER } from './audit.ts';
import { findKey } from './keys.ts';
import { subjectAdded } from './subjects.ts';

export interface SignerServiceOptions {
  readonly signers: SignerStore;
  readonly grants: GrantStore;
  readonly subjects: Pick<SubjectStore, 'list'>;
  readonly keys: Pick<KeyStore, 'find' | 'list'>;
  readonly listTokens: () => Promise<readonly ShownToken[]>;
  readonly clock: Pick<Clock, 'now'>;
  readonly makeEvent: MakeEvent;
  /** Whether tokens that no signer binds may upload nothing. */
  readonly requireGrants: () => boolean;
}

/** The changes are durable and in force once they resolve. */
export interface SignerService {
  list(): Promise<readonly Signer[]>;
  /** @throws LookasideError NOT_FOUND */
  show(name: string): Promise<SignerDetails>;
  /** @throws NAME_TAKEN, REQUEST_INVALID */
  add(wanted: WantedSigner, actor: Actor): Promise<Signer>;
  /** A second time changes nothing. @throws NOT_FOUND */
  setDisabled(name: string, isDisabled: boolean, actor: Actor): Promise<Signer>;
  /** Its grants and OIDC subjects go with it and its tokens are revoked; the result is as it was. @throws NOT_FOUND */
  remove(name: string, actor: Actor): Promise<SignerDetails>;
  /** @throws NOT_FOUND when there is no such signer */
  listGrants(signer: string | null): Promise<readonly Grant[]>;
  /** @throws REQUEST_INVALID, NOT_FOUND when there is no such signer or key */
  addGrant(wanted: WantedGrant, actor: Actor): Promise<AddedGrant>;
  /** @throws NOT_FOUND */
  removeGrant(id: number, actor: Actor): Promise<Grant>;
  /** What would be decided about an upload. @throws REQUEST_INVALID, NOT_FOUND when there is no such signer or key */
  test(question: TestedGrant): Promise<GrantDecision>;
  /** The actor as which it may be uploaded: the one that is given, or one of its others. @throws NOT_GRANTED */
  permit(actor: Actor, what: UploadClaim): Promise<Actor>;
}

/** What an upload says it is. */
export interface UploadClaim {
  readonly image: ImageId;
  readonly fingerprint: string | null;
  readonly tag: string | null;
}

/** Names in the audit log that belong to nobody. */
const RESERVED: readonly string[] = [ADMINISTRATOR.name, SERVER.name];

export function createSignerService(options: SignerServiceOptions): SignerService {
  const { signers, grants, clock, makeEvent } = options;

  const show = (name: string) => signerDetails(options, name);

  async function permit(actor: Actor, what: UploadClaim): Promise<Actor> {
    const { others = [], ...first } = actor;
    const refusal = await whyNot(first, what);
    if (refusal === null) return first;
    for (const other of others) if ((await whyNot(other, what)) === null) return other;
    throw refusal;
  }

  async function whyNot(
    actor: Actor,
    { image, fingerprint, tag }: UploadClaim,
  ): Promise<LookasideError | null> {
    if (actor.isAdministrator === true) return null;
    const signer = actor.signer ?? null;
    if (signer === null) return options.requireGrants() ? unbound(actor) : null;
    const question = { signer, repository: image.path, fingerprint, tag };
    const decision = decideGrant(await grants.list(signer), question);
    if (decision.allowed) return null;
    return new LookasideError('NOT_GRANTED', decision.message, {
      detail: { missing: decision.missing, ...question },
    });
  }

  return {
    list: () => signers.list(),
    show,
    async add({ subjects: wantedSubjects = [], ...wanted }, actor) {
      checkSigner(wanted, RESERVED);
      const { name } = wanted;
      const createdAt = clock.now();
      const event = makeEvent({ action: 'signer-add', result: 'added', reason: name }, actor);
      const subjects = wantedSubjects.map((one) => {
        const subject = { signer: name, ...checkSubject(one), createdAt };
        return { subject, event: makeEvent(subjectAdded(name, subject), actor) };
      });
      return signers.add({ ...wanted, createdAt }, event, subjects);
    },
    async setDisabled(name, isDisabled, actor) {
      const event = makeEvent(
        isDisabled
          ? { action: 'signer-disable', result: 'disabled', reason: name }
          : { action: 'signer-enable', result: 'enabled', reason: name },
        actor,
      );
      const signer = await signers.setDisabled(name, isDisabled ? clock.now() : null, event);
      if (signer === null) throw unknownSigner(name);
      return signer;
    },
    async remove(name, actor) {
      const details = await show(name);
      const ended = details.tokens.filter(({ revokedAt }) => revokedAt === null).map((token) => token.name);
      const revoked = ended.length === 0 ? '' : `, and its tokens revoked: ${ended.join(', ')}`;
      const event = makeEvent(
        { action: 'signer-remove', result: 'removed', reason: `${name}${revoked}` },
        actor,
      );
      if (!(await signers.remove(name, clock.now(), event))) throw unknownSigner(name);
      return details;
    },
    listGrants: (signer) => grantsOf(options, signer),
    async addGrant({ signer, repositories, keys, tags }, actor) {
      const registered = await Promise.all(keys.map((name) => findKey(options.keys, name)));
      const lists = grantLists({
        repositories,
        tags,
        fingerprints: registered.map(({ fingerprint }) => fingerprint),
      });
      const event = makeEvent(
        { action: 'grant-add', result: 'added', reason: `${signer}: ${grantText(lists)}` },
        actor,
      );
      return grants.add({ signer, ...lists, createdAt: clock.now() }, event);
    },
    async removeGrant(id, actor) {
      const grant = Number.isSafeInteger(id) ? await grants.find(id) : null;
      if (grant === null) throw unknownGrant(id);
      const reason = `${grant.signer}: ${grantText(grant)}`;
      const event = makeEvent({ action: 'grant-remove', result: 'removed', reason }, actor);
      if (!(await grants.remove(id, event))) throw unknownGrant(id);
      return grant;
    },
    test: (question) => testGrant(options, question),
    permit,
  };
}

type Readable = Pick<SignerServiceOptions, 'listTokens' | 'keys'> & {
  readonly signers: Pick<SignerStore, 'find'>;
  readonly grants: Pick<GrantStore, 'list'>;
  readonly subjects: Pick<SubjectStore, 'list'>;
};

/** As SignerService.show, for commands that only read. */
export async function signerDetails(
  { signers, grants, subjects, listTokens }: Omit<Readable, 'keys'>,
  name: string,
): Promise<SignerDetails> {
  const signer = await signers.find(name);
  if (signer === null) throw unknownSigner(name);
  const tokens = (await listTokens()).filter((token) => token.signer === name);
  return { ...signer, grants: await grants.list(name), subjects: await subjects.list(name), tokens };
}

/** As SignerService.listGrants. */
export async function grantsOf(
  { signers, grants }: Pick<Readable, 'signers' | 'grants'>,
  signer: string | null,
): Promise<readonly Grant[]> {
  if (signer !== null && (await signers.find(signer)) === null) throw unknownSigner(signer);
  return grants.list(signer);
}

/** As SignerService.test. */
export async function testGrant(
  { signers, grants, keys }: Pick<Readable, 'signers' | 'grants' | 'keys'>,
  { key, ...asked }: TestedGrant,
): Promise<GrantDecision> {
  const { fingerprint, retiredAt } = await findKey(keys, key);
  const question = { ...asked, fingerprint };
  checkQuestion(question);
  const signer = await signers.find(asked.signer);
  if (signer === null) throw unknownSigner(asked.signer);
  const decision = decideGrant(await grants.list(asked.signer), question);
  const obstacles = [
    ...(signer.disabledAt === null
      ? []
      : [
          `the signer "${signer.name}" is disabled since ${signer.disabledAt.toISOString()}, so none of its tokens gives access`,
        ]),
    ...(retiredAt === null
      ? []
      : [
          `the key ${fingerprint} is retired since ${retiredAt.toISOString()}, so no new signature by it is taken`,
        ]),
  ];
  if (obstacles.length === 0) return decision;
  return { ...decision, allowed: false, message: `${obstacles.join('; ')}; otherwise: ${decision.message}` };
}

function unbound({ name }: Actor): LookasideError {
  return new LookasideError(
    'NOT_GRANTED',
    `the token "${name}" belongs to no signer, and this server takes uploads of signers alone (LOOKASIDE_REQUIRE_GRANTS); an administrator makes one that does with: lookaside token create --name NAME --signer SIGNER`,
    { detail: { missing: ['signer'], signer: null } },
  );
}

/** For people and the audit log. */
function grantText({
  repositories,
  fingerprints,
  tags,
}: Pick<Grant, 'repositories' | 'fingerprints' | 'tags'>): string {
  const bound = tags.length === 0 ? '' : ` for ${tags.join(', ')}`;
  return `${repositories.join(', ')} by ${fingerprints.join(', ')}${bound}`;
}
