import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';

const ROOT = join(import.meta.dirname, '../..');

describe('docs/dependencies.md', () => {
  it('has a row for every package of package.json, and for no other', () => {
    const manifest = JSON.parse(readFileSync(join(ROOT, 'package.json'), 'utf8')) as Record<string, object>;
    const wanted = ['dependencies', 'devDependencies'].flatMap((list) => Object.keys(manifest[list] ?? {}));
    const page = readFileSync(join(ROOT, 'docs/dependencies.md'), 'utf8');
    const rows = [...page.matchAll(/^\| (`[^|]+) \| ([^|]+) \|/gm)];
    const named = rows.flatMap(([, names = '']) => [...names.matchAll(/`([^`]+)`/g)].map(([, name]) => name));
    expect(new Set(named)).toEqual(new Set(wanted));
    expect(named).toHaveLength(wanted.length);
    for (const [, , why = ''] of rows) expect(why.trim()).toMatch(/^[A-Z`].+\.$/);
  });
});
