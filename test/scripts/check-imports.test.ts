import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { checkFile, readTree } from '../../scripts/check-imports.ts';
import { importsOf, scanSource } from '../../scripts/scan-source.ts';

const check = (path: string, ...lines: string[]) => checkFile({ path, text: `${lines.join('\n')}\n` });

describe('the sources', () => {
  it('keep to their floors, doors and names', () => {
    expect(readTree(join(import.meta.dirname, '../..')).flatMap(checkFile)).toEqual([]);
  });
});

describe('an import is refused when it', () => {
  it.each([
    ['goes up', 'src/vault/vault.ts', "import { a } from '../identity/identity.ts';", /up, floor 2 .* floor 3/],
    ['goes sideways', 'src/vault/vault.ts', "import { a } from '../audit/audit.ts';", /sideways, floor 2 .*\(audit\)/],
    ['is a type only', 'src/web/web.ts', "import type { A } from '../egress/egress.ts';", /sideways, floor 1/],
    ['is dynamic', 'src/web/web.ts', "const a = await import('../gateway/gateway.ts');", /floor 6/],
    ['is the type of an import', 'src/web/web.ts', "type A = typeof import('../gateway/gateway.ts');", /floor 6/],
    ['re-exports', 'src/connections/store.ts', "export * from '../gateway/call.ts';", /floor 6/],
    ['is bare', 'src/connections/store.ts', "import '../server.ts';", /floor 7/],
    ['starts in a kind', 'src/connectors/kinds/mcp/mcp.ts', "import { a } from '../../../gateway/call.ts';", /floor 6/],
    ['ends in a room of equal floor', 'src/gateway/call.ts', "import { a } from '../admin/users.ts';", /sideways/],
    [
      'joins the two OAuth roles',
      'src/connections/a.ts',
      "import { a } from '../authorization-server/b.ts';",
      /sideways/,
    ],
    ['starts at the bottom', 'src/log.ts', "import { a } from './web/web.ts';", /floor 0 \(foundation\)/],
    [
      'reaches over the practice service',
      'src/test-server/api.ts',
      "import { a } from '../identity/a.ts';",
      /0 to 1 only/,
    ],
    ['takes the whole config', 'src/vault/vault.ts', "import type { Config } from '../config.ts';", /slice/],
    ['leaves src', 'src/vault/vault.ts', "import { a } from '../../test/vault/a.ts';", /outside src/],
    ['names a stray file', 'src/vault/vault.ts', "import { a } from '../stray.ts';", /no floor/],
    ['is computed', 'src/vault/vault.ts', 'await import(`./${name}.ts`);', /computed/],
    ['takes an unlisted package', 'src/vault/vault.ts', "import a from 'left-pad';", /left-pad: not a listed package/],
    [
      'takes a package behind its door',
      'src/gateway/call.ts',
      "import { Pool } from 'undici';",
      /only egress may \(types/,
    ],
    ['takes types where none cross', 'src/identity/a.ts', "import type { Pool } from 'undici';", /only egress may/],
    ['opens a process', 'src/gateway/call.ts', "import { spawn } from 'node:child_process';", /only sandbox, cli/],
    ['opens the store', 'src/vault/store.ts', "import { DatabaseSync } from 'node:sqlite';", /only database may/],
    ['speaks HTTP', 'src/connections/a.ts', "import { request, type Server } from 'node:http';", /only web, egress/],
    ['hides a value behind a harmless one', 'src/gateway/a.ts', "import net, { isIP } from 'node:net';", /node:net/],
    ['builds SQL outside a store', 'src/identity/routes.ts', "import { sql } from 'kysely';", /\*\/store may/],
  ])('%s', (_, path, line, message) => {
    const found = check(path, '// first', line);
    expect(found).toHaveLength(1);
    expect(found[0]).toMatch(message);
    expect(found[0]?.startsWith(`${path}:2 `)).toBe(true);
  });
});

describe('an import is fine when it', () => {
  it.each([
    ['goes down', 'src/gateway/call.ts', "import { a } from '../connections/connections.ts';"],
    ['stays in its room', 'src/connectors/kinds/mcp/a.ts', "import { a } from '../../connector.ts';"],
    ['is the composition root', 'src/server.ts', "import { a } from './gateway/gateway.ts';"],
    ['is the command line', 'src/main.ts', "import { a } from './cli/serve.ts';"],
    ['crosses as a type', 'src/gateway/call.ts', "import type { IncomingMessage } from 'node:http';"],
    ['marks each type', 'src/gateway/call.ts', "import { type Dispatcher, type Pool } from 'undici';"],
    ['opens nothing', 'src/identity/a.ts', "import { isIP, type Socket } from 'node:net';"],
    ['is a store', 'src/identity/store.ts', "import { sql } from 'kysely';"],
    ['is only mentioned', 'src/log.ts', "const a = `${'import { a } from'} './server.ts'`; // import './server.ts'"],
    ['stands in a regular expression', 'src/log.ts', 'const a = /"import("/.test(b) && process.argv;'],
  ])('%s', (_, path, line) => {
    expect(check(path, line)).toEqual([]);
  });
});

describe('a word is refused outside its door', () => {
  it.each([
    ['Date.now', 'const a = Date.now();', 'src/clock.ts'],
    ['new Date()', 'const a = new Date();', 'src/clock.ts'],
    ['performance.now', 'const a = performance.now();', 'src/clock.ts'],
    ['process.env', "const a = process.env['A'];", 'src/config.ts'],
    ['env of process', 'const { env } = process;', 'src/config.ts'],
    ['process.cwd', 'const a = process.cwd();', 'src/main.ts'],
  ])('%s', (_, line, door) => {
    expect(check('src/vault/vault.ts', line)).toHaveLength(1);
    expect(check('src/vault/vault.ts', `// ${line}`, `const text = "${line}";`)).toEqual([]);
    expect(check(door, line)).toEqual([]);
  });

  it('inside a template all the same', () => {
    expect(check('src/vault/vault.ts', 'const a = `at ${`${Date.now()}`} ms`;')).toHaveLength(1);
  });

  it('writing a time out is no reading of it', () => {
    expect(check('src/vault/vault.ts', 'const a = new Date(now).toISOString();')).toEqual([]);
  });
});

describe('a file is refused when it', () => {
  it.each([
    ['is a drawer', 'src/vault/utils.ts', /called utils/],
    ['lies in a drawer', 'test/lib/vault.test.ts', /called lib/],
    ['is a barrel', 'src/vault/index.ts', /barrel/],
    ['stands beside the rooms', 'src/stray.ts', /no floor/],
    ['opens an unknown room', 'src/attic/attic.ts', /no floor/],
  ])('%s', (_, path, message) => {
    expect(check(path, '')).toEqual([expect.stringMatching(message)]);
  });

  it('has more than 500 lines', () => {
    const lines = Array.from({ length: 500 }, () => '');
    expect(check('src/vault/vault.ts', ...lines)).toEqual([]);
    expect(check('src/vault/vault.ts', ...lines, '')).toEqual([expect.stringMatching(/line 501: 500 is the most/)]);
    expect(check('test/vault/vault.test.ts', ...lines, '')).toEqual([]);
  });
});

describe('the scanner', () => {
  it('keeps every line where it was', () => {
    const text = 'const a = `x\n${`y\n${1}`}`;\n/* b\n */ const c = "d"; // e\nimport f from "g";\n';
    const source = scanSource(text);
    expect(source.code).toHaveLength(text.length);
    expect(importsOf(source)).toEqual([
      { specifier: 'g', line: 6, typeOnly: false, dynamic: false, names: ['default'] },
    ]);
  });

  it('sees names over several lines', () => {
    expect(importsOf(scanSource("import {\n  a as b,\n  type C,\n} from 'd';"))).toEqual([
      { specifier: 'd', line: 1, typeOnly: false, dynamic: false, names: ['a'] },
    ]);
  });
});
