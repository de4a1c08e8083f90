// An example or two of each command, as its help ends with them. test/cli/examples.test.ts parses each of them.

const FINGERPRINT = '2CF164DD0F4D0B6F6A1B5C2E8A3B7D9E0F1A2B3C';
const IMAGE = 'team/app@sha256:6de670549a82d9e10858654429e747de0672895b1d9017659d2a34c7f9706233';
const SIGNATURE = `${IMAGE.replace('sha256:', 'sha256=')}/signature-2`;
const SERVER = '--server https://signatures.example.com';

/** By the names of the command, without `lookaside`; the lines are without it too. */
export const EXAMPLES: Readonly<Record<string, readonly string[]>> = {
  serve: [
    'serve --data /var/lib/lookaside --registry registry.example.com',
    'serve --root /var/lib/containers/sigstore',
  ],
  config: ['config --data /var/lib/lookaside'],
  fsck: ['fsck', 'fsck --repair'],
  reindex: ['reindex'],
  push: [
    `push ${SERVER} --token-file token /var/lib/containers/sigstore`,
    'push --watch /var/lib/containers/sigstore',
  ],
  list: ['list', 'list team/app:v1', 'list --state unknown-key --since 2026-11-22'],
  show: ['show team/app:v1', `show ${IMAGE}`],
  import: ['import /srv/old-sigstore --dry-run', 'import /srv/old-sigstore'],
  backup: ['backup /srv/backup/lookaside --data /var/lib/lookaside'],
  restore: ['restore /srv/backup/lookaside --data /var/lib/lookaside'],
  migrate: [
    'migrate --to postgres://lookaside@db.example.com/lookaside --dry-run',
    'migrate --from postgres://lookaside@db.example.com/lookaside --data ./data',
  ],
  withdraw: [`withdraw ${SIGNATURE} --reason 'signed by mistake'`],
  'key add': ['key add signer.asc', 'key add - < signer.asc'],
  'key list': ['key list', 'key list --expiring 30d'],
  'key show': [`key show ${FINGERPRINT}`],
  'key export': ['key export > keys.asc', `key export ${FINGERPRINT} --for openshift > key.asc`],
  'key remove': [`key remove ${FINGERPRINT}`],
  'key rotation': ['key rotation 8A3B7D9E0F1A2B3C 5E6F708192A3B4C5'],
  'key refresh': ['key refresh --from newer.asc', 'key refresh --from hkps://keys.example.com'],
  'key retire': [`key retire ${FINGERPRINT}`],
  'key revoke': [
    `key revoke ${FINGERPRINT} --reason 'the laptop was stolen' --dry-run`,
    `key revoke ${FINGERPRINT} --reason 'the laptop was stolen' --withdraw`,
  ],
  verify: [
    'verify manifest.json registry.example.com/team/app:v1',
    'verify manifest.json registry.example.com/team/app:v1 signature-1 --keyring signer.asc',
  ],
  'trust inspect': ['trust inspect team/app'],
  'trust revoke': ["trust revoke team/app:v1 --reason 'built from the wrong branch' --dry-run"],
  'client-config': [
    `client-config ${SERVER} --registry registry.example.com --all-keys --diff`,
    `client-config ${SERVER} --registry registry.example.com --all-keys --install`,
  ],
  doctor: ['doctor registry.example.com/team/app:v1'],
  'token create': [
    'token create --name pipeline --expires 90d --output token',
    'token create --name anna --role auditor',
  ],
  'token list': ['token list'],
  'token revoke': ['token revoke pipeline'],
  'token end-session': ['token end-session 3'],
  'audit query': ['audit query --since 7d', 'audit query --action withdraw --repository team'],
  'audit key': [`audit key ${FINGERPRINT}`],
  'audit image': ['audit image team/app:v1'],
  'audit signature': ['audit signature 404d8ac4a7eb9caf1fb5b5cda1c1dd79d9884391e4ac08cbe5a1b70b02f46a87'],
  'audit unsigned': ['audit unsigned --since 7d'],
  'audit stale': ['audit stale --days 90'],
  'audit who': ['audit who 192.0.2.7 --since 7d', 'audit who pipeline'],
  'audit exposure': ['audit exposure team/app:v1 --between 2026-11-01 2026-11-08'],
  'audit report': ['audit report --month 2026-11 --output /srv/reports'],
  'audit forget': ['audit forget --address 192.0.2.7 --before 90d', 'audit forget --actor anna --before 90d'],
  'audit verify': ['audit verify', 'audit verify --from checkpoint.txt'],
  'audit prove': [`audit prove ${SIGNATURE} --output app.tlog-proof`],
  'audit check': ['audit check app.tlog-proof --key log.vkey'],
  'access query': ['access query --repository team/app --since 1d', 'access query --by address,day'],
  'access export': ['access export > access.yaml'],
  'signer add': ["signer add ci-team-app --description 'the pipeline of team/app'"],
  'signer list': ['signer list'],
  'signer show': ['signer show ci-team-app'],
  'signer oidc add': [
    'signer oidc add ci-team-app --issuer https://token.actions.githubusercontent.com --claim repository=team/app',
  ],
  'signer oidc list': ['signer oidc list'],
  'signer oidc remove': ['signer oidc remove 3'],
  'signer disable': ['signer disable ci-team-app'],
  'signer enable': ['signer enable ci-team-app'],
  'signer remove': ['signer remove ci-team-app'],
  'grant add': [`grant add --signer ci-team-app --repository 'team/*' --key ${FINGERPRINT}`],
  'grant remove': ['grant remove 3'],
  'grant list': ['grant list --signer ci-team-app'],
  'grant test': [`grant test --signer ci-team-app --repository team/app --key ${FINGERPRINT} --tag v1`],
  apply: ['apply --file access.yaml --dry-run', 'apply --file access.yaml'],
  'mirror add': [
    'mirror add rh --preset red-hat --prefix /rh',
    'mirror add vendor --upstream https://signatures.example.com/sigstore --prefix /vendor',
  ],
  'mirror list': ['mirror list'],
  'mirror show': ['mirror show rh'],
  'mirror status': ['mirror status'],
  'mirror edit': ['mirror edit rh --max-age 1h'],
  'mirror remove': ['mirror remove rh'],
  'mirror sync': [
    'mirror sync rh mapping.txt',
    'mirror sync rh --registry registry.example.com/redhat --every 6h',
  ],
};

/** What the help of a command ends with; null when the command has no example. */
export function formatExamples(names: string): string | null {
  const lines = EXAMPLES[names];
  if (lines === undefined) return null;
  const heading = lines.length === 1 ? 'Example' : 'Examples';
  return [`\n${heading}:`, ...lines.map((line) => `  lookaside ${line}`)].join('\n');
}
