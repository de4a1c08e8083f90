// The lines that doctor prints: what was looked at, what came of it, and which rule of clients says so.

export interface Step {
  /** `source`: the rule that clients follow here, for --explain. */
  readonly step:
    | 'user'
    | 'short name'
    | 'policy'
    | 'registries.d'
    | 'registries.conf'
    | 'login'
    | 'registry'
    | 'lookaside'
    | 'signature'
    | 'requirement'
    | 'server';
  readonly outcome: 'ok' | 'bad' | 'note';
  readonly text: string;
  readonly source: string;
}

const SOURCES: Readonly<Record<Step['step'], string>> = {
  user: 'containers/storage pkg/homedir: HOME, else the home of the user',
  policy: 'containers-policy.json(5); containers/image signature/policy_config.go',
  'registries.d': 'containers-registries.d(5); containers/image docker/registries_d.go',
  'short name': 'containers-registries.conf(5), Short-Name Aliasing; containers/image pkg/shortnames',
  'registries.conf': 'containers-registries.conf(5); containers/image pkg/sysregistriesv2',
  login: 'containers-auth.json(5); containers/image pkg/docker/config',
  registry: 'containers-certs.d(5); containers/image docker/docker_client.go',
  lookaside: 'signature-protocols.md; containers/image docker/docker_image_src.go',
  signature: 'containers-signature(5); containers/image signature/simple.go',
  server: 'GET /api/v1/doctor of the server that is named',
  requirement: 'containers-policy.json(5); containers/image signature/policy_eval_signedby.go',
};

export function step(name: Step['step'], outcome: Step['outcome'], text: string): Step {
  return { step: name, outcome, text, source: SOURCES[name] };
}
