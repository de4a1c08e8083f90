// Questions to a running server about the life of its keys.
import { z } from 'zod/v3';
import type { KeyAdministration } from '../domain/administration.ts';
import { type KeyState, parseKeyName, type ShownKey } from '../domain/key.ts';
import type { RevocationPart, RevokedKey } from '../domain/revocation.ts';
import type { RotationPart } from '../domain/rotation.ts';
import {
  count,
  fingerprint,
  partSignaturesAnswer,
  readAnswer,
  readValue,
  shownKey,
  strange,
  word,
} from './answers.ts';
import { type Asker, jsonRequest } from './asker.ts';
import { readRefusal, type SchemaOf } from './refusal.ts';
import { throwWithRemedy } from './remedy.ts';
import { work } from './work.ts';

const rotationPart = z.union([
  z.object({
    old: fingerprint,
    new: fingerprint,
    images: z.object({ old: count, both: count, new: count }),
    gaps: z.array(z.string()),
  }),
  z.object({
    work: z.array(
      z.object({ site: z.string(), image: z.string(), digest: z.string(), reference: z.string() }),
    ),
  }),
  z.object({ end: z.object({ work: count }) }),
]) satisfies SchemaOf<RotationPart>;

const revocationPart = z.union([
  z.object({
    fingerprint,
    userIds: z.array(z.string()),
    state: word<KeyState>(),
    signatures: count,
    images: count,
    broken: count,
    refused: count.default(0),
    gaps: z.array(z.string()),
  }),
  z.object({ images: z.array(z.object({ site: z.string(), image: z.string() })) }),
  z.object({ end: z.object({ images: count }) }),
]) satisfies SchemaOf<RevocationPart>;

const revokedKey = z.object({
  key: shownKey,
  changed: z.boolean(),
  withdrawn: count.nullable(),
  left: z.array(z.string()),
}) satisfies SchemaOf<RevokedKey>;

const revocationProgress = z.object({ images: count, signatures: count });

type KeyLife = Pick<
  KeyAdministration,
  'rotation' | 'retire' | 'unretire' | 'signatures' | 'revocation' | 'revoke'
>;

export function keyLifeOf(asker: Asker): KeyLife {
  const server = asker.name;

  async function change(name: string, how: 'retire' | 'unretire'): Promise<ShownKey> {
    const path = `/api/v1/keys/${parseKeyName(name)}/${how}`;
    const { body } = await asker.ask({ method: 'POST', path, mayFindNothing: true }).catch(throwWithRemedy);
    return readAnswer(shownKey, { server, body });
  }

  /** Up to the part that is the end. */
  async function* parts<Schema extends SchemaOf<object>>(
    schema: Schema,
    path: string,
  ): AsyncGenerator<z.output<Schema>> {
    try {
      for await (const value of asker.follow({ method: 'GET', path, isLong: true, mayFindNothing: true })) {
        const refusal = readRefusal(value);
        if (refusal !== null) throw refusal;
        const part = readValue(schema, { server, value });
        yield part;
        if ('end' in part) return;
      }
    } catch (error) {
      throwWithRemedy(error);
    }
    throw strange(server, 'the answer ended without its end');
  }

  return {
    retire: (name) => change(name, 'retire'),
    unretire: (name) => change(name, 'unretire'),
    async *rotation(old, next) {
      yield* parts(rotationPart, `/api/v1/keys/${parseKeyName(old)}/rotation?to=${parseKeyName(next)}`);
    },
    async signatures(name) {
      const path = `/api/v1/keys/${parseKeyName(name)}/signatures`;
      const { body } = await asker.ask({ method: 'GET', path, mayFindNothing: true }).catch(throwWithRemedy);
      return readAnswer(partSignaturesAnswer, { server, body }).parts;
    },
    async *revocation(name) {
      yield* parts(revocationPart, `/api/v1/keys/${parseKeyName(name)}/revocation`);
    },
    async revoke(name, { reason, withdraw, certificate, onProgress }) {
      const wanted = {
        reason,
        withdraw,
        ...(certificate === null ? {} : { certificate: Buffer.from(certificate).toString('base64') }),
      };
      const request = {
        ...jsonRequest(`/api/v1/keys/${parseKeyName(name)}/revoke`, wanted),
        mayFindNothing: true,
      };
      return work(asker, request, { result: revokedKey, progress: revocationProgress, onProgress });
    },
  };
}
