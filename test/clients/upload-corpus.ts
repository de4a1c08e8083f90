// Uploads of every kind, as data: what is sent, what the server answers, and what gpg 2.2 and skopeo 1.9 say of the
// same bytes. Each has a repository of its own for one and the same manifest.
import { deflateRawSync, deflateSync } from 'node:zlib';
import type { ErrorCode } from '../../src/domain/errors.ts';
import type { WarningCode } from '../../src/domain/receipt.ts';
import {
  certificate,
  compressed,
  created,
  issuerFingerprint,
  issuerKeyId,
  literal,
  type MessageOptions,
  message,
  messageParts,
  mpi,
  notation,
  number,
  onePass,
  packet,
  SIGNED_AT,
  signatureBody,
  subpacket,
  type WriterKey,
} from '../openpgp/packet-writer.ts';
import {
  ALGORITHM_SIGNERS,
  BEFORE_SIGNING,
  PRIMARY_STATES,
  type Signer,
  SUBKEY_STATES,
  THIEF,
  UNREGISTERED,
  UNVOUCHED,
} from './upload-signers.ts';

export const GROUPS = [
  'structures',
  'forms',
  'payloads',
  'digests and references',
  'paths',
  'keys',
  'key states',
  'algorithms',
  'versions',
  'sizes',
] as const;
export type Group = (typeof GROUPS)[number];

/** Whether a program takes the bytes: gpg --verify, and skopeo standalone-verify for the image they were sent to. */
export type PeerVerdict = 'good' | 'bad';

export interface Peers {
  readonly gpg: PeerVerdict;
  readonly skopeo: PeerVerdict;
}

/** What a case is about: an image that nobody else has, and the name by which readers pull it. */
export interface Place {
  readonly host: string;
  readonly repository: string;
  /** Host, repository and the tag v1. */
  readonly reference: string;
  /** The digest of the manifest. */
  readonly sha256: string;
  readonly sha384: string;
  readonly sha512: string;
}

/** Those who sign with programs, not packet by packet. */
export interface Programs {
  /** gpg with these options in front of the payload's file; the key's user is named by the options. */
  gpg(content: Uint8Array, ...options: readonly string[]): Promise<Buffer>;
  /** skopeo standalone-sign of the manifest. */
  skopeo(reference: string): Promise<Buffer>;
  /** Who signs by default with both. */
  readonly user: string;
  /** The user ID of a second signer. */
  readonly other: string;
}

export interface Wire {
  readonly requestLine: string;
  readonly lines?: readonly string[];
  /** Whose token goes along: an uploader's by default, null for none. */
  readonly token?: 'uploader' | 'reader' | 'auditor' | 'wrong' | null;
  /** How it is sent; `bearer` by default. */
  readonly scheme?: 'bearer' | 'basic';
  /** In chunks, without saying how many bytes there are. */
  readonly isChunked?: boolean;
}

export interface UploadCase {
  readonly group: Group;
  /** Unique; part of a sentence. */
  readonly what: string;
  readonly make: (place: Place, programs: Programs) => Uint8Array | Promise<Uint8Array>;
  /** The image's folder below the tree, where a reader looks for it; of layout repository with sha256 by default. */
  readonly folder?: (place: Place) => string;
  /** The name of its place, when it shares one with others: they are all refused. */
  readonly shares?: string;
  readonly send?: (place: Place, folder: string) => Wire;
  /** Null: taken. */
  readonly code: ErrorCode | null;
  readonly status: number;
  readonly warnings: readonly WarningCode[];
  /** The registry's name of what is pulled; the place's reference by default. */
  readonly pulledAs?: (place: Place) => string;
  /** Primary fingerprint of who made it, for skopeo and the receipt; null: the user of the programs. */
  readonly fingerprint: string | null;
  readonly peers: Peers;
  /** Why we differ from gpg or skopeo; null where they agree with us, or where the receipt warns of what they say. */
  readonly why: string | null;
  /** The server answers before it has looked at any signature, so that there is no audit event. */
  readonly isAtDoor: boolean;
  /** A reader pulls by it. */
  readonly isPulled: boolean;
}

const BOTH: Peers = { gpg: 'good', skopeo: 'good' };
const NEITHER: Peers = { gpg: 'bad', skopeo: 'bad' };
const GPG_ALONE: Peers = { gpg: 'good', skopeo: 'bad' };
const SKOPEO_ALONE: Peers = { gpg: 'bad', skopeo: 'good' };

type Options = Partial<
  Pick<UploadCase, 'folder' | 'shares' | 'send' | 'warnings' | 'pulledAs' | 'isAtDoor' | 'isPulled'>
> & {
  readonly by?: Signer | null;
  readonly status?: number;
  readonly peers?: Peers;
  readonly why?: string;
};

type Make = UploadCase['make'];
type Row = Omit<UploadCase, 'group'>;

const key = ALGORITHM_SIGNERS.ed25519.key;
const rsa = ALGORITHM_SIGNERS.rsa2048.key;
const stranger = UNREGISTERED.stranger.key;

function row(what: string, make: Make, code: ErrorCode | null, status: number, options: Options): Row {
  const { by = ALGORITHM_SIGNERS.ed25519, warnings = [], why = null } = options;
  const { peers = code === null ? BOTH : NEITHER, isAtDoor = false, isPulled = false } = options;
  const { folder, shares, send, pulledAs } = options;
  return {
    what,
    make,
    code,
    status: options.status ?? status,
    warnings,
    fingerprint: by?.fingerprint ?? null,
    peers,
    why,
    isAtDoor,
    isPulled,
    ...(folder && { folder }),
    ...(shares !== undefined && { shares }),
    ...(send && { send }),
    ...(pulledAs && { pulledAs }),
  };
}

function taken(what: string, make: Make, options: Options = {}): Row {
  return row(what, make, null, 201, options);
}

function refused(what: string, code: ErrorCode, make: Make, options: Options = {}): Row {
  return row(what, make, code, 422, options);
}

// --- payloads

interface Claimed {
  readonly reference?: string;
  readonly digest?: string;
}

/** As skopeo writes it. */
export function payloadFor(place: Place, { reference, digest }: Claimed = {}): Buffer {
  return Buffer.from(
    JSON.stringify({
      critical: {
        identity: { 'docker-reference': reference ?? place.reference },
        image: { 'docker-manifest-digest': digest ?? `sha256:${place.sha256}` },
        type: 'atomic container signature',
      },
      optional: { creator: 'lookaside tests', timestamp: 1_717_243_200 },
    }),
  );
}

const join = (...pieces: readonly (Uint8Array | string)[]) =>
  Buffer.concat(pieces.map((piece) => (typeof piece === 'string' ? Buffer.from(piece) : piece)));

/** A message over the ordinary payload, by the ordinary key or the given one. */
const signed =
  (options: MessageOptions = {}, by: WriterKey = key): Make =>
  (place) =>
    message(by, payloadFor(place), options);

const claiming =
  (claimed: (place: Place) => Claimed): Make =>
  (place) =>
    message(key, payloadFor(place, claimed(place)));

/** A message over what the payload's text is turned into. */
const saying =
  (change: (json: string) => string | Uint8Array): Make =>
  (place) =>
    message(key, Buffer.from(change(payloadFor(place).toString())));

/** Something made of the packets of an ordinary message. */
const built =
  (
    build: (
      parts: ReturnType<typeof messageParts> & { readonly whole: Buffer; readonly payload: Buffer },
    ) => Uint8Array,
  ): Make =>
  (place) => {
    const payload = payloadFor(place);
    const parts = messageParts(key, payload);
    return build({ ...parts, payload, whole: join(parts.onePass, parts.literal, parts.signature) });
  };

/** A message whose signature packet has this body. */
const withBody = (body: (payload: Buffer) => Uint8Array): Make =>
  built((parts) => join(parts.onePass, parts.literal, packet(2, body(parts.payload), 'old')));

const tagged = (data: Uint8Array, name = 'simple-signing') => join(`\0${name}\n`, data);
const marker = packet(10, Buffer.from('PGP'));
const padding = packet(21, Buffer.alloc(20));
const armored = (kind: string, data: Buffer) =>
  `-----BEGIN PGP ${kind}-----\n\n${data.toString('base64').replace(/.{64}/g, '$&\n')}\n-----END PGP ${kind}-----\n`;

// --- structures

const UNSIGNED_AROUND =
  'gpg tells of the signature and passes over what is not signed beside it, which others may take for the content';
const NO_SUCH_MESSAGE =
  'RFC 9580, section 10.3, has no such message, and readers differ in what they take of it';
const ONE_SIGNER = 'readers want exactly one signature; gpg verifies each';
const ONE_PASS =
  'gpg goes by the signature packet here, others by the one-pass packet: they would verify different things';
const AMBIGUOUS = 'it says two things, and readers differ in which they believe';

const lines = (place: Place, end: string) =>
  JSON.stringify(JSON.parse(payloadFor(place).toString()), null, 1).replaceAll('\n', end);

const STRUCTURES: readonly Row[] = [
  taken('one-pass, literal and signature', signed(), { isPulled: true }),
  taken('a literal packet in the old format', signed({ literal: { form: 'old' } })),
  taken('a literal packet with a long length', signed({ literal: { form: 'new-long' } })),
  taken('a literal packet with a file name', signed({ literal: { name: 'payload.json' } })),
  taken('a literal packet for your eyes only', signed({ literal: { name: '_CONSOLE' } })),
  taken('a literal packet of text', signed({ literal: { format: 't' } })),
  taken('a literal packet of UTF-8', signed({ literal: { format: 'u' } })),
  taken('a text signature over one line', signed({ type: 1, literal: { format: 't' } })),
  taken('a literal packet in parts', signed({ literal: { form: 'parts' } })),
  taken('a literal packet of text over several lines', (place) =>
    message(key, Buffer.from(JSON.stringify(JSON.parse(payloadFor(place).toString()), null, 2)), {
      literal: { format: 't' },
    }),
  ),
  taken('a text signature over lines that end in CR LF', (place) =>
    message(key, Buffer.from(lines(place, '\r\n')), { type: 1, literal: { format: 't' } }),
  ),
  taken('a text signature over a line with blanks behind', (place) =>
    message(key, join(payloadFor(place), '  \t '), { type: 1, literal: { format: 't' } }),
  ),
  refused(
    'a text signature over lines that end in LF',
    'SIGNATURE_BAD',
    (place) => message(key, Buffer.from(lines(place, '\n')), { type: 1, literal: { format: 't' } }),
    { peers: BOTH, why: 'gpg hashes the lines as they are, others make them end in CR LF first' },
  ),
  taken('a literal packet with a file name of 255 bytes', signed({ literal: { name: 'n'.repeat(255) } })),
  taken(
    'zip in parts',
    built(({ whole }) => compressed(whole, 'zip', 'parts')),
  ),
  taken('a signature packet in the new format', signed({ signatureForm: 'new' })),
  taken('a signature packet with a long length', signed({ signatureForm: 'new-long' })),
  taken(
    'zip without a length, as gpg writes it',
    built(({ whole }) => compressed(whole)),
    { isPulled: true },
  ),
  taken(
    'zip in the new format',
    built(({ whole }) => compressed(whole, 'zip', 'new')),
  ),
  taken(
    'zlib',
    built(({ whole }) => compressed(whole, 'zlib')),
  ),
  taken(
    'a packet compressed by no method',
    built(({ whole }) => compressed(whole, 'none')),
  ),

  refused(
    'a signature that is detached',
    'NOT_INLINE_SIGNED',
    built(({ signature }) => signature),
  ),
  refused(
    'a detached signature, compressed',
    'NOT_INLINE_SIGNED',
    built(({ signature }) => compressed(signature)),
  ),
  refused(
    'two detached signatures',
    'NOT_INLINE_SIGNED',
    built(({ signature }) => join(signature, signature)),
  ),
  refused(
    'two signers',
    'NOT_INLINE_SIGNED',
    (place) => {
      const payload = payloadFor(place);
      const [one, two] = [messageParts(key, payload), messageParts(rsa, payload)];
      const ahead = onePass(rsa, { nested: 0 });
      return join(ahead, one.onePass, one.literal, one.signature, two.signature);
    },
    { peers: GPG_ALONE, why: ONE_SIGNER },
  ),
  refused('two signatures behind one one-pass packet', 'NOT_INLINE_SIGNED', (place) => {
    const payload = payloadFor(place);
    return join(message(key, payload), messageParts(rsa, payload).signature);
  }),
  refused(
    'a signature ahead of its literal packet, as PGP 2 wrote it',
    'STRUCTURE_INVALID',
    built(({ literal: content, signature }) => join(signature, content)),
    {
      peers: BOTH,
      why: 'readers older than version 5.22 of containers/image and those that are not gpg know one-pass signatures alone',
    },
  ),
  refused(
    'no one-pass packet',
    'STRUCTURE_INVALID',
    built((parts) => compressed(join(parts.literal, parts.signature))),
  ),
  refused(
    'no signature packet',
    'STRUCTURE_INVALID',
    built((parts) => join(parts.onePass, parts.literal)),
  ),
  refused(
    'a one-pass packet alone',
    'STRUCTURE_INVALID',
    built((parts) => parts.onePass),
  ),
  refused(
    'no literal packet',
    'STRUCTURE_INVALID',
    built((parts) => join(parts.onePass, parts.signature)),
  ),
  refused(
    'an unsigned literal packet ahead, compressed',
    'STRUCTURE_INVALID',
    built(({ whole }) => compressed(join(literal(Buffer.from('unsigned')), whole))),
  ),
  refused(
    'an unsigned literal packet behind',
    'STRUCTURE_INVALID',
    built(({ whole }) => join(whole, literal(Buffer.from('unsigned')))),
  ),
  refused(
    'an unsigned literal packet behind the compressed one',
    'STRUCTURE_INVALID',
    built(({ whole }) => join(compressed(whole, 'zip', 'new'), literal(Buffer.from('unsigned')))),
    { peers: BOTH, why: UNSIGNED_AROUND },
  ),
  refused(
    'two literal packets',
    'STRUCTURE_INVALID',
    built((parts) => join(parts.onePass, parts.literal, parts.literal, parts.signature)),
  ),
  refused(
    'a message twice',
    'STRUCTURE_INVALID',
    built(({ whole }) => join(whole, whole)),
  ),
  refused(
    'a line feed behind',
    'STRUCTURE_INVALID',
    built(({ whole }) => join(whole, '\n')),
  ),
  refused(
    'zeros behind',
    'STRUCTURE_INVALID',
    built(({ whole }) => join(whole, Buffer.alloc(3))),
  ),
  refused(
    'random bytes behind',
    'STRUCTURE_INVALID',
    built(({ whole }) => join(whole, Buffer.from('d1c03f5a77', 'hex'))),
    { peers: SKOPEO_ALONE, why: UNSIGNED_AROUND },
  ),
  refused(
    'a marker inside',
    'STRUCTURE_INVALID',
    built((parts) => join(parts.onePass, marker, parts.literal, parts.signature)),
    { peers: BOTH, why: NO_SUCH_MESSAGE },
  ),
  refused(
    'a marker behind',
    'STRUCTURE_INVALID',
    built(({ whole }) => join(whole, marker)),
    { peers: BOTH, why: NO_SUCH_MESSAGE },
  ),
  refused(
    'a marker ahead, compressed',
    'STRUCTURE_INVALID',
    built(({ whole }) => compressed(join(marker, whole))),
    { peers: BOTH, why: NO_SUCH_MESSAGE },
  ),
  refused(
    'padding inside',
    'STRUCTURE_INVALID',
    built((parts) => join(parts.onePass, parts.literal, padding, parts.signature)),
    { peers: BOTH, why: NO_SUCH_MESSAGE },
  ),
  refused(
    'padding behind',
    'STRUCTURE_INVALID',
    built(({ whole }) => join(whole, padding)),
    { peers: BOTH, why: NO_SUCH_MESSAGE },
  ),
  refused(
    'a packet that nobody knows behind',
    'STRUCTURE_INVALID',
    built(({ whole }) => join(whole, packet(60, Buffer.of(1)))),
    { peers: BOTH, why: NO_SUCH_MESSAGE },
  ),
  refused(
    'a user id behind',
    'STRUCTURE_INVALID',
    built(({ whole }) => join(whole, packet(13, Buffer.from('x')))),
    { peers: SKOPEO_ALONE, why: UNSIGNED_AROUND },
  ),
  refused(
    'a certificate behind',
    'STRUCTURE_INVALID',
    built(({ whole }) => join(whole, certificate(key))),
  ),
  refused(
    'two compressed packets',
    'STRUCTURE_INVALID',
    built(({ whole }) => join(compressed(whole, 'zip', 'new'), compressed(whole))),
    { peers: BOTH, why: NO_SUCH_MESSAGE },
  ),
  refused(
    'a message that is compressed twice',
    'STRUCTURE_INVALID',
    built(({ whole }) => compressed(compressed(whole, 'zip', 'new'))),
    { peers: BOTH, why: NO_SUCH_MESSAGE },
  ),
  refused(
    'a compressed message in place of the literal packet',
    'STRUCTURE_INVALID',
    built((parts) => join(parts.onePass, compressed(parts.whole, 'zip', 'new'), parts.signature)),
    { peers: SKOPEO_ALONE, why: NO_SUCH_MESSAGE },
  ),
  refused(
    'a line feed behind, inside the compressed packet',
    'STRUCTURE_INVALID',
    built(({ whole }) => compressed(join(whole, '\n'))),
  ),
  refused(
    'a byte behind the deflated ones',
    'STRUCTURE_INVALID',
    built(({ whole }) => packet(8, join(Buffer.of(1), deflateRawSync(whole), 'x'), 'end')),
    { peers: BOTH, why: NO_SUCH_MESSAGE },
  ),
  refused(
    'a byte behind the checksum of zlib',
    'STRUCTURE_INVALID',
    built(({ whole }) => packet(8, join(Buffer.of(2), deflateSync(whole), 'x'), 'end')),
    { peers: BOTH, why: NO_SUCH_MESSAGE },
  ),
  refused(
    'compressed data that is cut',
    'STRUCTURE_INVALID',
    built(({ whole }) => compressed(whole).subarray(0, -4)),
  ),
  refused('a compression that nobody knows', 'STRUCTURE_INVALID', () => packet(8, Buffer.of(99, 1), 'end')),
  refused('compressed nothing', 'STRUCTURE_INVALID', () => compressed(Buffer.alloc(0))),
  refused('an empty compressed packet', 'STRUCTURE_INVALID', () => packet(8, Buffer.alloc(0), 'end')),
  refused('bytes that are no bzip2', 'STRUCTURE_INVALID', () =>
    packet(8, Buffer.from('\x03BZh9nothing'), 'end'),
  ),
  refused(
    'a message without its last byte',
    'STRUCTURE_INVALID',
    built(({ whole }) => whole.subarray(0, -1)),
  ),
  refused('a signature packet without a length', 'STRUCTURE_INVALID', signed({ signatureForm: 'end' })),
  refused('a signature packet in parts', 'STRUCTURE_INVALID', signed({ signatureForm: 'parts' })),
  refused(
    'a literal packet that is neither binary nor text',
    'STRUCTURE_INVALID',
    signed({ literal: { format: 'x' } }),
    { peers: BOTH, why: NO_SUCH_MESSAGE },
  ),
  refused('a literal packet of the local kind', 'STRUCTURE_INVALID', signed({ literal: { format: 'l' } }), {
    peers: BOTH,
    why: NO_SUCH_MESSAGE,
  }),
  refused(
    'a literal packet that is cut',
    'STRUCTURE_INVALID',
    built((parts) => join(parts.onePass, packet(11, Buffer.from('b\x09abc')), parts.signature)),
  ),

  refused('a one-pass packet of another type', 'STRUCTURE_INVALID', signed({ onePass: { type: 1 } }), {
    peers: BOTH,
    why: ONE_PASS,
  }),
  refused('a one-pass packet of another hash', 'STRUCTURE_INVALID', signed({ onePass: { hash: 'sha512' } })),
  refused(
    'a one-pass packet of another key algorithm',
    'STRUCTURE_INVALID',
    signed({ onePass: { algorithm: 1 } }),
    { peers: BOTH, why: ONE_PASS },
  ),
  refused(
    'a one-pass packet of another key',
    'STRUCTURE_INVALID',
    signed({ onePass: { keyId: rsa.keyId } }),
    { peers: BOTH, why: ONE_PASS },
  ),
  refused(
    'a one-pass packet of no key',
    'STRUCTURE_INVALID',
    signed({ onePass: { keyId: '0'.repeat(16) } }),
    { peers: BOTH, why: ONE_PASS },
  ),
  refused(
    'a one-pass packet that announces another',
    'STRUCTURE_INVALID',
    signed({ onePass: { nested: 0 } }),
    { peers: BOTH, why: ONE_PASS },
  ),
  refused(
    'a one-pass packet of version 6 with a signature of version 4',
    'STRUCTURE_INVALID',
    signed({ onePass: { version: 6 } }),
  ),

  refused('a standalone signature', 'STRUCTURE_INVALID', signed({ type: 2 })),
  refused('a certification in place of a signature', 'STRUCTURE_INVALID', signed({ type: 0x13 })),
  refused('a timestamp signature', 'STRUCTURE_INVALID', signed({ type: 0x40 })),
  refused(
    'a signature without a time',
    'STRUCTURE_INVALID',
    signed({ onlyHashed: [issuerFingerprint(key.fingerprint)] }),
  ),
  refused(
    'a signature whose time is not hashed',
    'STRUCTURE_INVALID',
    signed({ onlyHashed: [issuerFingerprint(key.fingerprint)], unhashed: [created(SIGNED_AT)] }),
  ),
  refused('a signature with two times', 'STRUCTURE_INVALID', signed({ hashed: [created(BEFORE_SIGNING)] }), {
    peers: BOTH,
    why: AMBIGUOUS,
  }),
  refused(
    'a signature with two ends',
    'STRUCTURE_INVALID',
    signed({ hashed: [subpacket(3, number(4e9, 4)), subpacket(3, number(60, 4))] }),
  ),
  refused(
    'a signature that names no key',
    'STRUCTURE_INVALID',
    signed({ onlyHashed: [created(SIGNED_AT)], onlyUnhashed: [] }),
  ),
  refused(
    'a signature that names two keys',
    'STRUCTURE_INVALID',
    signed({ onlyUnhashed: [issuerKeyId(rsa.keyId)] }),
    { peers: BOTH, why: AMBIGUOUS },
  ),
  refused(
    'a signature that names two fingerprints',
    'STRUCTURE_INVALID',
    signed({ unhashed: [issuerFingerprint(rsa.fingerprint)] }),
    { peers: BOTH, why: AMBIGUOUS },
  ),
  refused('an empty subpacket', 'STRUCTURE_INVALID', signed({ hashed: [Buffer.of(0)] })),
  refused(
    'a subpacket that reaches out of its area',
    'STRUCTURE_INVALID',
    signed({ hashed: [Buffer.of(10, 20)] }),
  ),
  refused(
    'a byte behind the numbers of the signature',
    'STRUCTURE_INVALID',
    withBody((payload) => join(signatureBody(key, payload), Buffer.of(0))),
    { peers: BOTH, why: 'gpg does not look at what is left of a signature packet; others refuse it' },
  ),
  refused(
    'an empty signature packet',
    'STRUCTURE_INVALID',
    withBody(() => Buffer.alloc(0)),
  ),
  refused(
    'a number of 8193 bits',
    'STRUCTURE_INVALID',
    signed({ numbers: () => join(number(8193, 2), Buffer.alloc(1025, 1), number(0, 2)) }),
  ),
  refused(
    'a signature packet of more than 16 KiB',
    'STRUCTURE_INVALID',
    signed({ unhashed: [notation('a@b', 'x'.repeat(17_000), false)] }),
  ),
];

// --- forms

const NEVER_REACHES_GPG = 'readers look at the first byte before they ask gpg, and stop at text';

const TEXT_SIGNED = ['--clearsign'] as const;
const user = (programs: Programs, ...options: readonly string[]) => [
  '--local-user',
  programs.user,
  ...options,
];
const byGpg =
  (...options: readonly string[]): Make =>
  (place, programs) =>
    programs.gpg(payloadFor(place), ...user(programs, ...options));
const BY_USER: Options = { by: null };

const FORMS: readonly Row[] = [
  taken('what skopeo standalone-sign makes', (place, programs) => programs.skopeo(place.reference), {
    ...BY_USER,
    isPulled: true,
  }),
  taken('what gpg --sign makes', byGpg('--sign'), { ...BY_USER, isPulled: true }),
  taken('what gpg --sign makes without compression', byGpg('-z0', '--sign'), BY_USER),
  taken('what gpg --sign makes with zlib', byGpg('--compress-algo', 'zlib', '--sign'), BY_USER),
  taken('what gpg --sign makes with bzip2', byGpg('--compress-algo', 'bzip2', '--sign'), {
    ...BY_USER,
    isPulled: true,
  }),
  taken('what gpg --sign makes of text', byGpg('--textmode', '--sign'), BY_USER),
  taken('what gpg --sign makes over SHA-512', byGpg('--digest-algo', 'SHA512', '--sign'), BY_USER),
  taken('what gpg --sign makes with a notation', byGpg('--sig-notation', 'a@b.invalid=c', '--sign'), BY_USER),
  taken(
    'the tagged form',
    built(({ whole }) => tagged(whole)),
    { isPulled: true },
  ),
  taken(
    'the tagged form of a compressed message',
    built(({ whole }) => tagged(compressed(whole))),
  ),

  refused('nothing', 'EMPTY', () => Buffer.alloc(0)),
  refused('HTML', 'FIRST_BYTE', () => Buffer.from('<!DOCTYPE html><title>404</title>')),
  refused('a bare payload', 'FIRST_BYTE', (place) => payloadFor(place)),
  refused(
    'a line feed ahead',
    'FIRST_BYTE',
    built(({ whole }) => join('\n', whole)),
  ),
  refused(
    'a marker ahead',
    'FIRST_BYTE',
    built(({ whole }) => join(marker, whole)),
    { peers: BOTH, why: 'readers look at the first byte before they ask gpg, and stop at a marker' },
  ),
  refused(
    'an unsigned literal packet',
    'FIRST_BYTE',
    built((parts) => parts.literal),
  ),
  refused(
    'an unsigned literal packet ahead',
    'FIRST_BYTE',
    built((parts) => join(literal(Buffer.from('x')), parts.whole)),
  ),
  refused(
    'a one-pass packet with a long length',
    'FIRST_BYTE',
    built((parts) => {
      const body = parts.onePass.subarray(2);
      return join(packet(4, body, 'end'), parts.literal, parts.signature);
    }),
  ),
  refused('a certificate', 'FIRST_BYTE', () => certificate(key)),
  refused('a signature that is encrypted', 'FIRST_BYTE', (place, programs) =>
    programs.gpg(payloadFor(place), ...user(programs, '--passphrase', 'x', '--sign', '--symmetric')),
  ),
  refused('what gpg --sign --armor makes', 'ARMORED', byGpg('--armor', '--sign'), {
    ...BY_USER,
    peers: BOTH,
    why: NEVER_REACHES_GPG,
  }),
  refused('what gpg --detach-sign --armor makes', 'ARMORED', byGpg('--armor', '--detach-sign'), BY_USER),
  refused(
    'armour behind blanks',
    'ARMORED',
    built(({ whole }) => join(' \r\n', armored('MESSAGE', whole))),
  ),
  refused(
    'armour behind a byte order mark',
    'ARMORED',
    built(({ whole }) => join('\ufeff', armored('MESSAGE', whole))),
  ),
  refused(
    'armour in the tagged form',
    'ARMORED',
    built(({ whole }) => tagged(join(armored('MESSAGE', whole)))),
    { peers: BOTH, why: 'readers that verify without gpg take binary messages alone' },
  ),
  refused('what gpg --detach-sign makes', 'NOT_INLINE_SIGNED', byGpg('--detach-sign'), BY_USER),
  refused('what gpg --clearsign makes', 'NOT_INLINE_SIGNED', byGpg(...TEXT_SIGNED), {
    ...BY_USER,
    peers: BOTH,
    why: NEVER_REACHES_GPG,
  }),
  refused(
    'clear-signed text in the tagged form, as Fedora CoreOS has it',
    'NOT_INLINE_SIGNED',
    async (place, programs) =>
      tagged(await programs.gpg(payloadFor(place), ...user(programs, ...TEXT_SIGNED))),
    { ...BY_USER, peers: BOTH, why: 'readers that verify without gpg, OpenShift and Pulp cannot read it' },
  ),
  refused(
    'what gpg --sign makes for two users',
    'NOT_INLINE_SIGNED',
    (place, programs) =>
      programs.gpg(payloadFor(place), ...user(programs, '--local-user', programs.other, '--sign')),
    { ...BY_USER, peers: GPG_ALONE, why: ONE_SIGNER },
  ),
  refused(
    'a tag that nobody knows',
    'FORMAT_UNSUPPORTED',
    built(({ whole }) => tagged(whole, 'other')),
  ),
  refused('a zero byte alone', 'FORMAT_UNSUPPORTED', () => Buffer.of(0)),
  refused('a tag without a line feed', 'FORMAT_UNSUPPORTED', () => Buffer.from('\0simple-signing')),
  refused('a cosign signature', 'FORMAT_UNSUPPORTED', () =>
    tagged(Buffer.from('{"mimeType":"application/json","payload":"e30=","annotations":{}}'), 'sigstore-json'),
  ),
  refused(
    'a message behind the tag of cosign',
    'FORMAT_UNSUPPORTED',
    built(({ whole }) => tagged(whole, 'sigstore-json')),
  ),
  refused('a tag with nothing behind it', 'STRUCTURE_INVALID', () => tagged(Buffer.alloc(0))),
  refused('a tag with text behind it', 'FIRST_BYTE', () => tagged(Buffer.from('text'))),
  refused(
    'a tag behind the tag',
    'FIRST_BYTE',
    built(({ whole }) => tagged(tagged(whole))),
  ),
  refused('the byte that readers let through by a slip', 'STRUCTURE_INVALID', () => Buffer.from('=93')),
];

// --- payloads

const BOUNDED = 'a bound of ours; real payloads have three levels and two members';
const GPG_SEES_NO_PAYLOAD = 'gpg does not look into the content';
const badPayload = (what: string, change: (json: string) => string | Uint8Array, options: Options = {}) =>
  refused(what, 'PAYLOAD_INVALID', saying(change), {
    peers: GPG_ALONE,
    why: GPG_SEES_NO_PAYLOAD,
    ...options,
  });
const goodPayload = (what: string, change: (json: string) => string | Uint8Array, options: Options = {}) =>
  taken(what, saying(change), options);
const replaced = (from: string | RegExp, to: string) => (json: string) => json.replace(from, to);
const optional = (text: string) => replaced(/"optional":\{[^}]*\}/, `"optional":${text}`);
const nested = (depth: number) => `{"a":${'['.repeat(depth)}${']'.repeat(depth)}}`;
const manyMembers = (count: number) =>
  `{${Array.from({ length: count }, (_, index) => `"m${index}":0`).join()}}`;
const DIGEST_NAME = '"docker-manifest-digest"';

const PAYLOADS: readonly Row[] = [
  goodPayload('a payload without a creator and a timestamp', optional('{}')),
  goodPayload(
    'a payload with a timestamp of a whole number in scientific notation',
    optional('{"timestamp":1.5e9}'),
  ),
  goodPayload('a payload with a negative timestamp', optional('{"timestamp":-1}')),
  goodPayload(
    'a payload with a member in optional that nobody knows',
    optional('{"build":{"id":[1,null,true]}}'),
  ),
  goodPayload('a payload with blanks around it', (json) => ` \t\r\n${json}\n`),
  goodPayload('a payload with blanks in it', (json) => JSON.stringify(JSON.parse(json), null, 2)),
  goodPayload('a payload with escaped names', replaced('"critical"', '"\\u0063ritical"')),
  goodPayload('a payload with an escaped slash in the reference', replaced('/corpus', '\\/corpus')),
  goodPayload('a payload with its members in another order', (json) => {
    const { critical, optional: rest } = JSON.parse(json);
    return JSON.stringify({
      optional: rest,
      critical: { type: critical.type, image: critical.image, identity: critical.identity },
    });
  }),
  goodPayload('a payload with a member of optional without a name', optional('{"":1}')),
  goodPayload('a payload with a member twice deep in optional', optional('{"x":{"a":1,"a":2}}')),
  goodPayload('a payload nested as deep as is taken', optional(nested(29))),
  goodPayload('a payload with 256 members in optional', optional(manyMembers(256))),
  goodPayload('a payload with a creator of 1 KiB', optional(`{"creator":"${'c'.repeat(1024)}"}`)),
  goodPayload('a payload with a creator of many languages', optional('{"creator":"строитель 构建 🐳"}')),

  // Go reads U+FFFD in its place, and so do podman and skopeo
  goodPayload('a payload with half of a surrogate pair', replaced('tests', '\\ud800'), { isPulled: true }),
  goodPayload('a payload with half of a surrogate pair in a name', optional('{"\\ud800":1}')),
  goodPayload(
    'a payload with members deep in optional that are halves of a surrogate pair',
    optional('{"x":{"\\ud800":1,"\\udc00":2}}'),
  ),
  goodPayload(
    'a payload with bytes that are no UTF-8',
    (json) => Buffer.from(json.replace('tests', 'test\u00ff'), 'latin1'),
    { isPulled: true },
  ),
  goodPayload('a payload with a name that is no UTF-8', (json) =>
    Buffer.from(optional('{"\u00ff":1}')(json), 'latin1'),
  ),

  badPayload('a payload of nothing', () => ''),
  badPayload('a payload of an empty object', () => '{}'),
  badPayload('a payload of an array', (json) => `[${json}]`),
  badPayload('a payload of null', () => 'null'),
  badPayload('a payload of text', () => 'signed by alice, promise'),
  badPayload('a payload that is cut', (json) => json.slice(0, -1)),
  badPayload('a payload with something behind it', (json) => `${json}x`),
  badPayload('a payload with another behind it', (json) => json + json),
  badPayload('a payload with a byte order mark', (json) => `\ufeff${json}`),
  badPayload('a payload in UTF-16', (json) => Buffer.from(json, 'utf16le')),
  badPayload('a payload with a control character', replaced('tests', '\u0001')),
  badPayload('a payload with a comment', (json) => `${json}// x`),
  badPayload('a payload with a comma too many', replaced(/\}$/, ',}')),
  badPayload('a payload with single quotes', (json) => json.replaceAll('"', "'")),
  badPayload('a payload with critical twice', (json) =>
    json.replace(/^\{(.*),"optional/, '{$1,$1,"optional'),
  ),
  badPayload('a payload with critical twice, once escaped', (json) =>
    json.replace(/^\{"critical"(.*),"optional/, '{"critical"$1,"critic\\u0061l"$1,"optional'),
  ),
  badPayload('a payload with two digests', (json) => {
    const image = /"docker-manifest-digest":"[^"]*"/.exec(json)?.[0] ?? '';
    return json.replace(image, `${image},${image}`);
  }),
  badPayload('a payload with two references', (json) => {
    const identity = /"docker-reference":"[^"]*"/.exec(json)?.[0] ?? '';
    return json.replace(identity, `${identity},${identity}`);
  }),
  badPayload('a payload with optional twice', replaced(/"optional"/, '"optional":{},"optional"')),
  badPayload('a payload with the creator twice', optional('{"creator":"a","creator":"b"}')),
  badPayload(
    'a payload with two members of optional that are halves of a surrogate pair',
    optional('{"\\ud800":1,"\\udc00":2}'),
  ),
  badPayload(
    'a payload with a member that is half of a surrogate pair and one that is U+FFFD',
    optional('{"\\ud800":1,"\\ufffd":2}'),
  ),
  badPayload('a payload with two members of optional that are no UTF-8', (json) =>
    Buffer.from(optional('{"\u00fe":1,"\u00ff":2}')(json), 'latin1'),
  ),
  badPayload('a payload with a member cut short in UTF-8 and one of as many U+FFFD', (json) =>
    Buffer.from(optional('{"\u00e2\u0082":1,"\\ufffd\\ufffd":2}')(json), 'latin1'),
  ),
  badPayload(
    'a payload of a type with half of a surrogate pair',
    replaced('atomic container', 'atomic\\ud800container'),
  ),
  badPayload(
    'a payload with a name with half of a surrogate pair in critical',
    replaced('"identity"', '"identity\\ud800"'),
  ),
  badPayload('a payload with a byte behind it that is no UTF-8', (json) =>
    Buffer.from(`${json}\u00ff`, 'latin1'),
  ),
  badPayload('a payload with a member that nobody knows', replaced(/\}$/, ',"more":1}')),
  badPayload(
    'a payload with a member in critical that nobody knows',
    replaced('"critical":{', '"critical":{"more":1,'),
  ),
  badPayload(
    'a payload with a member in image that nobody knows',
    replaced('"image":{', '"image":{"more":1,'),
  ),
  badPayload(
    'a payload with a member in identity that nobody knows',
    replaced('"identity":{', '"identity":{"more":1,'),
  ),
  badPayload('a payload with names in capitals', replaced('"critical"', '"Critical"')),
  badPayload('a payload without optional', replaced(/,"optional":\{[^}]*\}/, '')),
  badPayload('a payload with optional of null', optional('null')),
  badPayload('a payload with optional of a list', optional('[]')),
  badPayload('a payload without critical', replaced(/"critical":.*,"optional/, '"optional')),
  badPayload('a payload without a type', replaced(',"type":"atomic container signature"', '')),
  badPayload(
    'a payload of another type',
    replaced('atomic container signature', 'atomic container Signature'),
  ),
  badPayload(
    'a payload of cosign',
    replaced('atomic container signature', 'cosign container image signature'),
  ),
  badPayload(
    'a payload whose type is a list',
    replaced('"atomic container signature"', '["atomic container signature"]'),
  ),
  badPayload('a payload without a digest', replaced(/"docker-manifest-digest":"[^"]*"/, '')),
  badPayload(
    'a payload whose digest is a list',
    replaced(/"docker-manifest-digest":("[^"]*")/, `${DIGEST_NAME}:[$1]`),
  ),
  badPayload(
    'a payload whose digest is null',
    replaced(/"docker-manifest-digest":("[^"]*")/, `${DIGEST_NAME}:null`),
  ),
  badPayload('a payload without a reference', replaced(/"docker-reference":"[^"]*"/, '')),
  badPayload(
    'a payload whose reference is a number',
    replaced(/"docker-reference":"[^"]*"/, '"docker-reference":1'),
  ),
  badPayload('a payload whose creator is a number', optional('{"creator":1}')),
  badPayload('a payload whose creator is null', optional('{"creator":null}'), {
    peers: BOTH,
    why: 'the format wants a string, and other readers do',
  }),
  badPayload('a payload whose timestamp is text', optional('{"timestamp":"1"}')),
  badPayload('a payload whose timestamp has a fraction', optional('{"timestamp":1.5}')),
  badPayload('a payload whose timestamp is beyond 64 bits', optional('{"timestamp":1e19}')),
  badPayload('a payload with a number beyond a double', optional('{"n":1e999}')),
  badPayload('a payload with a number that begins with zero', optional('{"n":01}')),
  badPayload('a payload with NaN', optional('{"n":NaN}')),
  badPayload('a payload nested deeper than 32', optional(nested(31)), { peers: BOTH, why: BOUNDED }),
  badPayload('a payload with 257 members in optional', optional(manyMembers(257)), {
    peers: BOTH,
    why: BOUNDED,
  }),
  badPayload('a payload with a creator over 1 KiB', optional(`{"creator":"${'c'.repeat(1025)}"}`), {
    peers: BOTH,
    why: BOUNDED,
  }),
];

// --- digests and references

const sha512Folder = ({ repository, sha512 }: Place) => `${repository}@sha512=${sha512}`;
const under =
  (repository: string) =>
  ({ sha256 }: Place) =>
    `${repository}@sha256=${sha256}`;
const releaseFolder = ({ repository, sha256 }: Place) => `release/${repository}/sha256=${sha256}`;

type Texts = readonly (readonly [what: string, text: (place: Place) => string])[];

function wrongDigests(code: ErrorCode, texts: Texts): readonly Row[] {
  return texts.map(([what, text]) =>
    refused(
      what,
      code,
      claiming((place) => ({ digest: text(place) })),
      { peers: GPG_ALONE, why: GPG_SEES_NO_PAYLOAD },
    ),
  );
}

function wrongReferences(code: ErrorCode, texts: Texts): readonly Row[] {
  return texts.map(([what, text]) =>
    refused(
      what,
      code,
      claiming((place) => ({ reference: text(place) })),
      { peers: GPG_ALONE, why: GPG_SEES_NO_PAYLOAD },
    ),
  );
}

const DIGESTS: readonly Row[] = [
  taken(
    'a sha512 digest',
    claiming(({ sha512 }) => ({ digest: `sha512:${sha512}` })),
    {
      folder: sha512Folder,
      warnings: ['SHA512_DIGEST'],
      peers: GPG_ALONE,
    },
  ),
  taken(
    'a sha384 digest',
    claiming(({ sha384 }) => ({ digest: `sha384:${sha384}` })),
    {
      folder: ({ repository, sha384 }) => `${repository}@sha384=${sha384}`,
      warnings: ['SHA512_DIGEST'],
      peers: GPG_ALONE,
    },
  ),
  taken('the release layout, which has no repository', signed(), {
    folder: releaseFolder,
    warnings: ['OPENSHIFT_KEY'], // by Ed25519, which OpenShift does not read
  }),
  taken(
    'a reference without a tag',
    claiming(({ host, repository }) => ({ reference: `${host}/${repository}` })),
    {
      warnings: ['REFERENCE_WITHOUT_TAG'],
      pulledAs: ({ host, repository }) => `${host}/${repository}`,
    },
  ),
  taken(
    'a reference with a digest',
    claiming((place) => ({ reference: byDigest(place) })),
    {
      warnings: ['REFERENCE_WITHOUT_TAG'],
      pulledAs: byDigest,
    },
  ),
  taken(
    'a reference with a tag and a digest',
    claiming((place) => ({ reference: `${place.reference}@sha256:${place.sha256}` })),
    {
      pulledAs: (place) => `${place.reference}@sha256:${place.sha256}`,
    },
  ),
  taken(
    'a reference of another registry with the same repository',
    claiming(({ repository }) => ({ reference: `quay.example:443/${repository}:v2` })),
    {
      pulledAs: ({ repository }) => `quay.example:443/${repository}:v2`,
    },
  ),
  taken(
    'a reference without a registry, which is Docker Hub',
    claiming(({ repository }) => ({ reference: `${repository}:v1` })),
    {
      pulledAs: ({ repository }) => `docker.io/${repository}:v1`,
    },
  ),
  taken(
    'a reference of an official image',
    claiming(() => ({ reference: 'busybox:1.36' })),
    {
      folder: under('library/busybox'),
      pulledAs: () => 'docker.io/library/busybox:1.36',
    },
  ),
  taken(
    'a reference of the old name of Docker Hub',
    claiming(() => ({ reference: 'index.docker.io/alpine:3' })),
    {
      folder: under('library/alpine'),
      pulledAs: () => 'docker.io/library/alpine:3',
    },
  ),
  taken(
    'a reference of localhost',
    claiming(() => ({ reference: 'localhost/corpus/local:v1' })),
    {
      folder: under('corpus/local'),
      pulledAs: () => 'localhost/corpus/local:v1',
    },
  ),
  taken(
    'a reference of an address of version 6',
    claiming(() => ({ reference: '[::1]:5000/corpus/six:v1' })),
    {
      folder: under('corpus/six'),
      pulledAs: () => '[::1]:5000/corpus/six:v1',
      peers: GPG_ALONE,
      why: 'skopeo 1.9 has a grammar from before domains of version 6, and newer ones have them',
    },
  ),
  taken(
    'a tag of 128 characters',
    claiming(({ host, repository }) => ({ reference: `${host}/${repository}:${'t'.repeat(128)}` })),
    {
      pulledAs: ({ host, repository }) => `${host}/${repository}:${'t'.repeat(128)}`,
    },
  ),

  ...wrongDigests('DIGEST_MISMATCH', [
    ['the digest of another manifest', () => `sha256:${'0'.repeat(64)}`],
    ['a sha512 digest under a sha256 path', ({ sha512 }) => `sha512:${sha512}`],
  ]),
  refused('a sha256 digest under a sha512 path', 'DIGEST_MISMATCH', signed(), {
    folder: sha512Folder,
    peers: BOTH,
    why: 'readers look for it under the digest that it names; the peers are given the manifest and see no path',
  }),
  ...wrongDigests('PAYLOAD_INVALID', [
    ['a digest in capitals', ({ sha256 }) => `sha256:${sha256.toUpperCase()}`],
    ['a digest without its algorithm', ({ sha256 }) => sha256],
    ['a digest of a length that is none', ({ sha256 }) => `sha256:${sha256.slice(1)}`],
    ['an MD5 digest', () => `md5:${'0'.repeat(32)}`],
    ['a digest of nothing', () => ''],
    ['a digest with half of a surrogate pair', ({ sha256 }) => `sha256:${sha256.slice(1)}\ud800`],
    ['a digest that leads elsewhere', () => 'sha256:../../etc'],
  ]),

  ...wrongReferences('REPOSITORY_MISMATCH', [
    ['a reference of another repository', ({ host }) => `${host}/corpus/other:v1`],
    ['a reference of a repository below', ({ host, repository }) => `${host}/${repository}/below:v1`],
    ['a reference of the repository above', ({ host }) => `${host}/corpus:v1`],
    [
      'a reference of a repository that begins the same',
      ({ host, repository }) => `${host}/${repository}2:v1`,
    ],
    ['a reference whose registry is taken for a folder', ({ repository }) => `registry/${repository}:v1`],
  ]),

  ...wrongReferences('REFERENCE_INVALID', [
    ['an empty reference', () => ''],
    ['a reference in capitals', ({ host, repository }) => `${host}/${repository.toUpperCase()}:v1`],
    ['a reference with a scheme', ({ reference }) => `docker://${reference}`],
    ['a reference with half of a surrogate pair', ({ host, repository }) => `${host}/${repository}\ud800:v1`],
    ['a reference with blanks', ({ reference }) => ` ${reference}`],
    ['a reference with an empty tag', ({ host, repository }) => `${host}/${repository}:`],
    ['a tag of 129 characters', ({ host, repository }) => `${host}/${repository}:${'t'.repeat(129)}`],
    ['a reference that leads elsewhere', ({ host }) => `${host}/../corpus:v1`],
    ['a reference with a slash at the end', ({ host, repository }) => `${host}/${repository}/`],
    ['a reference that is an image ID', () => 'a'.repeat(64)],
    ['a reference whose digest is none', ({ reference }) => `${reference}@sha256:abc`],
    ['a reference of a registry with an underscore', ({ repository }) => `my_host.local/${repository}:v1`],
    ['a name of more than 255 characters', ({ host }) => `${host}/${'a'.repeat(255)}:v1`],
  ]),
];

function byDigest({ host, repository, sha256 }: Place): string {
  return `${host}/${repository}@sha256:${sha256}`;
}

// --- paths and requests

const DEEP = Array.from({ length: 20 }, (_, index) => `d${index}`).join('/');
const LONG = 'a'.repeat(200);

const line = (method: string, target: string): Wire => ({ requestLine: `${method} ${target}` });
const NOT_THE_BYTES = 'the bytes are right; it is the request that is not';

/** A right signature that is sent somewhere else. */
const elsewhere = (
  what: string,
  code: ErrorCode,
  status: number,
  send: (place: Place, folder: string) => Wire,
) =>
  refused(what, code, signed(), {
    status,
    send,
    shares: 'elsewhere',
    isAtDoor: true,
    peers: BOTH,
    why: NOT_THE_BYTES,
  });
const wrongPath = (what: string, target: (folder: string, place: Place) => string) =>
  elsewhere(what, 'PATH_INVALID', 400, (place, folder) => line('PUT', target(folder, place)));
const rightPath = (what: string, send: (folder: string) => Wire) =>
  taken(what, signed(), { send: (_, folder) => send(folder) });

const PATHS: readonly Row[] = [
  rightPath('PUT to signature-1', (folder) => line('PUT', `/${folder}/signature-1`)),
  rightPath('POST to the image', (folder) => line('POST', `/${folder}`)),
  rightPath('POST to the image with a slash', (folder) => line('POST', `/${folder}/`)),
  rightPath('an escaped at sign and equals sign', (folder) =>
    line('PUT', `/${folder.replace('@', '%40').replace('=', '%3D')}/signature-1`),
  ),
  rightPath('escaped letters', (folder) =>
    line('PUT', `/${folder.replace('corpus', '%63orpus')}/signature-%31`),
  ),
  rightPath('slashes in a row', (folder) => line('PUT', `///${folder.replace('/', '//')}//signature-1`)),
  rightPath('the absolute form of a target', (folder) =>
    line('PUT', `http://elsewhere.example/${folder}/signature-1`),
  ),
  rightPath('a question behind the path', (folder) => line('PUT', `/${folder}/signature-1?x=1`)),
  rightPath('a token as a Basic password', (folder) => ({
    ...line('PUT', `/${folder}/signature-1`),
    scheme: 'basic',
  })),
  rightPath('a body of type text/html', (folder) => ({
    ...line('PUT', `/${folder}/signature-1`),
    lines: ['Content-Type: text/html'],
  })),
  taken(
    'a repository named like the API',
    claiming(({ host }) => ({ reference: `${host}/api/v1/corpus:v1` })),
    {
      folder: under('api/v1/corpus'),
      pulledAs: ({ host }) => `${host}/api/v1/corpus:v1`,
    },
  ),
  taken(
    'a repository 20 folders deep',
    claiming(({ host }) => ({ reference: `${host}/${DEEP}:v1` })),
    {
      folder: under(DEEP),
      pulledAs: ({ host }) => `${host}/${DEEP}:v1`,
    },
  ),

  wrongPath('signature-0', (folder) => `/${folder}/signature-0`),
  wrongPath('signature-01', (folder) => `/${folder}/signature-01`),
  wrongPath('signature-1000000000', (folder) => `/${folder}/signature-1000000000`),
  wrongPath('a signature without a number', (folder) => `/${folder}/signature-`),
  wrongPath('signature-1.sig', (folder) => `/${folder}/signature-1.sig`),
  wrongPath('Signature-1', (folder) => `/${folder}/Signature-1`),
  wrongPath('index.json in the place of a signature', (folder) => `/${folder}/index.json`),
  wrongPath('a signature behind a signature', (folder) => `/${folder}/signature-1/signature-1`),
  wrongPath('a slash behind the signature', (folder) => `/${folder}/signature-1/`),
  wrongPath(
    'a digest in capitals in the path',
    (_, { repository, sha256 }) => `/${repository}@sha256=${sha256.toUpperCase()}/signature-1`,
  ),
  wrongPath('a digest that is too short in the path', (folder) => `/${folder.slice(0, -1)}/signature-1`),
  wrongPath(
    'a colon in the place of the equals sign',
    (folder) => `/${folder.replace('=', ':')}/signature-1`,
  ),
  wrongPath(
    'an MD5 digest in the path',
    (_, { repository }) => `/${repository}@md5=${'0'.repeat(32)}/signature-1`,
  ),
  wrongPath('no repository ahead of the at sign', (_, { sha256 }) => `/@sha256=${sha256}/signature-1`),
  wrongPath('two at signs', (folder) => `/${folder.replace('@', '@@')}/signature-1`),
  wrongPath('a path that climbs', (folder) => `/corpus/../${folder}/signature-1`),
  wrongPath('a path that climbs, escaped', (folder) => `/corpus/%2e%2e/${folder}/signature-1`),
  wrongPath('an escaped slash', (folder) => `/${folder.replace('/', '%2F')}/signature-1`),
  wrongPath('an escape that is escaped', (folder) => `/${folder.replace('/', '%252F')}/signature-1`),
  wrongPath('an escape that is broken', (folder) => `/${folder}/signature-%zz`),
  wrongPath('a NUL', (folder) => `/${folder}%00/signature-1`),
  wrongPath('a backslash', (folder) => `/${folder.replace('/', '\\')}/signature-1`),
  wrongPath('a hidden folder', (folder) => `/.lookaside/${folder}/signature-1`),
  wrongPath('a hidden repository', (folder) => `/corpus/.${folder.slice('corpus/'.length)}/signature-1`),
  wrongPath(
    'letters outside of ASCII',
    (folder) => `/${encodeURI(folder.replace('corpus', 'körper'))}/signature-1`,
  ),
  wrongPath('a target over 8 KiB', (folder) => `/${'a/'.repeat(4096)}${folder}/signature-1`),
  wrongPath('the top', () => '/'),
  wrongPath('a folder', () => '/corpus/'),
  refused(
    'a name of more than 255 bytes',
    'PATH_INVALID',
    claiming(({ host }) => ({ reference: `${host}/${LONG}:v1` })),
    {
      folder: under(LONG),
      status: 400,
      peers: BOTH,
      isAtDoor: true,
      pulledAs: ({ host }) => `${host}/${LONG}:v1`,
      why: 'no file system holds a folder of that name, the digest behind it included',
    },
  ),

  elsewhere('force=2', 'REQUEST_INVALID', 400, (_, folder) => line('POST', `/${folder}?force=2`)),
  elsewhere('a body that is said to be gzip', 'REQUEST_INVALID', 400, (_, folder) => ({
    ...line('PUT', `/${folder}/signature-1`),
    lines: ['Content-Encoding: gzip'],
  })),
  elsewhere('two Host lines', 'REQUEST_INVALID', 400, (_, folder) => ({
    ...line('PUT', `/${folder}/signature-1`),
    lines: ['Host: elsewhere.example'],
  })),
  elsewhere('a batch that is no form', 'REQUEST_INVALID', 400, () => line('POST', '/api/v1/signatures')),
  elsewhere('PUT to the image', 'METHOD_NOT_ALLOWED', 405, (_, folder) => line('PUT', `/${folder}`)),
  elsewhere('DELETE of a signature', 'DENIED', 403, (_, folder) => line('DELETE', `/${folder}/signature-1`)),
  elsewhere('PATCH of a signature', 'METHOD_NOT_ALLOWED', 405, (_, folder) =>
    line('PATCH', `/${folder}/signature-1`),
  ),
  elsewhere('POST to a signature', 'METHOD_NOT_ALLOWED', 405, (_, folder) =>
    line('POST', `/${folder}/signature-1`),
  ),
  elsewhere('no token', 'UNAUTHORIZED', 401, (_, folder) => ({
    ...line('PUT', `/${folder}/signature-1`),
    token: null,
  })),
  elsewhere('a token that nobody has', 'UNAUTHORIZED', 401, (_, folder) => ({
    ...line('PUT', `/${folder}/signature-1`),
    token: 'wrong',
  })),
  elsewhere('no token and a path that names nothing', 'UNAUTHORIZED', 401, (_, folder) => ({
    ...line('PUT', `/${folder}/x`),
    token: null,
  })),
  elsewhere("a reader's token", 'DENIED', 403, (_, folder) => ({
    ...line('PUT', `/${folder}/signature-1`),
    token: 'reader',
  })),
  elsewhere("an auditor's token", 'DENIED', 403, (_, folder) => ({
    ...line('POST', `/${folder}`),
    token: 'auditor',
  })),
];

// --- keys

const NOT_HERE = 'gpg and skopeo have the key, and the server has not';

const subkeyOf = (signer: Signer, options: Options = {}): Options => ({
  by: signer,
  warnings: ['SIGNING_SUBKEY'],
  peers: GPG_ALONE,
  ...options,
});
const bySigner = (signer: Signer, options: MessageOptions = {}): Make => signed(options, signer.key);
// what Ed25519 counts in: the same signature to whoever does not look for it (RFC 8032, section 5.1.7)
const ORDER = 2n ** 252n + 27742317777372353535851937790883648493n;

function plusOrder(right: Buffer): Uint8Array {
  const secondAt = 2 + Math.ceil(right.readUInt16BE(0) / 8);
  const little = Buffer.from(right.subarray(secondAt + 2)).reverse();
  const value = BigInt(`0x${little.toString('hex')}`) + ORDER;
  const grown = Buffer.from(value.toString(16).padStart(64, '0'), 'hex').reverse();
  return join(right.subarray(0, secondAt), mpi(grown));
}

function plusModulus(right: Buffer): Uint8Array {
  const { n = '' } = rsa.publicKey.export({ format: 'jwk' });
  const modulus = BigInt(`0x${Buffer.from(n, 'base64url').toString('hex')}`);
  const digits = (BigInt(`0x${right.subarray(2).toString('hex')}`) + modulus).toString(16);
  return mpi(Buffer.from(digits.padStart(digits.length + (digits.length % 2), '0'), 'hex'));
}

const broken = (right: Buffer) => join(right.subarray(0, -1), Buffer.of((right.at(-1) ?? 0) ^ 1));

/** A message whose numbers begin with a zero octet, which is not written. */
const shorter =
  (by: WriterKey): Make =>
  (place) => {
    const payload = payloadFor(place);
    const usual = Math.max(...Array.from({ length: 9 }, (_, second) => at(by, payload, second).length));
    for (let second = 0; second < 10_000; second += 1) {
      const bytes = at(by, payload, second);
      if (bytes.length < usual) return bytes;
    }
    throw new Error('10,000 signatures, none of them shorter');
  };
const at = (by: WriterKey, payload: Buffer, second: number) =>
  message(by, payload, { at: new Date(SIGNED_AT.getTime() + second * 1000) });

const KEYS: readonly Row[] = [
  taken('a signature by a subkey', bySigner(SUBKEY_STATES.good), subkeyOf(SUBKEY_STATES.good)),
  taken(
    'a subkey of a primary key that only certifies',
    bySigner(SUBKEY_STATES.ofPrimaryThatOnlyCertifies),
    subkeyOf(SUBKEY_STATES.ofPrimaryThatOnlyCertifies),
  ),
  taken(
    'a subkey that a thief has adopted too',
    bySigner(SUBKEY_STATES.adopted),
    subkeyOf(SUBKEY_STATES.adopted),
  ),
  taken('a signature that names its key by a fingerprint alone', signed({ onlyUnhashed: [] })),
  taken(
    'a signature that names its key by an unhashed key ID alone',
    signed({ onlyHashed: [created(SIGNED_AT)] }),
  ),
  refused('a key that is not registered', 'KEY_UNKNOWN', signed({}, stranger), {
    by: UNREGISTERED.stranger,
    peers: BOTH,
    why: NOT_HERE,
  }),
  refused('a key that nobody vouches for', 'KEY_UNKNOWN', bySigner(UNVOUCHED.anonymous), {
    by: UNVOUCHED.anonymous,
  }),
  refused('a key that another key vouches for', 'KEY_UNKNOWN', bySigner(UNVOUCHED.certifiedByAnother), {
    by: UNVOUCHED.certifiedByAnother,
  }),
  refused('a key whose self-signature is over MD5', 'KEY_UNKNOWN', bySigner(UNVOUCHED.md5), {
    by: UNVOUCHED.md5,
  }),
  refused('a key whose self-signature nobody understands', 'KEY_UNKNOWN', bySigner(UNVOUCHED.notUnderstood), {
    by: UNVOUCHED.notUnderstood,
  }),
  refused('a signature in the name of another key', 'SIGNATURE_BAD', (place) =>
    message(stranger, payloadFor(place), {
      onlyHashed: [created(SIGNED_AT)],
      onlyUnhashed: [issuerKeyId(key.keyId)],
      onePass: { keyId: key.keyId },
    }),
  ),
  refused('a content that was changed', 'SIGNATURE_BAD', (place) => {
    const bytes = message(key, payloadFor(place));
    bytes[bytes.indexOf('tests')] = 0x54;
    return bytes;
  }),
  refused('a number that was changed', 'SIGNATURE_BAD', signed({ numbers: broken })),
  refused('a time that was changed', 'SIGNATURE_BAD', (place) => {
    const bytes = message(key, payloadFor(place));
    const at = bytes.lastIndexOf(created(SIGNED_AT)) + 5;
    bytes[at] = (bytes[at] ?? 0) ^ 1;
    return bytes;
  }),
  refused('numbers of zero', 'SIGNATURE_BAD', signed({ numbers: () => Buffer.alloc(4) })),
  refused(
    'an EdDSA number with the order of the curve added',
    'SIGNATURE_BAD',
    signed({ numbers: plusOrder }),
    { peers: BOTH, why: 'RFC 8032, section 5.1.7, refuses it: with it, one signature has many forms' },
  ),
  refused(
    'an RSA number that is larger than the modulus',
    'SIGNATURE_BAD',
    signed({ numbers: plusModulus }, rsa),
    {
      by: ALGORITHM_SIGNERS.rsa2048,
      peers: BOTH,
      why: 'RFC 8017, section 8.2.2, refuses it: with it, one signature has many forms',
    },
  ),
  refused(
    'a critical notation',
    'SIGNATURE_BAD',
    signed({ hashed: [notation('x@example.invalid', 'y', true)] }),
  ),
  refused(
    'an unhashed critical notation',
    'SIGNATURE_BAD',
    signed({ unhashed: [notation('x@example.invalid', 'y', true)] }),
  ),
  refused(
    'a critical subpacket that nobody knows',
    'SIGNATURE_BAD',
    signed({ hashed: [subpacket(99, Buffer.of(1), true)] }),
  ),
  taken('an EdDSA number that is shorter than others', shorter(key)),
  taken('an ECDSA number that is shorter than others', shorter(ALGORITHM_SIGNERS.nistp256.key), {
    by: ALGORITHM_SIGNERS.nistp256,
  }),
  taken('an RSA number that is shorter than others', shorter(rsa), { by: ALGORITHM_SIGNERS.rsa2048 }),
  taken('an embedded signature', (place) =>
    message(key, payloadFor(place), {
      unhashed: [subpacket(32, signatureBody(stranger, payloadFor(place)))],
    }),
  ),
  taken('a notation', signed({ hashed: [notation('x@example.invalid', 'y', false)] })),
  taken('a subpacket that nobody knows', signed({ hashed: [subpacket(99, Buffer.of(1))] })),
  taken('an end that is not hashed', signed({ unhashed: [subpacket(3, number(1, 4))] })),
];

// --- key states

const FUTURE = 'nobody can have signed it yet: its clock or its date is wrong';
const ZERO_ALL_THE_SAME: Options = {
  peers: GPG_ALONE,
  why: 'gpg tells of it in its status lines (EXPKEYSIG, REVKEYSIG) and yet ends with 0',
};

const minutes = (count: number) => new Date(Date.now() + count * 60_000);
const PRIMARY = PRIMARY_STATES;
const SUBKEY = SUBKEY_STATES;
const stateRow = (what: string, code: ErrorCode, signer: Signer, options: Options = {}) =>
  refused(what, code, bySigner(signer), { by: signer, ...options });

const KEY_STATES: readonly Row[] = [
  taken('a key that expires later', bySigner(PRIMARY.expiresLater), { by: PRIMARY.expiresLater }),
  taken('a key without flags', bySigner(PRIMARY.withoutFlags), { by: PRIMARY.withoutFlags }),
  taken('a key that vouched for itself after it had signed', bySigner(PRIMARY.selfSignedLate), {
    by: PRIMARY.selfSignedLate,
  }),
  taken(
    'a key that vouches for itself over SHA-1, as old release keys do',
    bySigner(PRIMARY.selfSignedSha1),
    { by: PRIMARY.selfSignedSha1 },
  ),
  taken(
    'a signature that expires later',
    signed({ hashed: [subpacket(3, number(3600 * 24 * 365 * 40, 4))] }),
  ),
  taken('a clock two minutes ahead', (place) => message(key, payloadFor(place), { at: minutes(2) })),
  refused('a key whose self-signature has expired', 'KEY_UNUSABLE', bySigner(PRIMARY_STATES.lapsed), {
    by: PRIMARY_STATES.lapsed,
    peers: BOTH,
    why: 'nothing vouches for the key any more; gpg goes on with what has expired',
  }),
  stateRow('a key that has expired since', 'KEY_EXPIRED', PRIMARY.expiredSince, ZERO_ALL_THE_SAME),
  stateRow('a key that had expired before', 'KEY_EXPIRED', PRIMARY.expiredBefore, ZERO_ALL_THE_SAME),
  stateRow('a key that was retired since', 'KEY_REVOKED', PRIMARY.retiredSince, ZERO_ALL_THE_SAME),
  stateRow('a key that was replaced since', 'KEY_REVOKED', PRIMARY.replacedSince, ZERO_ALL_THE_SAME),
  stateRow('a key that had been retired before', 'KEY_REVOKED', PRIMARY.retiredBefore, ZERO_ALL_THE_SAME),
  stateRow('a key that is known to others', 'KEY_REVOKED', PRIMARY.compromised, ZERO_ALL_THE_SAME),
  stateRow(
    'a key that was revoked without a word',
    'KEY_REVOKED',
    PRIMARY.revokedSilently,
    ZERO_ALL_THE_SAME,
  ),
  stateRow('a key that may only certify', 'KEY_UNKNOWN', UNVOUCHED.certifiesOnly),
  stateRow('a key that was made after the signature', 'KEY_UNUSABLE', PRIMARY.bornLater),
  stateRow('a subkey without the flag for signing', 'KEY_UNUSABLE', SUBKEY.withoutFlag),
  stateRow('a subkey that has not bound itself', 'KEY_UNKNOWN', SUBKEY.withoutBackSignature),
  stateRow('a subkey that another key has bound itself for', 'KEY_UNKNOWN', SUBKEY.backedByAnother),
  stateRow('a subkey of somebody else that a thief has adopted', 'KEY_UNKNOWN', THIEF),
  stateRow('a subkey that is not bound', 'KEY_UNKNOWN', SUBKEY.unbound),
  stateRow('a subkey that another key has bound', 'KEY_UNKNOWN', SUBKEY.boundByAnother),
  stateRow('a subkey that has expired since', 'KEY_EXPIRED', SUBKEY.expiredSince, ZERO_ALL_THE_SAME),
  stateRow('a subkey that had expired before', 'KEY_EXPIRED', SUBKEY.expiredBefore, ZERO_ALL_THE_SAME),
  stateRow('a subkey that was retired since', 'KEY_REVOKED', SUBKEY.retiredSince, ZERO_ALL_THE_SAME),
  stateRow('a subkey that is known to others', 'KEY_REVOKED', SUBKEY.compromised, ZERO_ALL_THE_SAME),
  stateRow(
    'a subkey of a primary key that has expired',
    'KEY_EXPIRED',
    SUBKEY.primaryExpired,
    ZERO_ALL_THE_SAME,
  ),
  stateRow(
    'a subkey of a primary key that was revoked',
    'KEY_REVOKED',
    SUBKEY.primaryRevoked,
    ZERO_ALL_THE_SAME,
  ),
  refused(
    'a signature that has expired',
    'SIGNATURE_EXPIRED',
    signed({ hashed: [subpacket(3, number(3600, 4))] }),
  ),
  refused(
    'a clock ten minutes ahead',
    'SIGNED_IN_FUTURE',
    (place) => message(key, payloadFor(place), { at: minutes(10) }),
    { peers: BOTH, why: FUTURE },
  ),
  refused(
    'a clock two days ahead',
    'SIGNED_IN_FUTURE',
    (place) => message(key, payloadFor(place), { at: minutes(2 * 24 * 60) }),
    { peers: BOTH, why: FUTURE },
  ),
  refused(
    'a signature from before its key',
    'KEY_UNUSABLE',
    signed({ at: new Date('2019-01-01T00:00:00Z') }),
  ),
];

// --- algorithms

const FORGEABLE = 'signatures over such a hash can be forged';
const NO_SUCH_CURVE = 'a key of such a curve cannot be registered: FIPS and pure Go readers do not know it';

const ALGORITHMS: readonly Row[] = [
  ...(['rsa2048', 'rsa3072', 'rsa4096', 'rsa2048-e3', 'nistp256', 'nistp384', 'nistp521'] as const).map(
    (kind) => {
      const by = ALGORITHM_SIGNERS[kind];
      const hash = kind === 'nistp521' ? 'sha512' : kind === 'nistp384' ? 'sha384' : 'sha256';
      return taken(`${kind} over ${hash}`, bySigner(by, { hash }), { by, isPulled: kind.startsWith('nist') });
    },
  ),
  ...(['sha384', 'sha512'] as const).flatMap((hash) =>
    (['ed25519', 'rsa2048'] as const).map((kind) => {
      const by = ALGORITHM_SIGNERS[kind];
      return taken(`${kind} over ${hash}`, bySigner(by, { hash }), { by });
    }),
  ),
  taken('rsa2048 over sha224', signed({ hash: 'sha224' }, rsa), {
    by: ALGORITHM_SIGNERS.rsa2048,
    isPulled: true,
  }),
  refused('ed25519 over sha224', 'ALGORITHM_UNSUPPORTED', signed({ hash: 'sha224' }), {
    peers: BOTH,
    why: 'RFC 9580, section 5.2.3.3, has readers refuse EdDSA over less than 256 bits; OpenPGP.js does, gpg does not',
  }),
  ...(
    [
      ['nistp256', 'sha224'],
      ['nistp384', 'sha256'],
      ['nistp521', 'sha256'],
      ['nistp521', 'sha384'],
    ] as const
  ).map(([kind, hash]) => {
    const by = ALGORITHM_SIGNERS[kind];
    return refused(
      `${kind} over ${hash}, which is too short for it`,
      'ALGORITHM_UNSUPPORTED',
      bySigner(by, { hash }),
      { by },
    );
  }),
  refused('a hash of MD5', 'ALGORITHM_WEAK', signed({ hash: 'md5' })),
  refused('a hash of SHA-1', 'ALGORITHM_WEAK', signed({ hash: 'sha1' }), { peers: BOTH, why: FORGEABLE }),
  refused('a hash of SHA-1 by RSA', 'ALGORITHM_WEAK', signed({ hash: 'sha1' }, rsa), {
    by: ALGORITHM_SIGNERS.rsa2048,
    peers: BOTH,
    why: FORGEABLE,
  }),
  refused('a hash of RIPEMD-160', 'ALGORITHM_WEAK', signed({ hash: 'ripemd160' }), {
    peers: BOTH,
    why: FORGEABLE,
  }),
  refused('a hash of SHA3-256', 'ALGORITHM_UNSUPPORTED', signed({ hash: 'sha3-256' })),
  refused('RSA of 1024 bits', 'ALGORITHM_WEAK', bySigner(UNREGISTERED.rsa1024), {
    by: UNREGISTERED.rsa1024,
    peers: BOTH,
    why: 'it can be factored',
  }),
  refused('a curve of Brainpool', 'KEY_UNKNOWN', bySigner(UNREGISTERED.brainpool), {
    by: UNREGISTERED.brainpool,
    peers: BOTH,
    why: NO_SUCH_CURVE,
  }),
  refused('the curve of Bitcoin', 'KEY_UNKNOWN', bySigner(UNREGISTERED.secp256k1), {
    by: UNREGISTERED.secp256k1,
    peers: BOTH,
    why: NO_SUCH_CURVE,
  }),
  ...(
    [
      ['DSA', 17, 'ALGORITHM_WEAK'],
      ['an RSA key that only encrypts', 2, 'ALGORITHM_UNSUPPORTED'],
      ['Elgamal', 20, 'ALGORITHM_UNSUPPORTED'],
      ['the Ed25519 of RFC 9580', 27, 'ALGORITHM_UNSUPPORTED'],
      ['the Ed448 of RFC 9580', 28, 'ALGORITHM_UNSUPPORTED'],
      ['ML-DSA-65 with Ed25519', 30, 'ALGORITHM_UNSUPPORTED'],
      ['an algorithm of private use', 100, 'ALGORITHM_UNSUPPORTED'],
    ] as const
  ).map(([what, algorithm, code]) =>
    refused(what, code, (place) =>
      message({ ...key, algorithm }, payloadFor(place), {
        numbers: () => join(mpi(Buffer.alloc(32, 1)), mpi(Buffer.alloc(32, 1))),
      }),
    ),
  ),
];

// --- versions

const VERSIONS: readonly Row[] = [
  ...(['sha224', 'sha256', 'sha384', 'sha512'] as const).map((hash) =>
    taken(`a version 3 signature over ${hash}`, signed({ version: 3, hash }, rsa), {
      by: ALGORITHM_SIGNERS.rsa2048,
      isPulled: hash === 'sha256',
    }),
  ),
  taken(
    'a version 3 signature, compressed',
    (place) => compressed(message(rsa, payloadFor(place), { version: 3 })),
    { by: ALGORITHM_SIGNERS.rsa2048 },
  ),
  taken(
    'a version 3 signature over text of one line',
    signed({ version: 3, type: 1, literal: { format: 't' } }, rsa),
    { by: ALGORITHM_SIGNERS.rsa2048 },
  ),
  refused(
    'a version 3 signature over a content that was changed',
    'SIGNATURE_BAD',
    (place) => {
      const bytes = message(rsa, payloadFor(place), { version: 3 });
      bytes[bytes.indexOf('tests')] = 0x54;
      return bytes;
    },
    { by: ALGORITHM_SIGNERS.rsa2048 },
  ),
  refused('a version 3 signature over SHA-1', 'ALGORITHM_WEAK', signed({ version: 3, hash: 'sha1' }, rsa), {
    by: ALGORITHM_SIGNERS.rsa2048,
    peers: BOTH,
    why: FORGEABLE,
  }),
  refused(
    'a version 3 signature by a key that is not registered',
    'KEY_UNKNOWN',
    bySigner(UNREGISTERED.strangerRsa, { version: 3 }),
    { by: UNREGISTERED.strangerRsa, peers: BOTH, why: NOT_HERE },
  ),
  refused('a version 3 signature by Ed25519', 'ALGORITHM_UNSUPPORTED', signed({ version: 3 }), {
    peers: BOTH,
    why: 'no program makes it: version 3 went before EdDSA came, and RFC 9580 has no use for it',
  }),
  refused(
    'a version 3 signature that hashes more than five bytes',
    'STRUCTURE_INVALID',
    withBody(() => Buffer.of(3, 6, 0)),
  ),
  refused(
    'a version 2 signature',
    'ALGORITHM_UNSUPPORTED',
    withBody((payload) => {
      const body = Buffer.from(signatureBody(key, payload, { version: 3 }));
      body[0] = 2;
      return body;
    }),
    { peers: BOTH, why: 'no standard has it; gpg reads it as version 3' },
  ),
  refused(
    'a version 5 signature',
    'ALGORITHM_UNSUPPORTED',
    withBody(() => Buffer.of(5, 0, 22, 8)),
  ),
  refused('a version 6 signature', 'ALGORITHM_UNSUPPORTED', signed({ version: 6 })),
  refused(
    'a version 6 signature with a one-pass packet of version 3',
    'STRUCTURE_INVALID',
    signed({ version: 6, onePass: { version: 3 } }),
  ),
];

// --- sizes

const BOMB = 'a bound of ours against bombs; real payloads have some hundred bytes';

const MAX_BYTES = 131_072;
const MEBIBYTE = 1024 * 1024;

/** A message of exactly this size, by blanks behind the payload. */
const ofSize =
  (size: number): Make =>
  (place) => {
    const payload = payloadFor(place);
    const blanks = (count: number, blank = ' ') => message(key, join(payload, Buffer.alloc(count, blank)));
    // Lengths of longer packets have more bytes. A number of a signature that begins with a zero has fewer, which happens to one in
    // a hundred: then the right number of blanks gives another size, and other blanks the right one.
    const around = size - blanks(0).length;
    for (const blank of [' ', '\n', '\t']) {
      for (let more = 2; more >= -8; more -= 1) {
        const bytes = blanks(around + more, blank);
        if (bytes.length === size) return bytes;
      }
    }
    throw new Error(`no message of ${size} bytes was found`);
  };

/** Compressed, a message whose packets have exactly this size. */
const unpacking =
  (size: number): Make =>
  (place, programs) => {
    const whole = ofSize(size)(place, programs) as Buffer;
    return compressed(whole);
  };

const zeros = (mebibytes: number) => compressed(Buffer.alloc(mebibytes * MEBIBYTE));

const SIZES: readonly Row[] = [
  taken('8 KiB', ofSize(8192)),
  taken('one byte more than 8 KiB, which the index does not hold', ofSize(8193)),
  taken('128 KiB, the most that is taken', ofSize(MAX_BYTES)),
  taken('a message of 1 MiB unpacked, the most that is taken', unpacking(MEBIBYTE)),
  refused('one byte more than 128 KiB', 'TOO_LARGE', ofSize(MAX_BYTES + 1), {
    status: 413,
    isAtDoor: true,
    peers: BOTH,
    why: 'the limit of this server, LOOKASIDE_MAX_SIGNATURE_BYTES; real signatures have less than 10 KiB',
  }),
  refused('more than 128 KiB in chunks', 'TOO_LARGE', ofSize(MAX_BYTES + 1), {
    status: 413,
    isAtDoor: true,
    peers: BOTH,
    why: 'the limit of this server, LOOKASIDE_MAX_SIGNATURE_BYTES; real signatures have less than 10 KiB',
    send: (_, folder) => ({ ...line('POST', `/${folder}`), isChunked: true }),
  }),
  refused('one byte more than 1 MiB unpacked', 'DECOMPRESSION_LIMIT', unpacking(MEBIBYTE + 1), {
    peers: BOTH,
    why: BOMB,
  }),
  refused(
    '2 MiB unpacked by zlib',
    'DECOMPRESSION_LIMIT',
    (place, programs) => compressed(ofSize(2 * MEBIBYTE)(place, programs) as Buffer, 'zlib'),
    { peers: BOTH, why: BOMB },
  ),
  refused('64 MiB of zeros in 64 KiB', 'DECOMPRESSION_LIMIT', () => zeros(64)),
  refused('2 MiB of zeros in 48 bytes of bzip2', 'DECOMPRESSION_LIMIT', () =>
    packet(
      8,
      join(
        Buffer.of(3),
        Buffer.from('QlpoOTFBWSZTWX7hkbEAEBBgAMAAAAQACCAAMMwFKaYEA2IIB4u5IpwoSD9wyNiA', 'base64'),
      ),
      'end',
    ),
  ),
];

const BY_GROUP: Readonly<Record<Group, readonly Row[]>> = {
  structures: STRUCTURES,
  forms: FORMS,
  payloads: PAYLOADS,
  'digests and references': DIGESTS,
  paths: PATHS,
  keys: KEYS,
  'key states': KEY_STATES,
  algorithms: ALGORITHMS,
  versions: VERSIONS,
  sizes: SIZES,
};

export const UPLOAD_CORPUS: readonly UploadCase[] = GROUPS.flatMap((group) =>
  BY_GROUP[group].map((each) => ({ ...each, group })),
);
