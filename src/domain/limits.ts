// Every number that bounds what we take in or give out, with its source.

/** containers/image iolimits.MaxSignatureBodySize: one byte more fails the pull. */
export const MAX_SIGNATURE_BYTES = 4 * 1024 * 1024;

/** containers/image refuses a 128th signature (maxLookasideSignatures = 128), so 127 is the most a set may show. */
export const MAX_SIGNATURES_PER_IMAGE = 127;

/** Larger signatures are read from the tree when asked for; real ones are under 10 KiB. */
export const MAX_INDEXED_BYTES = 8 * 1024;

export const MAX_TARGET_BYTES = 8 * 1024;
export const MAX_HEADER_LINES = 100;

/** Entries on one directory page. */
export const DIRECTORY_PAGE_ENTRIES = 1000;

/** How long a set of a shared tree may be answered without a look at the disk. */
export const SHARED_SET_FRESH_MS = 1000;

/** A file changed less than this ago may still be being written. */
export const BEING_WRITTEN_MS = 100;
