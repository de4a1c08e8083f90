// The gpg-agents that podman and skopeo start, each in a folder of its own. One whose folder goes while it still starts never ends.
import { readdir, readFile } from 'node:fs/promises';
import { setTimeout as wait } from 'node:timers/promises';
import { systemCode } from '../../src/domain/errors.ts';

/** Process IDs of those whose home lies below the folder; none where there is no /proc. */
export async function agentsBelow(folder: string): Promise<readonly number[]> {
  const names = await readdir('/proc').catch(() => []);
  const agents: number[] = [];
  for (const name of names.filter((one) => /^[0-9]+$/.test(one))) {
    // it may have ended since
    const [program = '', ...words] = (await readFile(`/proc/${name}/cmdline`, 'utf8').catch(() => '')).split(
      '\0',
    );
    const home = words[words.indexOf('--homedir') + 1] ?? '';
    if (/(?:^|\/)gpg-agent$/.test(program) && home.startsWith(`${folder}/`)) agents.push(Number(name));
  }
  return agents;
}

/** Ends them at once: they hold nothing that anybody needs. */
export async function endAgents(folder: string): Promise<void> {
  for (let agents = await agentsBelow(folder); agents.length > 0; agents = await agentsBelow(folder)) {
    for (const pid of agents) end(pid);
    await wait(5);
  }
}

function end(pid: number): void {
  try {
    process.kill(pid, 'SIGKILL');
  } catch (error) {
    if (systemCode(error) !== 'ESRCH') throw error;
  }
}
