// Every number that bounds what we accept or give out, with its source.

/** containers/image iolimits.MaxSignatureBodySize: one byte more fails the pull. */
export const MAX_SIGNATURE_BYTES = 4 * 1024 * 1024;

/** containers/image refuses a 128th signature (maxLookasideSignatures = 128), so 127 is the most a set may show. */
export const MAX_SIGNATURES_PER_IMAGE = 127;

/**
 * How many of those may be valid signatures by one key for one docker-reference. Clients need one; a few more may
 * differ in which clients can read them.
 */
export const MAX_SIGNATURES_PER_CLAIM = 8;

/**
 * The highest file number that is looked at in an image's folder. It is one more than a set may show, so a file over
 * the limit is noticed.
 */
export const MAX_FILE_NUMBER = MAX_SIGNATURES_PER_IMAGE + 1;

/** containers/image iolimits.MaxManifestBodySize. */
export const MAX_MANIFEST_BYTES = 4 * 1024 * 1024;

/** Larger signatures are read from the tree at each request; real ones are under 10 KiB. */
export const MAX_INDEXED_BYTES = 8 * 1024;

export const MAX_TARGET_BYTES = 8 * 1024;

/**
 * A repository's path, and likewise a folder of the release layout: RepositoryNameTotalLengthMax of
 * distribution/reference, which does not count the registry's host. containers/image does count the host, so no client
 * asks for a longer path.
 */
export const MAX_PATH_BYTES = 255;

/** One name of a path on disk: NAME_MAX of Linux. The name of an image's folder includes the digest. */
export const MAX_NAME_BYTES = 255;

/** Folders above a signature, when each name has one letter and the digest has a folder of its own below them. */
export const MAX_FOLDER_LEVELS = Math.ceil(MAX_PATH_BYTES / 2) + 1;

export const MAX_HEADER_LINES = 100;

export const DIRECTORY_PAGE_ENTRIES = 1000;

/** How long a set of a shared tree may be served without a look at the disk. */
export const SHARED_SET_FRESH_MS = 1000;

/** Another program may still be writing a file that changed less than this ago. */
export const BEING_WRITTEN_MS = 100;

/**
 * The unpacked content of a signed message; a payload has a few hundred bytes. The limit is against decompression
 * bombs.
 */
export const MAX_UNPACKED_BYTES = 1024 * 1024;

/** A signature packet; gpg refuses larger ones. */
export const MAX_SIGNATURE_PACKET_BYTES = 16 * 1024;

/**
 * A signature packet of version 6, which gpg cannot read: the largest signature of RFC 9980, SLH-DSA-SHAKE-256s or
 * -256f, has 49,856 bytes.
 */
export const MAX_VERSION_6_PACKET_BYTES = 64 * 1024;

export const MAX_MPI_BITS = 8192;

/** How far a signer's clock may be ahead of ours. */
export const CLOCK_LEAD_MS = 5 * 60 * 1000;

/** One request that brings certificates, and the kept part of each certificate. */
export const MAX_CERTIFICATES_BYTES = 4 * 1024 * 1024;
export const MAX_CERTIFICATES = 64;
export const MAX_CERTIFICATE_BYTES = 64 * 1024;
/** User IDs that are not revoked. The most among 1,195 keys of Debian's developers is 12, beside 9 revoked ones. */
export const MAX_USER_IDS = 20;
export const MAX_USER_ID_BYTES = 1024;
/** Subkeys that may sign. The most among 1,195 keys of Debian's developers is 21, each for a year. */
export const MAX_SUBKEYS = 32;

/** One batch of uploads. */
export const MAX_BATCH_PARTS = 100;
export const MAX_BATCH_BYTES = 16 * 1024 * 1024;

/** Uploads of an image that nothing here can verify: the other numbers are for what clients can. */
export const MAX_UNVERIFIABLE_PER_IMAGE = 8;

/** Remaps that one upload or batch may name. */
export const MAX_REMAPS_ASKED = 20;

/** Clients pack batches up to this size unless a single file is larger: nginx accepts 1 MiB by default. */
export const PACKED_BATCH_BYTES = 900 * 1024;

/**
 * The bodies of all running requests together, including the copy that is made while one is parsed. It is shared out so
 * that one caller who holds all that he may leaves room for a batch by another caller of the same network.
 */
export const MAX_BODY_BYTES_IN_FLIGHT = 160 * 1024 * 1024;

/**
 * The same for commands on the server's machine, which share it with nobody else: two imports, each with two batches at
 * a time.
 */
export const MAX_LOCAL_BODY_BYTES_IN_FLIGHT = 64 * 1024 * 1024;

/** Digests in one question for what is missing. */
export const MAX_MISSING_ASKED = 10_000;

/** The body of that question: 10,000 digests with names of 290 characters. */
export const MAX_MISSING_BYTES = 4 * 1024 * 1024;

/** Rows of one page of an API answer. */
export const MAX_PAGE_ROWS = 1000;
export const DEFAULT_PAGE_ROWS = 100;

/** OpenShift reads only signature-1 to -9. */
export const LAST_OPENSHIFT_NUMBER = 9;

/** In a payload: levels of nesting, and members of one object. */
export const MAX_JSON_DEPTH = 32;
export const MAX_JSON_MEMBERS = 256;

/** The largest policy.json, registries.d file or file of keys that lookaside doctor reads. */
export const MAX_POLICY_BYTES = 16 * 1024 * 1024;

/**
 * The largest file that lookaside client-config merges into. A policy with a section for each of 10,000 repositories has 3
 * MB.
 */
export const MAX_INSTALLED_BYTES = 8 * 1024 * 1024;

/** `optional.creator` of a payload. */
export const MAX_CREATOR_BYTES = 1024;

/** A docker-reference; the longest that parses has 520 bytes: name 255, tag 128, digest 135. */
export const MAX_REFERENCE_BYTES = 1024;

/** Askers of the records whose questions are being answered, each in a thread with some 30 MB. */
export const MAX_QUESTIONS_AT_ONCE = 8;

/** How long one look-up of a question may take, and how long an export waits for its client. */
export const QUESTION_MS = 60_000;
/** Images that one sync of a mirror may name: a whole OpenShift release stream with its operators has some 20,000. */
export const MAX_MIRROR_IMAGES = 100_000;

/** Releases of update graphs that one sync may name, and that one answer is made of: all of OpenShift 4 are some 3,000. */
export const MAX_MIRROR_RELEASES = 20_000;

/**
 * Channels of all releases of one sync together, which are written in one transaction: nothing else is written meanwhile.
 */
export const MAX_MIRROR_RELEASE_CHANNELS = 100_000;

/** The body that names images and releases. */
export const MAX_MIRROR_SYNC_BYTES = 16 * 1024 * 1024;

/**
 * The signatures of one image that a mirror fetches: several walks hold theirs in memory at once. 127 of the largest post-quantum
 * ones have 8 MiB.
 */
export const MAX_WALK_BYTES = 16 * 1024 * 1024;

/** Signatures in one ConfigMap, encoded: oc apply stores the object in an annotation too, and annotations end at 256 KiB. */
export const MAX_CONFIGMAP_BYTES = 200 * 1024;

/** A document of who may sign what: 64 certificates of the largest size, armoured, beside thousands of signers. */
export const MAX_ACCESS_RULES_BYTES = 8 * 1024 * 1024;

/** Claims of one OIDC subject, and characters of the pattern of one: `sub` has at most 255 (OpenID Connect Core, section 2). */
export const MAX_SUBJECT_CLAIMS = 20;
export const MAX_CLAIM_CHARACTERS = 1024;

/** A token of an OpenID provider: those of GitHub and GitLab have some 2 KiB. */
export const MAX_OIDC_TOKEN_BYTES = 8 * 1024;

/** A document of an OpenID provider, and the keys in one: GitHub's set has four keys and 10 KiB. */
export const MAX_ISSUER_DOCUMENT_BYTES = 256 * 1024;
export const MAX_ISSUER_KEYS = 100;
