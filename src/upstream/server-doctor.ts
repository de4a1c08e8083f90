// Asks a server what it knows about an image that a client refused. Nothing that comes back is verified.
import { z } from 'zod/v3';
import { readAnswer } from './answers.ts';
import { type AskerOptions, connectAsker } from './asker.ts';

export interface ToldFinding {
  readonly code: string;
  /** Hostile text: escape where shown. */
  readonly message: string;
  readonly remedy: string | null;
}

const answer = z.object({
  findings: z
    .array(z.object({ code: z.string(), message: z.string(), remedy: z.string().nullable() }))
    .max(1000),
});

/** The first one decides. @throws LookasideError SERVER_UNREACHABLE, UNAUTHORIZED, and what the server refuses with */
export async function askServerDoctor(options: AskerOptions, image: string): Promise<readonly ToldFinding[]> {
  const asker = connectAsker(options);
  try {
    const path = `/api/v1/doctor?${new URLSearchParams({ image })}`;
    const { body } = await asker.ask({ method: 'GET', path });
    return readAnswer(answer, { server: asker.name, body }).findings;
  } finally {
    await asker[Symbol.asyncDispose]();
  }
}
