// Every number that bounds what we take in or give out, with its source.

/** containers/image iolimits.MaxSignatureBodySize: one byte more fails the pull. */
export const MAX_SIGNATURE_BYTES = 4 * 1024 * 1024;

/** containers/image refuses a 128th signature (maxLookasideSignatures = 128), so 127 is the most a set may show. */
export const MAX_SIGNATURES_PER_IMAGE = 127;

/** Of those, by one key for one docker-reference, all of them valid. Clients need one; a few differ in who can read them. */
export const MAX_SIGNATURES_PER_CLAIM = 8;

/** The highest number of a file that is looked at in an image's folder: with one more than a set may show, none is hidden by chance. */
export const MAX_FILE_NUMBER = MAX_SIGNATURES_PER_IMAGE + 1;

/** containers/image iolimits.MaxManifestBodySize. */
export const MAX_MANIFEST_BYTES = 4 * 1024 * 1024;

/** Larger signatures are read from the tree when asked for; real ones are under 10 KiB. */
export const MAX_INDEXED_BYTES = 8 * 1024;

export const MAX_TARGET_BYTES = 8 * 1024;

/**
 * A repository's path, and likewise a folder of the release layout: RepositoryNameTotalLengthMax of distribution/reference,
 * which leaves the registry's host out. containers/image counts the host in, so no client asks for a longer one.
 */
export const MAX_PATH_BYTES = 255;

/** One name of a path on disk: NAME_MAX of Linux. That of an image's folder has the digest in it. */
export const MAX_NAME_BYTES = 255;

/** Folders above a signature: names of one letter, and the folder of a digest below them. */
export const MAX_FOLDER_LEVELS = Math.ceil(MAX_PATH_BYTES / 2) + 1;

export const MAX_HEADER_LINES = 100;

/** Entries on one directory page. */
export const DIRECTORY_PAGE_ENTRIES = 1000;

/** How long a set of a shared tree may be answered without a look at the disk. */
export const SHARED_SET_FRESH_MS = 1000;

/** A file changed less than this ago may still be being written. */
export const BEING_WRITTEN_MS = 100;

/** The unpacked content of a signed message; a payload has a few hundred bytes. Against decompression bombs. */
export const MAX_UNPACKED_BYTES = 1024 * 1024;

/** A signature packet; gpg refuses larger ones. */
export const MAX_SIGNATURE_PACKET_BYTES = 16 * 1024;

/** One of version 6, which gpg does not read at all: the largest signature of RFC 9980, SLH-DSA-SHAKE-256s or -256f, has 49,856 bytes. */
export const MAX_VERSION_6_PACKET_BYTES = 64 * 1024;

export const MAX_MPI_BITS = 8192;

/** How far ahead of ours a signer's clock may be. */
export const CLOCK_LEAD_MS = 5 * 60 * 1000;

/** One request that brings certificates, and what is kept of each. */
export const MAX_CERTIFICATES_BYTES = 4 * 1024 * 1024;
export const MAX_CERTIFICATES = 64;
export const MAX_CERTIFICATE_BYTES = 64 * 1024;
/** Of those that are not revoked. Of 1,195 keys of Debian's developers one has 12, and 9 that are revoked. */
export const MAX_USER_IDS = 20;
export const MAX_USER_ID_BYTES = 1024;
/** Of those that may sign. Of 1,195 keys of Debian's developers one has 21, each for a year. */
export const MAX_SUBKEYS = 32;

/** One batch of uploads. */
export const MAX_BATCH_PARTS = 100;
export const MAX_BATCH_BYTES = 16 * 1024 * 1024;

/** Clients pack batches to this unless a single file is larger: nginx takes 1 MiB unless told otherwise. */
export const PACKED_BATCH_BYTES = 900 * 1024;

/**
 * Bodies of all requests under way together, with the copy of one that is being taken apart. Shared out so that while one
 * caller holds all he can, another of the same network has room for a batch.
 */
export const MAX_BODY_BYTES_IN_FLIGHT = 160 * 1024 * 1024;

/** The same for commands on the server's machine, which have it to themselves: two imports, each of two batches at a time. */
export const MAX_LOCAL_BODY_BYTES_IN_FLIGHT = 64 * 1024 * 1024;

/** Digests in one question for what is missing. */
export const MAX_MISSING_ASKED = 10_000;

/** The question as a body: 10,000 with names of 290 characters. */
export const MAX_MISSING_BYTES = 4 * 1024 * 1024;

/** Rows of one page of an API answer. */
export const MAX_PAGE_ROWS = 1000;
export const DEFAULT_PAGE_ROWS = 100;

/** OpenShift reads signature-1 to -9 alone. */
export const LAST_OPENSHIFT_NUMBER = 9;

/** A payload: nesting, and the members of one of its objects. */
export const MAX_JSON_DEPTH = 32;
export const MAX_JSON_MEMBERS = 256;

/** `optional.creator` of a payload. */
export const MAX_CREATOR_BYTES = 1024;

/** A docker-reference; the longest that parses has 520: name 255, tag 128, digest 135. */
export const MAX_REFERENCE_BYTES = 1024;
