// How long one job of a verifier may take, wherever it is done.

/** One signature. */
export const EXAMINE_LIMIT_MS = 2000;
/** The certificates of one file. */
export const CLEAN_LIMIT_MS = 5000;
