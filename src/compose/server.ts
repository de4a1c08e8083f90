// The process that owns a data directory: opens it, has it recovered, and closes everything in order.
import { isLookasideError } from '../domain/errors.ts';
import type { Log } from '../domain/ports.ts';
import type { LogKeeper } from '../service/log-keeper.ts';
import type { Reader } from '../service/read.ts';
import type { Upkeep } from '../service/upkeep.ts';
import { openDatabases } from '../sqlite/databases.ts';
import { takeLock } from '../sqlite/lock.ts';
import { openBackground } from './background.ts';
import type { Composed, ComposeOptions } from './composed.ts';
import { connect } from './connect.ts';
import { sayOlderState } from './older-state.ts';
import type { OpenSite } from './site.ts';

/**
 * Opens the data directory as its one owner.
 * @throws LookasideError ALREADY_RUNNING, STATE_UNUSABLE, STORE_UNAVAILABLE
 */
export async function compose(
  options: ComposeOptions,
): Promise<Omit<Composed, 'sites'> & { readonly sites: readonly OpenSite[] }> {
  const lock = takeLock(options.config.data, options.taker);
  try {
    const { composed, databases } = await openOwned(options);
    const background = openBackground(options, composed);
    const endBatches = () => {
      composed.uploader.stop();
      composed.importer.stop();
    };
    return {
      ...composed,
      keyRefresher: background.keyRefresher,
      upkeep: {
        ...composed.upkeep,
        start() {
          composed.upkeep.start();
          background.start();
        },
      },
      hurry() {
        void composed.upkeep.stop(); // waited for below
        void composed.stopMirrors();
        databases.hurry();
      },
      endBatches,
      async [Symbol.asyncDispose]() {
        endBatches();
        await background.stop();
        const { upkeep, judge, revocations } = composed;
        await Promise.all([upkeep.stop(), judge.stop(), composed.stopMirrors(), revocations.stop()]);
        await Promise.all(composed.sites.map(({ appender }) => appender.idle()));
        await composed.refusals.stop();
        await composed.tokens.writeUses();
        await composed.auditLog.stop();
        await composed.cosigning?.close();
        await composed.identities.close();
        await composed.logIns.close();
        await databases.close();
        await Promise.all(composed.sites.map((site) => site.close()));
        await composed.verifier.close();
        composed.fewLines.sumUp();
        lock.release();
      },
    };
  } catch (error) {
    lock.release();
    throw error;
  }
}

async function openOwned(options: ComposeOptions) {
  const { config, log } = options;
  let upkeep: Upkeep | null = null;
  let reader: Reader | null = null;
  let auditLog: LogKeeper | null = null;
  const databases = await openDatabases({
    dataDir: config.data,
    onIndexWritten(images) {
      if (images === null) reader?.forgetAll();
      else for (const image of images) reader?.forget(image);
    },
    onOlderState: sayOlderState(log),
    onStateChanged: () => auditLog?.noteEvent(),
    onUnusable: (reason) => {
      log.error(
        { reason },
        'index.db cannot be used; it is rebuilt from the trees, and reads go to the trees meanwhile',
      );
      upkeep?.rebuild();
    },
  });
  if (databases.indexReplacedBecause !== null) {
    log.warn(
      { reason: databases.indexReplacedBecause },
      'index.db could not be used; it is rebuilt from the trees',
    );
  }
  try {
    const composed = await connect({ ...options, databases });
    ({ upkeep, reader, auditLog } = composed);
    if (databases.index.unusable !== null) upkeep.rebuild();
    for (const site of composed.sites) await recover(site, log);
    await composed.withdrawals.putBack();
    return { composed, databases };
  } catch (error) {
    await databases.close();
    throw error;
  }
}

/** Reads need nothing that a crash left unfinished, so they are served even when that cannot be read. */
async function recover({ name: site, appender }: OpenSite, log: Log): Promise<void> {
  try {
    await appender.recover();
  } catch (error) {
    if (!isLookasideError(error, 'STORE_UNAVAILABLE')) throw error;
    log.error(
      { site, err: error },
      'interrupted uploads and withdrawals could not be finished; this is tried again at the next start',
    );
  }
}
