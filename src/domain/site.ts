// A site: one signature tree that is served below a prefix.

export interface Site extends SitePlace {
  /** Of the tree. Absolute. */
  readonly root: string;
  readonly tree: 'owned' | 'shared';
}

/** Where a site's signatures are found. */
export interface SitePlace {
  /** Without a slash. */
  readonly name: string;
  /** Below the server's own: empty, or `/like/this`. */
  readonly prefix: string;
}
