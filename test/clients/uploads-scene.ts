// A server with a signer that it knows, and what its tree must hold.
import assert from 'node:assert/strict';
import { readdir, readFile } from 'node:fs/promises';
import path from 'node:path';
import { eventually } from './eventually.ts';
import { isByNodes } from './served-by.ts';
import { type LookasideServer, startServer } from './server.ts';
import { enrol, makeSigner, type Signer } from './signer.ts';
import { openTempFolder } from './temp-folder.ts';
import { type Form, formOf, type Part, type PartResult, type Uploads, uploadsTo } from './uploads.ts';

export interface UploadsScene extends AsyncDisposable {
  readonly data: string;
  readonly server: LookasideServer;
  readonly signer: Signer;
  readonly uploads: Uploads;
  /** The image has exactly these signatures in this order, over HTTP and on the disk. */
  assertHolds(folder: string, signatures: readonly Uint8Array[]): Promise<void>;
  /** No temporary file of an upload is left. */
  assertNoDebris(): Promise<void>;
}

/** A new server that owns its tree; `settings` are of its environment. */
export async function openUploadsScene(
  settings: Readonly<Record<string, string>> = {},
): Promise<UploadsScene> {
  const temp = await openTempFolder();
  try {
    const data = temp.path;
    const tree = path.join(data, 'sigstore');
    const signer = makeSigner('alice');
    const token = await enrol(data, signer);
    const server = await startServer({ data, settings });
    const direct = uploadsTo(server.port, token);
    const uploads = isByNodes ? sentAgain(direct) : direct;
    return {
      data,
      server,
      signer,
      uploads,
      async assertHolds(folder, signatures) {
        const expected = signatures.map((_, position) => `signature-${position + 1}`);
        if (!isByNodes) {
          const names = await readdir(path.join(tree, folder)).catch(() => []);
          assert.deepEqual(names.sort(), [...expected].sort());
        }
        for (const [position, bytes] of signatures.entries()) {
          const name = `${folder}/signature-${position + 1}`;
          const { status, body } = await uploads.get(name);
          assert.equal(status, 200, name);
          assert.ok(body.equals(bytes), `${name} is served with other bytes`);
          if (isByNodes) continue; // they have no files
          assert.ok((await readFile(path.join(tree, name))).equals(bytes), `${name} has other bytes`);
        }
        assert.equal((await uploads.get(`${folder}/signature-${signatures.length + 1}`)).status, 404);
      },
      async assertNoDebris() {
        if (!isByNodes) assert.deepEqual(await readdir(path.join(tree, '.lookaside/tmp')), []);
      },
      async [Symbol.asyncDispose]() {
        await server[Symbol.asyncDispose]();
        await temp[Symbol.asyncDispose]();
      },
    };
  } catch (error) {
    await temp[Symbol.asyncDispose]();
    throw error;
  }
}

const PATIENCE_MS = 300_000;
const NO_TIME: readonly (string | null)[] = ['STORE_UNAVAILABLE', 'BUSY'];

/** As a client does that is told so: what nodes had no time for is sent again. A machine under load has much of that. */
function sentAgain(uploads: Uploads): Uploads {
  const patiently = <T extends { readonly code: string | null }>(send: () => Promise<T>): Promise<T> =>
    eventually(async () => {
      const answer = await send();
      assert.ok(!NO_TIME.includes(answer.code), `${answer.code}`);
      return answer;
    }, PATIENCE_MS);
  const form: Uploads['form'] = async (sent) => {
    const answer = await uploads.form(sent);
    const results = [...answer.results];
    if (answer.code !== null || !results.some(isLate)) return answer;
    const parts = await partsOf(sent);
    await eventually(async () => {
      const again = await uploads.form(await formOf(parts.filter((_, n) => isLate(results[n]))));
      assert.equal(again.code, null);
      const rest = again.results.values();
      for (const [n, result] of results.entries()) {
        if (isLate(result)) results[n] = { ...(rest.next().value ?? result), part: result.part };
      }
      assert.ok(!results.some(isLate));
    }, PATIENCE_MS);
    return { ...answer, results };
  };
  return {
    ...uploads,
    form,
    put: (target, bytes) => patiently(() => uploads.put(target, bytes)),
    post: (folder, bytes) => patiently(() => uploads.post(folder, bytes)),
    batch: async (parts) => form(await formOf(parts)),
  };
}

/** As formOf() took them. */
async function partsOf({ contentType, body }: Form): Promise<readonly Part[]> {
  const form = await new Response(body, { headers: { 'Content-Type': contentType } }).formData();
  const files = form.getAll('signature').filter((one) => typeof one !== 'string');
  return Promise.all(
    files.map(async (file) => ({ bytes: new Uint8Array(await file.arrayBuffer()), fileName: file.name })),
  );
}

function isLate(result: PartResult | undefined): boolean {
  return result?.result === 'refused' && NO_TIME.includes(result.code);
}
