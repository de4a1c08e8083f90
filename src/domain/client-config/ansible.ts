// Ansible: a role that runs the installer. It merges, checks and takes back what modules of Ansible could not without a widened policy.
import { handedInstaller } from './handed-installer.ts';
import type { KindOptions, KindPlan } from './kind.ts';
import { textFile } from './kind-text.ts';

const ROLE = 'roles/lookaside_client';

/** @throws LookasideError as handedInstaller() */
export function planAnsible(options: KindOptions): KindPlan {
  const { script, kept } = handedInstaller('ansible', options);
  return {
    files: [
      textFile('site.yml', SITE),
      textFile(`${ROLE}/defaults/main.yml`, defaults(options.mayWiden)),
      textFile(`${ROLE}/files/setup.sh`, script),
      textFile(`${ROLE}/handlers/main.yml`, HANDLERS),
      textFile(`${ROLE}/meta/main.yml`, META),
      textFile(`${ROLE}/tasks/main.yml`, tasks(kept)),
    ],
    commands: [
      'ansible-playbook -i INVENTORY site.yml',
      '# to take it back: ansible-playbook -i INVENTORY site.yml -e lookaside_state=absent',
    ],
    notes: [],
  };
}

const SITE = `# Written by lookaside client-config.
---
- name: Demand signatures of container images
  hosts: all
  become: true
  gather_facts: false
  roles:
    - role: lookaside_client
`;

function defaults(mayWiden: boolean): string {
  return `# Written by lookaside client-config.
---
# present or absent
lookaside_state: present
# The machine lies below that folder, as in an image that is being built; empty: the machine itself.
lookaside_root: ""
# For a server that answers only with a token; keep it in a vault.
lookaside_token: ""
# Let these keys decide alone, also where policy.json refuses or asks for more.
lookaside_widen: ${mayWiden}
lookaside_reload_crio: true
`;
}

const META = `---
galaxy_info:
  role_name: lookaside_client
  author: lookaside client-config
  description: Makes podman, skopeo, buildah and CRI-O demand signatures
  license: Apache-2.0
  min_ansible_version: "2.14"
dependencies: []
`;

const HANDLERS = `---
- name: Reload CRI-O
  ansible.builtin.command:
    argv: [sh, -c, "! systemctl is-active --quiet crio || systemctl reload crio"]
  changed_when: true
  when: lookaside_reload_crio and lookaside_root == ""
`;

function tasks(kept: string): string {
  return `---
- name: Put keys, registries.d and policy.json in place
  ansible.builtin.script:
    cmd: >-
      setup.sh{{ ' --root ' + (lookaside_root | quote) if lookaside_root else '' }}{{ ' --widen' if lookaside_widen else '' }}{{ ' --dry-run' if ansible_check_mode else '' }}
    executable: sh
  environment:
    LOOKASIDE_TOKEN: "{{ lookaside_token }}"
  check_mode: false
  register: lookaside_setup
  changed_when: lookaside_setup.stdout is search('^written ', multiline=True)
  when: lookaside_state == "present"
  notify: Reload CRI-O

- name: Look for what was there before
  ansible.builtin.stat:
    path: "{{ lookaside_root }}/${kept}"
  register: lookaside_kept
  when: lookaside_state == "absent"

- name: Take it back
  ansible.builtin.script:
    cmd: setup.sh{{ ' --root ' + (lookaside_root | quote) if lookaside_root else '' }} --undo
    executable: sh
  when: lookaside_state == "absent" and lookaside_kept.stat.exists
  notify: Reload CRI-O
`;
}
