// What is installed: from one registry, with a hash, without scripts but for one, and nothing known to be broken.
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, test } from 'node:test';
import { fileURLToPath } from 'node:url';

const ROOT = fileURLToPath(new URL('../..', import.meta.url));
const REGISTRY = 'https://registry.npmjs.org/';

interface Locked {
  readonly version?: string;
  readonly resolved?: string;
  readonly integrity?: string;
  readonly link?: boolean;
  readonly hasInstallScript?: boolean;
}

interface Manifest {
  readonly dependencies: Readonly<Record<string, string>>;
  readonly devDependencies: Readonly<Record<string, string>>;
  readonly allowScripts: Readonly<Record<string, boolean>>;
  readonly scripts: Readonly<Record<string, string>>;
}

const read = (name: string) => JSON.parse(readFileSync(join(ROOT, name), 'utf8'));
const lock: { readonly lockfileVersion: number; readonly packages: Readonly<Record<string, Locked>> } =
  read('package-lock.json');
const manifest: Manifest = read('package.json');
const packages = Object.entries(lock.packages).filter(([folder]) => folder !== '');

/** Below these, the vulnerabilities that SECURITY.md names are in them. */
const FLOOR: Readonly<Record<string, string>> = {
  'better-sqlite3': '12.11.1', // SQLite 3.53.2: the WAL-reset bug is in 3.7.0 to 3.51.2
  'body-parser': '2.3.0', // CVE-2026-12590
  express: '5.3.0', // CVE-2024-43796
  helmet: '8.3.0',
  multer: '2.5.0', // CVE-2026-77078, -82333, -77037, -77063, -5038, -5079, -2359, -3304, -3520
  openpgp: '6.3.2', // CVE-2025-47934
  'path-to-regexp': '8.4.0', // CVE-2026-4926, -4923
  qs: '6.16.0', // CVE-2026-82417, -82562
};

const numbersOf = (version: string) => version.split('-', 1)[0]?.split('.').map(Number) ?? [];

function isAtLeast(version: string, floor: string): boolean {
  const [have, want] = [numbersOf(version), numbersOf(floor)];
  for (const [position, wanted] of want.entries()) {
    const installed = have[position] ?? 0;
    if (installed !== wanted) return installed > wanted;
  }
  return true;
}

describe('the lock file', () => {
  test('is of the version that names a hash for each package', () => {
    assert.equal(lock.lockfileVersion, 3);
    assert.ok(packages.length > 100);
  });

  test('has every package from the npm registry, with its SHA-512', () => {
    for (const [folder, { integrity, resolved = REGISTRY, link = false }] of packages) {
      assert.ok(!link, `${folder} is a link`);
      assert.ok(resolved.startsWith(REGISTRY), `${folder} comes from ${resolved}`);
      assert.match(integrity ?? '', /^sha512-[A-Za-z0-9+/]{86}==$/, folder);
    }
  });

  test('locks what package.json asks for, by version and not by URL', () => {
    for (const [name, range] of Object.entries({ ...manifest.dependencies, ...manifest.devDependencies })) {
      assert.match(range, /^[~^]?[0-9]+\.[0-9]+\.[0-9]+$/, name);
      assert.ok(lock.packages[`node_modules/${name}`] !== undefined, `${name} is not locked`);
    }
  });
});

test('install scripts are those of packages that are allowed by name, and of no other', () => {
  const withScripts = packages.filter(([, { hasInstallScript = false }]) => hasInstallScript);
  const names = withScripts.map(([folder]) => folder.replace(/^.*node_modules\//, ''));
  const allowed = Object.keys(manifest.allowScripts).filter((name) => manifest.allowScripts[name]);
  assert.deepEqual(names.sort(), allowed.sort());
  assert.deepEqual(allowed, ['better-sqlite3']);
  for (const hook of ['preinstall', 'install', 'postinstall', 'prepare']) {
    assert.equal(manifest.scripts[hook], undefined, `package.json has a ${hook} script of its own`);
  }
});

describe('versions', () => {
  for (const [name, floor] of Object.entries(FLOOR)) {
    test(`of ${name} are ${floor} or newer, wherever it is installed`, () => {
      const entries = packages.filter(([folder]) => folder.endsWith(`node_modules/${name}`));
      assert.ok(entries.length > 0, 'it is not locked');
      for (const [folder, { version = '' }] of entries) {
        assert.ok(isAtLeast(version, floor), `${folder} is ${version}`);
      }
    });
  }

  test('are compared by their numbers', () => {
    for (const [version, floor, wanted] of [
      ['6.16.0', '6.16.0', true],
      ['6.9.0', '6.16.0', false],
      ['12.11.2', '12.11.1', true],
      ['13.0.0', '12.11.1', true],
      ['2.4.9', '2.5.0', false],
    ] as const) {
      assert.equal(isAtLeast(version, floor), wanted, `${version} against ${floor}`);
    }
  });

  test('of morgan and serve-static are not asked for: our log and our files have code of their own', () => {
    assert.equal(manifest.dependencies['serve-static'], undefined);
    assert.equal(manifest.dependencies.morgan, undefined);
  });
});
