import assert from 'node:assert/strict';
import { test } from 'node:test';
import { usableProcessors } from '../../src/cli/processors.ts';

/** On a machine with 64 processors, with these files. */
function on(files: Readonly<Record<string, string>>): number {
  return usableProcessors({ processors: 64, read: (file) => files[file] ?? null });
}

test('a container of control groups version 2 has the processors of its quota', () => {
  const inContainer = (max: string) => on({ '/proc/self/cgroup': '0::/\n', '/sys/fs/cgroup/cpu.max': max });
  assert.equal(inContainer('200000 100000\n'), 2);
  assert.equal(inContainer('150000 100000\n'), 2);
  assert.equal(inContainer('50000 100000\n'), 1);
  assert.equal(inContainer('max 100000\n'), 64);
});

test('a service has the smallest quota of its own group and those around it', () => {
  const inService = (own: string, around: string) =>
    on({
      '/proc/self/cgroup': '0::/system.slice/lookaside.service\n',
      '/sys/fs/cgroup/system.slice/lookaside.service/cpu.max': own,
      '/sys/fs/cgroup/system.slice/cpu.max': around,
    });
  assert.equal(inService('400000 100000\n', 'max 100000\n'), 4);
  assert.equal(inService('400000 100000\n', '300000 100000\n'), 3);
  assert.equal(inService('max 100000\n', 'max 100000\n'), 64);
});

test('a container of version 1 sees its own group as the outermost, under the name that the machine has for it', () => {
  const inContainer = (quota: string) =>
    on({
      '/proc/self/cgroup':
        '12:memory:/docker/0123\n4:cpu,cpuacct:/docker/0123\n1:name=systemd:/docker/0123\n',
      '/sys/fs/cgroup/cpu,cpuacct/cpu.cfs_quota_us': quota,
      '/sys/fs/cgroup/cpu,cpuacct/cpu.cfs_period_us': '100000\n',
    });
  assert.equal(inContainer('300000\n'), 3);
  assert.equal(inContainer('-1\n'), 64);
});

test('elsewhere all processors count', () => {
  assert.equal(on({}), 64);
  assert.equal(on({ '/proc/self/cgroup': 'what is this\n', '/sys/fs/cgroup/cpu.max': '100000 100000' }), 64);
  assert.ok(usableProcessors() >= 1);
});
