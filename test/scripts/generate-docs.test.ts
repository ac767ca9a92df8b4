import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { ERRORS } from '../../src/errors.ts';
import { errorsPage, generatedPages, settingsPage } from '../../scripts/generate-docs.ts';
import { declaredTables, differences } from '../../scripts/storage-page.ts';

const ROOT = join(import.meta.dirname, '../..');

describe('the generated pages', () => {
  it('say what the sources say', async () => {
    for (const [path, text] of Object.entries(await generatedPages())) {
      expect(readFileSync(join(ROOT, path), 'utf8'), `${path} is out of date: npm run docs`).toBe(text);
    }
  });

  it('have a heading for every code', () => {
    const page = errorsPage(readFileSync(join(ROOT, 'src/errors.ts'), 'utf8'));
    const headings = [...page.matchAll(/^### (\w+)$/gm)].map(([, code]) => code);
    expect(headings).toEqual(Object.keys(ERRORS));
  });

  it('refuse a catalogue whose text lacks a code', () => {
    const source = readFileSync(join(ROOT, 'src/errors.ts'), 'utf8');
    expect(() => errorsPage(source.replace('not_found: entry(', 'not_found:  entry('))).toThrow(/not_found/);
  });

  it('keep a bar of a default inside its cell', () => {
    const page = settingsPage([{ variable: 'VALETKEY_A', key: 'a', default: 'x | y', meaning: 'A.', secret: true }]);
    expect(page).toContain('| `VALETKEY_A` | `a` | x \\| y | A. Secret: `config show` hides it. |');
  });
});

describe('the types of the schema', () => {
  const source = `
    /** Alone. */
    export type LoneTable = { name: string };
    export type RoomTables = {
      /**
       * Over
       * two lines.
       */
      things: {
        tenant: string;
        // not for readers
        /** \`a\` or \`b\`. */
        kind: string | null;
      };
      others: { id: string; at: number };
    };`;

  it('are read with their comments', () => {
    expect(declaredTables(source)).toEqual([
      { name: 'lone', doc: 'Alone.', columns: [{ name: 'name', type: 'string', doc: '' }] },
      {
        name: 'things',
        doc: 'Over two lines.',
        columns: [
          { name: 'tenant', type: 'string', doc: '' },
          { name: 'kind', type: 'string | null', doc: '`a` or `b`.' },
        ],
      },
      {
        name: 'others',
        doc: '',
        columns: [
          { name: 'id', type: 'string', doc: '' },
          { name: 'at', type: 'number', doc: '' },
        ],
      },
    ]);
  });

  it('are held against what the migrations make', () => {
    const column = (name: string, type: string, notnull: number) => ({ name, type, notnull, pk: 0 });
    const stored = new Map([
      ['extra', { columns: [], indexes: [] }],
      ['things', { columns: [column('tenant', 'text', 0), column('age', 'bigint', 1)], indexes: [] }],
      ['lone', { columns: [column('name', 'text', 1)], indexes: [] }],
    ]);
    expect(differences(declaredTables(source), stored)).toEqual([
      'extra is in the migrations only',
      'things.tenant is string | null in the migrations, string in the types',
      'things.age is in the migrations only',
      'things.kind is in the types only',
      'others is in the types only',
    ]);
  });
});
