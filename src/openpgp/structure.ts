// The structure of untrusted bytes: exactly one inline-signed message and nothing else, or why not. Pure and bounded, it
// runs before all other code.
import type { RefusalCode } from '../domain/errors.ts';
import { MAX_SIGNATURE_BYTES, MAX_UNPACKED_BYTES } from '../domain/limits.ts';
import { whyUnreadable } from '../domain/readable.ts';
import type { Refusal, SignatureForm, Verdict } from '../domain/verdict.ts';
import { readCleartext } from './cleartext.ts';
import { Fields, hex } from './fields.ts';
import { BZIP2, type Packet, TAG, walkPackets } from './packets.ts';
import { type ReadSignature, readSignaturePacket, type UnsupportedSignature } from './signature-packet.ts';
import { unpack } from './unpack.ts';

/** One content and the one signature over it, not verified. */
export interface UntrustedMessage {
  readonly kind: 'message';
  readonly form: SignatureForm;
  readonly signature: ReadSignature | UnsupportedSignature;
  /** The key that it names: a fingerprint (40 or 64) or key ID (16), upper-case hex; null when it names none that we know. */
  readonly issuer: string | null;
  /** What the signature is over, before the line endings of a text signature are made CR LF. */
  readonly content: Uint8Array;
  /** Compressed by bzip2, which some readers are built without. */
  readonly isBzipped: boolean;
}

export interface RefusedStructure {
  readonly kind: 'refused';
  readonly verdict: Extract<Verdict, 'unreadable' | 'unsupported'>;
  /** Null when the bytes have none of the forms. */
  readonly form: SignatureForm | null;
  readonly refusal: Refusal;
}

/** What a message says whose signature is of version 6, which nothing here verifies; null for all others. */
export function untrustedVersion6Content(untrusted: Uint8Array): Uint8Array | null {
  const structure = examineStructure(untrusted);
  if (structure.kind === 'refused') return null;
  const { signature, content } = structure;
  return signature.kind === 'unsupported' && signature.version === 6 ? content : null;
}

const RIGHT_WAY =
  'Expected one binary inline-signed message, as gpg --sign without --armor and skopeo standalone-sign make it';

const NOT_ARMORED =
  'Remove the armour with: gpg --dearmor < in > out; or sign again without it: gpg --sign (no --armor), or skopeo standalone-sign MANIFEST DOCKER-REFERENCE KEY --output out';

/** `untrusted` may be any bytes at all. */
export function examineStructure(untrusted: Uint8Array): UntrustedMessage | RefusedStructure {
  switch (whyUnreadable(untrusted)) {
    case 'empty':
      return refuse('EMPTY', null, `the signature is empty. ${RIGHT_WAY}`);
    case 'too-large':
      return refuse(
        'TOO_LARGE',
        null,
        `the signature has over ${MAX_SIGNATURE_BYTES} bytes, which is the most that clients read`,
      );
    case 'format':
      return refuse(
        'FORMAT_UNSUPPORTED',
        null,
        `the signature begins with a zero byte but no tag that clients know follows, or its data is broken. ${RIGHT_WAY}`,
      );
    case 'first-byte':
      return examineText(untrusted, null) ?? refuseFirstByte(untrusted, null);
    case null:
      return untrusted[0] === 0x00 ? examineTagged(untrusted) : examineMessage(untrusted, 'binary');
  }
}

function examineTagged(untrusted: Uint8Array): UntrustedMessage | RefusedStructure {
  const lineEnd = untrusted.indexOf(0x0a);
  const data = untrusted.subarray(lineEnd + 1);
  if (Buffer.from(untrusted.subarray(1, lineEnd)).equals(COSIGN_TAG)) {
    const message =
      'this is a cosign signature in the tagged form (sigstore-json), which policies of type signedBy do not look at. Store it in the registry beside the image';
    return {
      kind: 'refused',
      verdict: 'unsupported',
      form: 'cosign',
      refusal: { code: 'FORMAT_UNSUPPORTED', message },
    };
  }
  const first = data[0];
  if (first === undefined) {
    return refuse('STRUCTURE_INVALID', 'tagged', `nothing follows the tag simple-signing. ${RIGHT_WAY}`);
  }
  if ((first & 0x80) !== 0) return examineMessage(data, 'tagged');
  return examineCleartext(data) ?? examineText(data, 'tagged') ?? refuseFirstByte(data, 'tagged');
}

const COSIGN_TAG = Buffer.from('sigstore-json');

/** Refuses armour and clear-signed text, also behind blanks or a byte order mark; null for anything else. */
function examineText(untrusted: Uint8Array, form: SignatureForm | null): RefusedStructure | null {
  const start = Buffer.from(untrusted.subarray(0, 1024))
    .toString('utf8')
    .replace(/^[\s\uFEFF]+/, '');
  if (start.startsWith('-----BEGIN PGP SIGNED MESSAGE-----')) {
    return refuse(
      'NOT_INLINE_SIGNED',
      form,
      'the signature is a clear-signed text, which only some clients read, and only behind the tag simple-signing. Sign with gpg --sign instead of --clearsign',
    );
  }
  if (!/^-----BEGIN PGP (?:MESSAGE|SIGNATURE)/.test(start)) return null;
  return refuse('ARMORED', form, `the signature is ASCII-armoured, which no client reads. ${NOT_ARMORED}`);
}

function examineCleartext(data: Uint8Array): UntrustedMessage | RefusedStructure | null {
  const cleartext = readCleartext(data);
  if (cleartext === null) return null;
  return guarded('tagged-cleartext', () => {
    if (typeof cleartext === 'string') throw new MalformedPacket(cleartext);
    if (cleartext.content.length > MAX_UNPACKED_BYTES) throw new TooLargeUnpacked();
    const packets = walkPackets(cleartext.signatures);
    const [only, second] = packets ?? [];
    if (second !== undefined && packets?.every(({ tag }) => tag === TAG.signature)) {
      throw new NotInlineSigned('the text is signed by more than one signer; clients want exactly one');
    }
    if (only?.tag !== TAG.signature || second !== undefined || only.length !== 'whole') {
      throw new MalformedPacket('the armour below the text does not hold one signature packet alone');
    }
    return {
      kind: 'message',
      form: 'tagged-cleartext',
      ...readDocumentSignature(only.body),
      content: cleartext.content,
      isBzipped: false,
    };
  });
}

function examineMessage(untrusted: Uint8Array, form: SignatureForm): UntrustedMessage | RefusedStructure {
  return guarded(form, () => {
    const { packets, isBzipped } = packetsOfMessage(untrusted);
    const [onePass, literal, last] = packets;
    if (isShape(packets, [TAG.onePass, TAG.literal, TAG.signature]) && onePass && literal && last) {
      const signed = readDocumentSignature(last.body);
      checkOnePass(onePass.body, signed);
      return { kind: 'message', form, ...signed, content: contentOf(literal.body), isBzipped };
    }
    throw wrongShape(packets);
  });
}

/** Thrown for what no client reads; the message says why, as part of a sentence. */
class MalformedPacket extends Error {}
class NotInlineSigned extends Error {}
class TooLargeUnpacked extends Error {}

function guarded(form: SignatureForm, examine: () => UntrustedMessage): UntrustedMessage | RefusedStructure {
  try {
    return examine();
  } catch (error) {
    if (error instanceof MalformedPacket) {
      return refuse(
        'STRUCTURE_INVALID',
        form,
        `the signature is not a well-formed message: ${error.message}. ${RIGHT_WAY}`,
      );
    }
    if (error instanceof NotInlineSigned)
      return refuse('NOT_INLINE_SIGNED', form, `${error.message}. ${RIGHT_WAY}`);
    if (error instanceof TooLargeUnpacked) {
      const message = `the signature holds more than ${MAX_UNPACKED_BYTES} bytes of content; a payload has a few hundred`;
      return refuse('DECOMPRESSION_LIMIT', form, message);
    }
    throw error;
  }
}

/** The packets of the message, taken out of the one compressed packet around them if there is one. */
function packetsOfMessage(
  untrusted: Uint8Array,
): Pick<UntrustedMessage, 'isBzipped'> & { packets: readonly Packet[] } {
  const packets = walk(untrusted);
  const [first] = packets;
  if (first?.tag !== TAG.compressed) return { packets, isBzipped: false };
  if (packets.length > 1) throw new MalformedPacket('packets follow the compressed one');
  const inner = walk(contentOfCompressed(first.body));
  if (inner.some(({ tag }) => tag === TAG.compressed)) throw new MalformedPacket('it is compressed twice');
  return { packets: inner, isBzipped: first.body[0] === BZIP2 };
}

function walk(bytes: Uint8Array): readonly Packet[] {
  const packets = walkPackets(bytes);
  if (packets === null) {
    throw new MalformedPacket(
      'it is cut, or something that is not a packet follows its packets (a line feed is enough)',
    );
  }
  // as in gpg, all other packets must give their length
  if (
    packets.some(({ tag, length }) => length !== 'whole' && tag !== TAG.literal && tag !== TAG.compressed)
  ) {
    throw new MalformedPacket(
      'a packet that is neither literal nor compressed data does not give its length',
    );
  }
  return packets;
}

function contentOfCompressed(body: Uint8Array): Uint8Array {
  const unpacked = unpack(body);
  if (typeof unpacked !== 'string') return unpacked.content;
  switch (unpacked) {
    case 'cut':
      throw new MalformedPacket('its compressed data is cut or damaged');
    case 'trailing':
      throw new MalformedPacket('bytes follow its compressed data');
    case 'unknown':
      throw new MalformedPacket(`it is compressed by a method that nobody knows (${body[0]})`);
    case 'too-large':
      throw new TooLargeUnpacked();
  }
}

/** An error that says what the packets are instead of one-pass, literal, signature. */
function wrongShape(packets: readonly Packet[]): Error {
  const count = (tag: number) => packets.filter((packet) => packet.tag === tag).length;
  const signatures = count(TAG.signature);
  if (signatures > 0 && signatures === packets.length) {
    return new NotInlineSigned('the signature is detached: it does not hold the payload that it signs');
  }
  const isSigners = count(TAG.literal) === 1 && signatures + count(TAG.onePass) + 1 === packets.length;
  if (signatures > 1 && isSigners) {
    return new NotInlineSigned(
      `the message has ${signatures} signatures; clients accept exactly one. Store one file for each signer`,
    );
  }
  const tagNames = packets.slice(0, 6).map(({ tag }) => TAG_NAMES.get(tag) ?? `packet of type ${tag}`);
  const more = packets.length > tagNames.length ? ', …' : '';
  return new MalformedPacket(
    `it consists of ${tagNames.join(', ') || 'nothing'}${more}, where one-pass signature, literal data, signature and nothing else belong`,
  );
}

const TAG_NAMES: ReadonlyMap<number, string> = new Map([
  [TAG.signature, 'signature'],
  [TAG.onePass, 'one-pass signature'],
  [TAG.literal, 'literal data'],
  [TAG.compressed, 'compressed data'],
  [1, 'encrypted session key'],
  [3, 'encrypted session key'],
  [TAG.publicKey, 'public key'],
  [9, 'encrypted data'],
  [10, 'marker'],
  [18, 'encrypted data'],
  [21, 'padding'],
]);

type DocumentSignature = Pick<UntrustedMessage, 'signature' | 'issuer'>;

/** Stricter than for certificates: there, a signature that says a thing twice is only one of many. */
function readDocumentSignature(body: Uint8Array): DocumentSignature {
  const signature = readSignaturePacket(body);
  if (signature.kind === 'malformed') throw new MalformedPacket(signature.why);
  const { type } = signature;
  if (type !== null && type > 1) {
    const digits = type.toString(16).padStart(2, '0');
    throw new MalformedPacket(`its signature is of type 0x${digits}, which is not one over a document`);
  }
  if (signature.kind === 'unsupported') {
    return { signature, issuer: signature.issuer === null ? null : hex(signature.issuer) };
  }
  if (signature.repeated !== null) {
    throw new MalformedPacket(`its signature has two hashed subpackets of type ${signature.repeated}`);
  }
  return { signature, issuer: soleIssuer(signature) };
}

/**
 * All subpackets that name the key must name the same one: clients differ in which they follow. Hashed or not, they are
 * hints: the key that they lead to must have made the signature.
 */
function soleIssuer({ issuers }: ReadSignature): string {
  const names = [...new Set(issuers.map(hex))].sort((one, other) => other.length - one.length);
  const [longest, ...others] = names;
  if (longest === undefined) throw new MalformedPacket('its signature does not name the key that made it');
  if (!others.every((name) => name.length === 16 && longest.endsWith(name)) || names.includes('')) {
    throw new MalformedPacket('its signature names more than one key, or none that version 4 knows');
  }
  return longest;
}

function isShape(packets: readonly Packet[], tags: readonly number[]): boolean {
  return packets.length === tags.length && packets.every(({ tag }, index) => tag === tags[index]);
}

/**
 * The one-pass packet must announce what the signature says (RFC 9580, section 5.4). gpg hashes as the one-pass packet
 * says, other readers as the signature says, so they would verify different things.
 */
function checkOnePass(body: Uint8Array, { signature, issuer: named }: DocumentSignature): void {
  const fields = new Fields(body);
  const [version, type, hashAlgorithm, keyAlgorithm] = [
    fields.octet(),
    fields.octet(),
    fields.octet(),
    fields.octet(),
  ];
  const isVersion6 = signature.version === 6;
  if (version !== (isVersion6 ? 6 : 3)) {
    throw new MalformedPacket(
      `its one-pass packet has version ${version}, which does not go with its signature`,
    );
  }
  const says = { type, hashAlgorithm, keyAlgorithm };
  for (const field of ['type', 'hashAlgorithm', 'keyAlgorithm'] as const) {
    if (signature[field] !== null && signature[field] !== says[field]) {
      throw new MalformedPacket(`its one-pass packet and its signature differ in ${FIELD_NAMES[field]}`);
    }
  }
  if (isVersion6) fields.take(fields.octet()); // salt
  const issuer = hex(fields.take(isVersion6 ? 32 : 8));
  if (named?.endsWith(issuer) === false) {
    throw new MalformedPacket(`its one-pass packet names the key ${issuer}, its signature ${named}`);
  }
  if (fields.octet() !== 1) throw new MalformedPacket('its one-pass packet announces another signature');
  if (fields.isCut) throw new MalformedPacket(CUT);
  if (!fields.isAtEnd) throw new MalformedPacket('its one-pass packet is too long');
}

const FIELD_NAMES = {
  type: 'signature type',
  hashAlgorithm: 'hash algorithm',
  keyAlgorithm: 'key algorithm',
};

const CUT = 'one of its packets ends too early';
const LITERAL_FORMATS = 'btu';

function contentOf(literal: Uint8Array): Uint8Array {
  const fields = new Fields(literal);
  const format = String.fromCharCode(fields.octet());
  if (!LITERAL_FORMATS.includes(format))
    throw new MalformedPacket('its literal data is neither binary nor text');
  fields.take(fields.octet()); // file name
  fields.take(4); // date
  if (fields.isCut) throw new MalformedPacket(CUT);
  const content = fields.rest();
  if (content.length > MAX_UNPACKED_BYTES) throw new TooLargeUnpacked();
  return content;
}

function refuse(code: RefusalCode, form: SignatureForm | null, message: string): RefusedStructure {
  return { kind: 'refused', verdict: 'unreadable', form, refusal: { code, message } };
}

const JSON_TEXT =
  'It looks like JSON: a payload that is not signed yet, or what cosign writes, whose signatures belong in the registry. ';

function refuseFirstByte(data: Uint8Array, form: SignatureForm | null): RefusedStructure {
  if (isBase64OfMessage(data)) {
    return refuse(
      'FIRST_BYTE',
      form,
      'the signature is encoded in base64, as a ConfigMap or a Secret holds it, and clients do not decode it. Send what this writes: base64 -d < in > out',
    );
  }
  const first = (data[0] ?? 0).toString(16).padStart(2, '0');
  const isJson = data[0] === 0x7b;
  return refuse(
    'FIRST_BYTE',
    form,
    `the signature begins with the byte 0x${first}, at which clients stop. ${isJson ? JSON_TEXT : ''}${RIGHT_WAY}`,
  );
}

/** Judged by its beginning: it is base64, and no client would stop at the first byte of what it decodes to. */
function isBase64OfMessage(data: Uint8Array): boolean {
  const start = Buffer.from(data.subarray(0, 1024)).toString('latin1').trim();
  if (!/^[A-Za-z0-9+/\s]{8,}={0,2}$/.test(start)) return false;
  return whyUnreadable(Buffer.from(start, 'base64')) === null;
}
