// What serves: one server with a data directory, or three nodes over PostgreSQL that stand for each: by-nodes.ts.

/** The variable does not begin as a setting does: commands refuse settings that they do not know. */
export const isByNodes = process.env.SERVED_BY === 'nodes';
