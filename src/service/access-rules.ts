// The document of who may sign what: written, compared with what is here, and brought into force as a whole.
import {
  type AccessChange,
  type AccessPlan,
  type AccessRules,
  type AccessState,
  checkRules,
  type PlanOptions,
  planAccess,
  type RuledKey,
  rulesOf,
  textOfChange,
} from '../domain/access-rules.ts';
import type { NewAuditEvent } from '../domain/audit.ts';
import { LookasideError } from '../domain/errors.ts';
import type { KeyDetails, RegisteredKey } from '../domain/key.ts';
import type {
  AccessStep,
  AccessStore,
  CleanedCertificate,
  Clock,
  GrantStore,
  SignerStore,
  SubjectStore,
  TokenStore,
} from '../domain/ports.ts';
import { type Actor, ADMINISTRATOR, type Deed, type MakeEvent, SERVER } from './audit.ts';
import { type KeyService, retirementOf } from './keys.ts';
import { subjectAdded } from './subjects.ts';

export interface AccessRulesOptions {
  readonly store: AccessStore;
  readonly signers: Pick<SignerStore, 'list'>;
  readonly grants: Pick<GrantStore, 'list'>;
  readonly subjects: Pick<SubjectStore, 'list'>;
  readonly tokens: Pick<TokenStore, 'list'>;
  readonly keys: Pick<KeyService, 'list' | 'armor' | 'whileUnchanged'>;
  readonly makeEvent: MakeEvent;
  readonly clock: Pick<Clock, 'now'>;
  /** Lower-case hex. */
  readonly sha256: (text: string) => string;
}

export interface AccessRulesService {
  /** What is here. */
  export(): Promise<AccessRules>;
  /** What apply() would change. @throws REQUEST_INVALID, KEY_UNUSABLE and other refusals of a certificate */
  plan(rules: AccessRules, options: PlanOptions): Promise<AccessPlan>;
  /**
   * Brings the plan of that id into force in one transaction, with an event for each change. @throws as plan(), and
   * CHANGED_MEANWHILE, without any change, when it would be another plan now
   */
  apply(
    rules: AccessRules,
    options: PlanOptions & { readonly id: string },
    actor: Actor,
  ): Promise<AccessPlan>;
}

type Cleaned = Extract<CleanedCertificate, { kind: 'clean' }>;

interface Planned {
  readonly plan: AccessPlan;
  /** By fingerprint. */
  readonly certificates: ReadonlyMap<string, Cleaned>;
}

const RESERVED: readonly string[] = [ADMINISTRATOR.name, SERVER.name];

export function createAccessRules(options: AccessRulesOptions): AccessRulesService {
  const { store, keys, clock } = options;

  async function stateNow(): Promise<AccessState & { readonly registered: readonly RegisteredKey[] }> {
    const registered = await keys.list();
    return {
      signers: await options.signers.list(),
      grants: await options.grants.list(null),
      subjects: await options.subjects.list(null),
      tokens: await options.tokens.list(),
      keys: registered,
      registered,
    };
  }

  async function makePlan(rules: AccessRules, { prune }: PlanOptions, clean: Clean): Promise<Planned> {
    const checked = checkRules(rules);
    for (const { name } of checked.signers ?? []) refuseReserved(name);
    const state = await stateNow();
    const certificates = new Map<string, Cleaned>();
    const keyChanges: AccessChange[] = [];
    for (const key of checked.keys ?? []) {
      const known = state.registered.find(({ fingerprint }) => fingerprint === key.fingerprint);
      const cleaned = await cleanKey(key, known ?? null, clean);
      if (cleaned === null) continue;
      certificates.set(key.fingerprint, cleaned);
      keyChanges.push({ kind: known === undefined ? 'add-key' : 'update-key', fingerprint: key.fingerprint });
    }
    const plan = planAccess(state, checked, { prune, keyChanges });
    // the bytes of a certificate count as well: what is shown is what is applied
    const bytes = [...certificates.values()].map(({ certificate }) =>
      Buffer.from(certificate).toString('base64'),
    );
    return { plan: { id: options.sha256(JSON.stringify([plan.changes, bytes])), ...plan }, certificates };
  }

  async function applyPlanned(
    { plan, certificates }: Planned,
    actor: Actor,
  ): Promise<readonly (KeyDetails & Pick<RegisteredKey, 'subkeys'>)[]> {
    const parts: StepParts = {
      certificates,
      at: clock.now(),
      event: (deed) => options.makeEvent(deed, actor),
    };
    const steps = plan.changes.map((change) => stepOf(change, parts));
    const before = await keys.list();
    await store.apply(steps);
    return plan.changes.flatMap((change) => {
      // a retirement changes no verdict
      if (!('fingerprint' in change) || isRetirement(change)) return [];
      const details = certificates.get(change.fingerprint)?.details;
      const old = before.find(({ fingerprint }) => fingerprint === change.fingerprint);
      return [details, old].flatMap((one) => (one === undefined ? [] : [one]));
    });
  }

  return {
    async export() {
      const state = await stateNow();
      const certificates = new Map(state.registered.map((key) => [key.fingerprint, keys.armor(key)]));
      return rulesOf(state, certificates);
    },
    plan: (rules, wanted) =>
      keys.whileUnchanged(async (clean) => ({
        result: (await makePlan(rules, wanted, clean)).plan,
        changed: [],
      })),
    apply: (rules, { id, ...wanted }, actor) =>
      keys.whileUnchanged(async (clean) => {
        const planned = await makePlan(rules, wanted, clean);
        if (planned.plan.id !== id) throw changedMeanwhile();
        return { result: planned.plan, changed: await applyPlanned(planned, actor) };
      }),
  };
}

interface StepParts {
  readonly certificates: ReadonlyMap<string, Cleaned>;
  readonly at: Date;
  readonly event: (deed: Deed) => NewAuditEvent;
}

function stepOf(change: AccessChange, { certificates, at, event }: StepParts): AccessStep {
  switch (change.kind) {
    case 'add-key':
    case 'update-key': {
      const { fingerprint } = change;
      const cleaned = certificates.get(fingerprint);
      if (cleaned === undefined) throw new Error(`the plan lacks the certificate of ${fingerprint}`);
      const result = change.kind === 'add-key' ? 'added' : 'updated';
      const key = { ...cleaned.details, certificate: cleaned.certificate };
      return { kind: 'put-key', key, event: event({ action: 'key-add', fingerprint, result }) };
    }
    case 'remove-key': {
      const { fingerprint } = change;
      const removed = event({ action: 'key-remove', fingerprint, result: 'removed' });
      return { kind: 'remove-key', fingerprint, event: removed };
    }
    case 'retire-key':
    case 'unretire-key': {
      const { fingerprint } = change;
      const isRetired = change.kind === 'retire-key';
      const made = event(retirementOf(fingerprint, isRetired));
      return { kind: 'retire-key', fingerprint, isRetired, event: made };
    }
    case 'add-signer': {
      const { signer: name, description } = change;
      const added = event({ action: 'signer-add', result: 'added', reason: name });
      return { kind: 'add-signer', signer: { name, description, createdAt: at }, event: added };
    }
    case 'describe-signer': {
      const { signer, description } = change;
      const reason = `${signer}: ${description}`;
      return {
        kind: 'describe-signer',
        signer,
        description,
        event: event({ action: 'signer-edit', result: 'updated', reason }),
      };
    }
    case 'disable-signer':
    case 'enable-signer': {
      const { signer } = change;
      const isDisabled = change.kind === 'disable-signer';
      const result = isDisabled ? 'disabled' : 'enabled';
      const changed = event({
        action: change.kind === 'disable-signer' ? 'signer-disable' : 'signer-enable',
        result,
        reason: signer,
      });
      return { kind: 'disable-signer', signer, disabledAt: isDisabled ? at : null, event: changed };
    }
    case 'remove-signer': {
      const { signer } = change;
      const removed = event({
        action: 'signer-remove',
        result: 'removed',
        reason: `${signer}, with its grants, OIDC subjects and tokens`,
      });
      return { kind: 'remove-signer', signer, at, event: removed };
    }
    case 'add-grant': {
      const { kind, ...grant } = change;
      const reason = textOfChange(change).replace(/^add grant of /, '');
      return {
        kind,
        grant: { ...grant, createdAt: at },
        event: event({ action: 'grant-add', result: 'added', reason }),
      };
    }
    case 'remove-grant': {
      const reason = textOfChange(change).replace(/^remove grant of /, '');
      return {
        kind: change.kind,
        id: change.id,
        event: event({ action: 'grant-remove', result: 'removed', reason }),
      };
    }
    case 'add-subject': {
      const { kind, ...subject } = change;
      return {
        kind,
        subject: { ...subject, createdAt: at },
        event: event(subjectAdded(subject.signer, subject)),
      };
    }
    case 'remove-subject': {
      const reason = textOfChange(change).replace(/^remove OIDC subject of /, '');
      return {
        kind: change.kind,
        id: change.id,
        event: event({ action: 'oidc-remove', result: 'removed', reason }),
      };
    }
    case 'revoke-token': {
      const revoked = event({ action: 'token-revoke', result: 'revoked', reason: change.token });
      return { kind: change.kind, token: change.token, at, event: revoked };
    }
  }
}

function isRetirement({ kind }: AccessChange): boolean {
  return kind === 'retire-key' || kind === 'unretire-key';
}

type Clean = (untrusted: Uint8Array) => Promise<readonly CleanedCertificate[]>;

/** The certificate as it would be kept; null when the document changes nothing of it. @throws LookasideError */
async function cleanKey(
  { fingerprint, certificate: armored }: RuledKey,
  known: RegisteredKey | null,
  clean: Clean,
): Promise<Cleaned | null> {
  if (armored === null) {
    if (known !== null) return null;
    throw new LookasideError(
      'REQUEST_INVALID',
      `the key ${fingerprint} is not registered, and the document has no certificate of it; add the member certificate, as lookaside key export prints it`,
    );
  }
  const [cleaned, another] = await clean(Buffer.from(armored));
  if (cleaned?.kind === 'refused') {
    throw new LookasideError(cleaned.code, `the certificate of the key ${fingerprint}: ${cleaned.message}`);
  }
  if (cleaned === undefined || another !== undefined || cleaned.details.fingerprint !== fingerprint) {
    const others = another === undefined ? (cleaned?.details.fingerprint ?? 'none') : 'several';
    throw new LookasideError(
      'REQUEST_INVALID',
      `the certificate of the key ${fingerprint} is of another: ${others}`,
    );
  }
  const isSame = known !== null && Buffer.compare(known.certificate, cleaned.certificate) === 0;
  return isSame ? null : cleaned;
}

function refuseReserved(name: string): void {
  if (!RESERVED.includes(name.toLowerCase())) return;
  throw new LookasideError(
    'REQUEST_INVALID',
    `"${name}" stands for another in the audit log; choose another name for the signer`,
  );
}

function changedMeanwhile(): LookasideError {
  return new LookasideError(
    'CHANGED_MEANWHILE',
    'somebody has changed signers, grants, keys or tokens since the plan was made, and nothing was applied; see the new plan, and apply that',
  );
}
