// Files of a machine in Butane and in Ignition, by which CoreOS is set up: what OpenShift's MachineConfigs and Fedora CoreOS share.
import { toBase64 } from '../base64.ts';
import type { PlannedFile } from './podman-files.ts';
import type { RegistriesFile } from './registries-merge.ts';

/** Read by OpenShift 4.8 and newer, and by Fedora CoreOS since 2021. */
export const IGNITION_VERSION = '3.2.0';

/**
 * Files of registries.d that Fedora CoreOS, RHEL CoreOS and RHEL since 8 have, and RHEL 7 lacks (OpenShift's documentation,
 * "Enabling signature verification"; Fedora's containers-common).
 */
export const RED_HAT_FILES: readonly (RegistriesFile & {
  readonly registry: string;
  readonly sigstore: string;
})[] = [
  ['registry.access.redhat.com', 'https://access.redhat.com/webassets/docker/content/sigstore'],
  ['registry.redhat.io', 'https://registry.redhat.io/containers/sigstore'],
].map(([registry = '', sigstore = '']) => {
  return {
    name: `${registry}.yaml`,
    text: '',
    value: { docker: { [registry]: { sigstore } } },
    registry,
    sigstore,
  };
});

/** Lines below `storage.files` of Butane. */
export function butaneFiles(files: readonly PlannedFile[]): readonly string[] {
  return files.flatMap((file) => [
    `    - path: ${file.path}`,
    '      mode: 0644',
    '      overwrite: true',
    '      contents:',
    ...butaneContents(file),
  ]);
}

function butaneContents(file: PlannedFile): readonly string[] {
  const text = new TextDecoder().decode(file.content);
  if (file.keys !== null || !isLiteral(text)) return [`        source: ${dataUrl(file)}`];
  const lines = text.slice(0, -1).split('\n');
  return ['        inline: |', ...lines.map((line) => (line === '' ? '' : `          ${line}`))];
}

// what a literal block of YAML gives back byte by byte: no other line ends, one at the end, no indentation to guess
function isLiteral(text: string): boolean {
  return /^[!-~][\t\n -~]*[!-~]\n$/.test(text) && !/[ \t]\n/.test(text);
}

/** Lines below `spec.config.storage.files` of a MachineConfig. */
export function machineFiles(files: readonly PlannedFile[]): readonly string[] {
  return files.flatMap((file) => [
    '        - contents:',
    '            compression: ""',
    `            source: ${dataUrl(file)}`,
    '          mode: 420', // 0644
    '          overwrite: true',
    `          path: ${file.path}`,
  ]);
}

/** A whole Ignition config. */
export function ignition(files: readonly PlannedFile[]): string {
  const written = files.map((file) => {
    const contents = { compression: '', source: dataUrl(file) };
    return { path: file.path, contents, mode: 0o644, overwrite: true };
  });
  return `${JSON.stringify({ ignition: { version: IGNITION_VERSION }, storage: { files: written } }, null, 2)}\n`;
}

/** As the machine config operator's own dataurl.EncodeBytes writes it. */
function dataUrl({ content, keys }: PlannedFile): string {
  const type = keys === null ? 'text/plain;charset=utf-8' : 'application/octet-stream';
  return `data:${type};base64,${toBase64(content)}`;
}
