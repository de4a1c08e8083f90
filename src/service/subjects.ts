// The OIDC subjects of signers: which tokens of OpenID providers act as which signer.
import { unknownSigner } from '../domain/grant.ts';
import {
  type AddedSubject,
  checkSubject,
  type OidcSubject,
  subjectText,
  unknownSubject,
  type WantedSubject,
} from '../domain/oidc.ts';
import type { Clock, SignerStore, SubjectStore } from '../domain/ports.ts';
import type { Actor, MakeEvent } from './audit.ts';

export interface SubjectServiceOptions {
  readonly subjects: SubjectStore;
  readonly signers: Pick<SignerStore, 'find'>;
  readonly clock: Pick<Clock, 'now'>;
  readonly makeEvent: MakeEvent;
}

/** The changes are durable and in force once they resolve. */
export interface SubjectService {
  /** @throws NOT_FOUND when there is no such signer */
  list(signer: string | null): Promise<readonly OidcSubject[]>;
  /** The same again changes nothing. @throws REQUEST_INVALID, NOT_FOUND when there is no such signer */
  add(wanted: WantedSubject, actor: Actor): Promise<AddedSubject>;
  /** The result is as it was. @throws NOT_FOUND */
  remove(id: number, actor: Actor): Promise<OidcSubject>;
}

export function createSubjectService(options: SubjectServiceOptions): SubjectService {
  const { subjects, clock, makeEvent } = options;
  return {
    list: (signer) => subjectsOf(options, signer),
    async add({ signer, ...wanted }, actor) {
      const subject = { signer, ...checkSubject(wanted), createdAt: clock.now() };
      return subjects.add(subject, makeEvent(subjectAdded(signer, subject), actor));
    },
    async remove(id, actor) {
      const subject = Number.isSafeInteger(id) ? await subjects.find(id) : null;
      if (subject === null) throw unknownSubject(id);
      const reason = `${subject.signer}: ${subjectText(subject)}`;
      const event = makeEvent({ action: 'oidc-remove', result: 'removed', reason }, actor);
      if (!(await subjects.remove(id, event))) throw unknownSubject(id);
      return subject;
    },
  };
}

/** What the audit log says of it. */
export function subjectAdded(signer: string, subject: Pick<OidcSubject, 'issuer' | 'claims'>) {
  return { action: 'oidc-add', result: 'added', reason: `${signer}: ${subjectText(subject)}` } as const;
}

/** As SubjectService.list, for commands that only read. @throws LookasideError NOT_FOUND */
export async function subjectsOf(
  {
    signers,
    subjects,
  }: { readonly signers: Pick<SignerStore, 'find'>; readonly subjects: Pick<SubjectStore, 'list'> },
  signer: string | null,
): Promise<readonly OidcSubject[]> {
  if (signer !== null && (await signers.find(signer)) === null) throw unknownSigner(signer);
  return subjects.list(signer);
}
