// Table token, as the writer thread changes it.
import type { Database } from 'better-sqlite3';
import { LookasideError, systemCode } from '../domain/errors.ts';
import type { Role } from '../domain/ports.ts';
import { inTransaction } from './open.ts';

export interface NewToken {
  readonly name: string;
  readonly role: Role;
  readonly hash: string;
  readonly createdAt: Date;
}

/** @throws LookasideError NAME_TAKEN, also when the name's token is revoked */
export function insertToken(db: Database, token: NewToken): void {
  const insert = db.prepare(`
    INSERT INTO token (name, role, hash, created_at_ms)
    VALUES (?, ?, ?, ?)`);
  const hash = Buffer.from(token.hash, 'hex');
  try {
    inTransaction(db, () => insert.run(token.name, token.role, hash, token.createdAt.getTime()));
  } catch (error) {
    const isTaken = systemCode(error) === 'SQLITE_CONSTRAINT_UNIQUE' && String(error).includes('token.name');
    if (!isTaken) throw error;
    throw new LookasideError('NAME_TAKEN', `a token named ${token.name} exists already`);
  }
}

/** Leaves a token that is revoked already, and no token, as they are. */
export function revokeToken(db: Database, name: string, revokedAt: Date): void {
  const update = db.prepare(`
    UPDATE token
    SET revoked_at_ms = ?
    WHERE name = ? AND revoked_at_ms IS NULL`);
  inTransaction(db, () => update.run(revokedAt.getTime(), name));
}
