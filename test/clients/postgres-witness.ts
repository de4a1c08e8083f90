// A log of two nodes over PostgreSQL, whose witness is two nodes over another database.
import assert from 'node:assert/strict';
import { writeFile } from 'node:fs/promises';
import path from 'node:path';
import { it } from 'node:test';
import { parseCheckpoint } from '../../src/domain/checkpoint.ts';
import { type NoteKey, parseNoteKey, verdictOf } from '../../src/domain/signed-note.ts';
import { makePrivateKey, sha256, verifySignature } from '../../src/service/note-keys.ts';
import { eventually } from './eventually.ts';
import type { Node } from './postgres-node.ts';
import { openTempFolder } from './temp-folder.ts';

export interface WitnessTests {
  newDatabase(): Promise<string>;
  openNode(url: string, settings: Readonly<Record<string, string>>): Promise<Node>;
}

const actor = { name: 'administrator', address: null, requestId: null };
const ORIGIN = 'one.example/log';

async function textAt({ port }: Node, place: string): Promise<string> {
  return (await fetch(`http://127.0.0.1:${port}${place}`)).text();
}

/** The size of the head that the node gives out, which the witness has cosigned once. */
async function cosignedSize(node: Node, key: NoteKey): Promise<number> {
  const checkpoint = parseCheckpoint(await textAt(node, '/log/checkpoint'));
  assert.ok(checkpoint !== null);
  assert.equal(verdictOf(checkpoint.note, key, verifySignature).verdict, 'good');
  assert.equal(checkpoint.note.signatures.filter(({ name }) => name === key.name).length, 1);
  return checkpoint.size;
}

export function witnessTests({ newDatabase, openNode }: WitnessTests): void {
  it('are witnesses together, and have their own heads cosigned by the one that leads', async () => {
    await using temp = await openTempFolder();
    const at = (name: string) => path.join(temp.path, name);
    const [logUrl, witnessUrl] = [await newDatabase(), await newDatabase()];
    const asLog = { LOOKASIDE_LOG_ORIGIN: ORIGIN };
    const plain = await openNode(logUrl, asLog);
    const logKey = await textAt(plain, '/log/key');
    assert.equal((await fetch(`http://127.0.0.1:${plain.port}/witness/key`)).status, 404);
    await plain.close();

    await writeFile(at('logs'), `# the logs that are watched\n${logKey}`);
    const named = { LOOKASIDE_WITNESS_LOGS: at('logs'), LOOKASIDE_WITNESS_NAME: 'two.example/witness' };
    await assert.rejects(openNode(witnessUrl, named), {
      code: 'CONFIG_INVALID',
      message: /LOOKASIDE_WITNESS_KEY_FILE is not.*openssl genpkey/,
    });
    const asWitness = { ...named, LOOKASIDE_WITNESS_KEY: makePrivateKey() };
    const watching = [await openNode(witnessUrl, asWitness), await openNode(witnessUrl, asWitness)] as const;
    const witnessKey = await textAt(watching[0], '/witness/key');
    assert.equal(await textAt(watching[1], '/witness/key'), witnessKey);
    const key = parseNoteKey(sha256, witnessKey.trim());
    assert.ok(key?.name === 'two.example/witness');

    await writeFile(at('witnesses'), `http://127.0.0.1:${watching[0].port}/witness ${witnessKey}`);
    const settings = { ...asLog, LOOKASIDE_WITNESSES: at('witnesses') };
    const leader = await openNode(logUrl, settings);
    const follower = await openNode(logUrl, settings);
    const create = (node: Node, name: string) =>
      node.composed.tokens.create({ name, role: 'reader', lifeMs: null }, actor);
    await create(follower, 'one');
    for (const node of [leader, follower])
      await eventually(async () => assert.equal(await cosignedSize(node, key), 1));

    // the witness knows the head on each of its nodes, and goes on from no other
    const hash = Buffer.from(sha256(Buffer.from(ORIGIN))).toString('hex');
    for (const node of watching) {
      assert.match(await textAt(node, `/witness/${hash}/checkpoint`), /^one\.example\/log\n1\n/);
      const body = `old 0\n\n${await textAt(leader, '/log/checkpoint')}`;
      const again = await fetch(`http://127.0.0.1:${node.port}/witness/add-checkpoint`, {
        method: 'POST',
        body,
      });
      assert.deepEqual([again.status, await again.text()], [409, '1\n']);
    }

    // the head that the leader signed last is cosigned by the next leader's asking, although nothing else happens
    await watching[0].close();
    await create(leader, 'two');
    await eventually(async () =>
      assert.match(await textAt(follower, '/log/checkpoint'), /^one\.example\/log\n2\n/),
    );
    await writeFile(at('witnesses'), `http://127.0.0.1:${watching[1].port}/witness ${witnessKey}`);
    const next = await openNode(logUrl, settings);
    await follower.close();
    await leader.close();
    await eventually(async () => assert.equal(await cosignedSize(next, key), 2));
    await next.close();
    await watching[1].close();
  });
}
