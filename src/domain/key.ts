// A key: an OpenPGP certificate, named by its primary fingerprint (40 upper-case hex digits; version 4 alone).

export interface KeyPart {
  /** 40 upper-case hex digits. */
  readonly fingerprint: string;
  /** As gpg names it: `rsa3072`, `ed25519`, `nistp256`. */
  readonly algorithm: string;
  readonly createdAt: Date;
  /** Null = never. */
  readonly expiresAt: Date | null;
  /** Null = not revoked. */
  readonly revokedAt: Date | null;
  readonly canSign: boolean;
}

/** What a cleaned certificate holds: only what its own primary key vouches for. */
export interface KeyDetails extends KeyPart {
  /** The primary one first. Hostile text: escape where shown. */
  readonly userIds: readonly string[];
  readonly subkeys: readonly KeyPart[];
}

export interface RegisteredKey extends KeyDetails {
  readonly addedAt: Date;
  readonly changedAt: Date;
  /** Binary, cleaned. */
  readonly certificate: Uint8Array;
}
