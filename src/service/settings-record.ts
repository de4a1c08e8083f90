// Writes down with which settings and which certificate the server started, and which ones came into force by a reload.
import type { NewAuditEvent } from '../domain/audit.ts';
import type { AuditLog, AuditReader, Log } from '../domain/ports.ts';
import { type MakeEvent, SERVER } from './audit.ts';

export interface ShownSetting {
  readonly name: string;
  /** Secrets are not in it. */
  readonly value: string;
  readonly source: string;
}

export interface SettingsRecordOptions {
  readonly audit: Pick<AuditLog, 'append'> &
    Pick<AuditReader, 'lastReason'> & {
      /** Where several nodes write: null, and nothing is written, when another one has written the same meanwhile. */
      appendUnlessLast?(event: NewAuditEvent): Promise<number | null>;
    };
  readonly makeEvent: MakeEvent;
  readonly log: Log;
}

/**
 * Records the settings unless they are what was recorded last: a server that is started again and again must not fill a
 * log that is kept for ever. Never throws: the server serves also where nothing can be written.
 */
export type RecordSettings = (settings: readonly ShownSetting[]) => Promise<void>;

export function createSettingsRecord(options: SettingsRecordOptions): RecordSettings {
  const record = createRecord(options, 'settings', 'the settings in force');
  return (settings) => record(settingsText(settings));
}

/** What clients see of the server when they connect by TLS. */
export interface ShownCertificate {
  /** The SHA-256 of the certificate itself, lower-case hex. */
  readonly sha256: string;
  /** Names that it holds for, as Node.js writes them; null: it has none. */
  readonly names: string | null;
  readonly issuer: string;
  readonly notBefore: Date;
  readonly notAfter: Date;
}

/** As RecordSettings, for the certificate from a start or a reload on: a renewal is an event, a restart with the same one is none. */
export type RecordCertificate = (certificate: ShownCertificate) => Promise<void>;

export function createCertificateRecord(options: SettingsRecordOptions): RecordCertificate {
  const record = createRecord(options, 'certificate', 'the certificate in force');
  return (certificate) => record(JSON.stringify(certificate));
}

/** One after the other: a reload right after the start has to find what the start has written. */
function createRecord(
  { audit, makeEvent, log }: SettingsRecordOptions,
  action: 'settings' | 'certificate',
  what: string,
): (reason: string) => Promise<void> {
  let earlier = Promise.resolve();

  async function recordUnlessLast(reason: string): Promise<void> {
    try {
      if ((await audit.lastReason(action)) === reason) return;
      const event = makeEvent({ action, result: 'in-force', reason }, SERVER);
      await (audit.appendUnlessLast?.(event) ?? audit.append(event));
    } catch (error) {
      log.error(
        { err: error },
        `${what} could not be recorded as an audit event; the next start tries again`,
      );
    }
  }

  return (reason) => {
    earlier = earlier.then(() => recordUnlessLast(reason));
    return earlier;
  };
}

/** JSON as `lookaside config --json` prints it, but those that somebody set come first: who reads the text meets them first. */
function settingsText(settings: readonly ShownSetting[]): string {
  const isSet = ({ source }: ShownSetting) => source !== 'default';
  const ordered = [...settings.filter(isSet), ...settings.filter((setting) => !isSet(setting))];
  return JSON.stringify(
    Object.fromEntries(ordered.map(({ name, value, source }) => [name, { value, source }])),
  );
}
