// Release signatures as OpenShift reads them first: ConfigMaps. Source: openshift/library-go pkg/verify/store/configmap/configmap.go:
// namespace and label decide, and every key of binaryData that begins with sha256-<hex> counts.
import { MAX_CONFIGMAP_BYTES } from './limits.ts';

export interface ConfigMap {
  readonly apiVersion: 'v1';
  readonly kind: 'ConfigMap';
  readonly metadata: {
    readonly name: string;
    readonly namespace: 'openshift-config-managed';
    readonly labels: Readonly<Record<string, string>>;
  };
  readonly binaryData: Readonly<Record<string, string>>;
}

/**
 * The signatures of one release, in their order; several ConfigMaps where one would be too large for `oc apply`, which stores
 * the object once more in an annotation. `base64` holds them encoded; at least one.
 */
export function configMapsOf(hex: string, base64: readonly string[]): readonly [ConfigMap, ...ConfigMap[]] {
  const parts: Record<string, string>[] = [{}];
  let length = 0;
  for (const [position, text] of base64.entries()) {
    if (length > 0 && length + text.length > MAX_CONFIGMAP_BYTES) {
      parts.push({});
      length = 0;
    }
    // oc-mirror takes keys apart at each - and needs the number
    Object.assign(parts.at(-1) ?? {}, { [`sha256-${hex}-${position + 1}`]: text });
    length += text.length;
  }
  const made = parts.map((binaryData, position): ConfigMap => {
    const name = position === 0 ? `sha256-${hex}` : `sha256-${hex}-part-${position + 1}`;
    return {
      apiVersion: 'v1',
      kind: 'ConfigMap',
      metadata: {
        name,
        namespace: 'openshift-config-managed',
        labels: { 'release.openshift.io/verification-signatures': '' },
      },
      binaryData,
    };
  });
  return made as unknown as readonly [ConfigMap, ...ConfigMap[]]; // parts has one at least
}

/** YAML, one document for each. */
export function configMapYaml(maps: readonly ConfigMap[]): string {
  return maps.map(documentOf).join('---\n');
}

function documentOf({ apiVersion, kind, metadata, binaryData }: ConfigMap): string {
  // JSON texts are YAML too
  const members = (values: Readonly<Record<string, string>>, indent: string) =>
    Object.entries(values).map(([name, value]) => `${indent}${name}: ${JSON.stringify(value)}`);
  return [
    `apiVersion: ${apiVersion}`,
    `kind: ${kind}`,
    'metadata:',
    `  name: ${metadata.name}`,
    `  namespace: ${metadata.namespace}`,
    '  labels:',
    ...members(metadata.labels, '    '),
    'binaryData:',
    ...members(binaryData, '  '),
    '',
  ].join('\n');
}
