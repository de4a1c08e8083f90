// The tree of a data directory, for commands that name none: the tree that its server was last started with.
import type { Config } from '../config.ts';
import { isLookasideError } from '../domain/errors.ts';
import { DEFAULT_SITE } from '../domain/image.ts';
import { openIndexReadOnly } from '../sqlite/databases.ts';
import { sharedRootOf } from './site.ts';

/**
 * Adds that tree to a configuration that names none. Otherwise `fsck --data D` beside a server that runs with `--root` would
 * look at an empty tree, and `key add` would make the index forget the tree that is served.
 * @throws LookasideError STORE_UNAVAILABLE
 */
export async function inBoundTree(config: Config): Promise<Config> {
  if (config.tree === 'shared') return config;
  const root = sharedRootOf(await boundTree(config.data));
  return root === null ? config : { ...config, root, tree: 'shared' };
}

async function boundTree(data: string): Promise<string> {
  try {
    using index = openIndexReadOnly(data);
    return (await index?.treeOf(DEFAULT_SITE)) ?? '';
  } catch (error) {
    if (isLookasideError(error, 'INDEX_UNUSABLE')) return '';
    throw error;
  }
}
