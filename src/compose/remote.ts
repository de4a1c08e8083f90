// The server that commands talk to, with the contents of the files that the settings name.
import { X509Certificate } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { type Config, type Remote, TOKEN, TOKEN_WANTED, whyUnread } from '../config.ts';
import { LookasideError, systemCode } from '../domain/errors.ts';

/** The named server with the contents of its files; null when none is named. @throws LookasideError CONFIG_INVALID naming the file */
export function readRemote(config: Config): Remote | null {
  const { url, token, tokenFile, hasProxies, called } = config.remote;
  if (url === null) return null;
  return {
    url,
    token: tokenFile === null ? token : readToken(tokenFile, called.tokenFile),
    ca: readCaOf(config),
    hasProxies,
  };
}

/** The certificates of LOOKASIDE_CA beside those of NODE_EXTRA_CA_CERTS; null when it is not set. @throws LookasideError CONFIG_INVALID */
export function readCaOf({ remote: { caFile, nodeCaFile, called } }: Config): string | null {
  return caFile === null ? null : [readCa(caFile, called.caFile), ...readNodeCa(nodeCaFile)].join('\n');
}

function readToken(path: string, called: string): string {
  const text = readNamed(called, path).replace(/\r?\n$/, '');
  if (TOKEN.test(text)) return text;
  const fault =
    text === '' ? 'is empty' : 'holds blanks, several lines or characters that are not plain text';
  throw invalid(`${called}: ${path} ${fault}; ${TOKEN_WANTED}`);
}

/** Read anew each time: whoever writes the file replaces it. @throws LookasideError CONFIG_INVALID */
export function readIdToken(path: string): string {
  return readNamed('LOOKASIDE_ID_TOKEN_FILE', path);
}

const CERTIFICATE = /-----BEGIN CERTIFICATE-----[^-]*-----END CERTIFICATE-----/g;

function readCa(path: string, called: string): string {
  const certificates = readNamed(called, path).match(CERTIFICATE) ?? [];
  if (certificates.length > 0 && certificates.every(isCertificate)) return certificates.join('\n');
  const fault =
    certificates.length === 0 ? 'holds no certificate' : 'holds a certificate that cannot be read';
  throw invalid(`${called}: ${path} ${fault}; wanted one or more in PEM, -----BEGIN CERTIFICATE----- …`);
}

function isCertificate(pem: string): boolean {
  try {
    return new X509Certificate(pem).raw.length > 0;
  } catch {
    return false; // OpenSSL makes nothing of it, in one of many ways
  }
}

/** Empty when the file cannot be read: Node.js has warned about it and goes on without it. */
function readNodeCa(path: string | null): readonly string[] {
  if (path === null) return [];
  try {
    return (readFileSync(path, 'utf8').match(CERTIFICATE) ?? []).filter(isCertificate);
  } catch (error) {
    if (systemCode(error) === null) throw error;
    return [];
  }
}

export function readNamed(setting: string, path: string): string {
  try {
    return readFileSync(path, 'utf8');
  } catch (error) {
    if (systemCode(error) === null) throw error;
    throw new LookasideError('CONFIG_INVALID', `${setting}: cannot read ${path}: ${whyUnread(error)}`, {
      cause: error,
    });
  }
}

function invalid(message: string): LookasideError {
  return new LookasideError('CONFIG_INVALID', message);
}
