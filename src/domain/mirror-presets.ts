// The signature sites that many people mirror.

export const MIRROR_LAYOUTS = ['repository', 'release'] as const;
export type MirrorLayout = (typeof MIRROR_LAYOUTS)[number];

/** A part of MirrorSettings. */
export interface MirrorPreset {
  readonly upstreams: string[];
  readonly layout: MirrorLayout;
  readonly redirects: string[];
}

/** As people know the sites. The keys to verify with are never fetched: they come by another way. */
export const PRESETS: Readonly<Record<string, MirrorPreset>> = {
  'red-hat': {
    upstreams: ['https://access.redhat.com/webassets/docker/content/sigstore'],
    layout: 'repository',
    redirects: [],
  },
  openshift: {
    upstreams: [
      'https://mirror.openshift.com/pub/openshift-v4/signatures/openshift/release',
      'https://storage.googleapis.com/openshift-release/official/signatures/openshift/release',
    ],
    layout: 'release',
    redirects: [],
  },
  okd: {
    upstreams: ['https://storage.googleapis.com/openshift-ci-release/releases/signatures/openshift/release'],
    layout: 'release',
    redirects: [],
  },
};
