// What serves: one server with a data directory, or three nodes over PostgreSQL that stand for each: by-nodes.ts.

/** Its database `postgres`; empty: none. The variable does not begin as a setting does: commands refuse settings that they do not know. */
export const POSTGRES = process.env.SERVED_BY ?? '';

export const isByNodes = POSTGRES !== '';
