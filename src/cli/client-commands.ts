// The words and options of the commands for machines that pull: doctor.
import { homedir } from 'node:os';
import { type Command, Option } from 'commander';
import { CLIENT_GENERATIONS, type ClientGeneration } from '../domain/client-machine.ts';
import { type CommandTools, type RemoteOptions, withServer } from './command-tools.ts';
import { loadForServer } from './load-config.ts';

interface DoctorFlags extends RemoteOptions {
  readonly policy?: string;
  readonly crioNamespace?: string;
  readonly 'registries.d'?: string;
  readonly registriesConf?: string;
  readonly client: ClientGeneration;
  readonly tlsVerify?: string;
  readonly explain?: boolean;
  readonly json?: boolean;
}

export function addClients(program: Command, { finish }: CommandTools): void {
  withServer(program.command('doctor'))
    .description('tell why podman, skopeo or CRI-O refuse an image on this machine, and what to change')
    .argument('<image>', 'as it is pulled: HOST/REPOSITORY:TAG; without a host, as podman completes it')
    .option('--policy <file>', "in place of the user's or the system's policy.json")
    .option(
      '--crio-namespace <namespace>',
      'as CRI-O pulls for a pod of that Kubernetes namespace (signature_policy_dir)',
    )
    .option('--registries.d <folder>', "in place of the user's or the system's registries.d")
    .option('--registries-conf <file>', 'in place of registries.conf (CONTAINERS_REGISTRIES_CONF)')
    .addOption(
      new Option('--client <generation>', 'old: before containers/image 5.22; podman-6: merged folders')
        .choices(CLIENT_GENERATIONS)
        .default('current'),
    )
    .addOption(
      new Option(
        '--tls-verify <boolean>',
        'false: take any certificate, and plain HTTP; by default as registries.conf says, as podman does',
      ).choices(['true', 'false']),
    )
    .option('--explain', 'name the rule of clients behind each step')
    .option('--json', 'print JSON')
    .action(async (image: string, options: DoctorFlags) => {
      const { runDoctor } = await import('./doctor.ts');
      const {
        policy = null,
        crioNamespace = null,
        registriesConf = null,
        client,
        tlsVerify,
        explain = false,
        json = false,
        server,
        tokenFile,
        ca,
      } = options;
      const given = Object.entries({ server, tokenFile, ca }).filter(([, value]) => value !== undefined);
      const loaded = () => loadForServer(Object.fromEntries(given));
      finish(
        await runDoctor({
          ...{ image, policy, crioNamespace, registriesConf, explain, json },
          registriesD: options['registries.d'] ?? null,
          generation: client,
          isInsecure: tlsVerify === undefined ? null : tlsVerify === 'false',
          home: homedir(),
          environment: process.env,
          // a server that nobody has named is not asked
          server: server === undefined && (process.env.LOOKASIDE_URL ?? '') === '' ? null : loaded,
        }),
      );
    });
}
