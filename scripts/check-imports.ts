/**
 * `npm run check:imports`: the house rules that can be read off the sources. Imports only go down floors, what has a
 * door is used there only, and no file becomes a drawer. docs/architecture.md has the picture.
 */
import { readdirSync, readFileSync } from 'node:fs';
import { join, posix, relative, sep } from 'node:path';
import { importsOf, scanSource, type Import } from './scan-source.ts';

export type SourceFile = { path: string; text: string };

const FLOORS: Record<string, number> = {
  main: 9,
  cli: 8,
  server: 7,
  gateway: 6,
  admin: 6,
  'authorization-server': 5,
  'protected-resource': 5,
  connections: 5,
  'test-server': 5,
  connectors: 4,
  identity: 3,
  vault: 2,
  audit: 2,
  webhooks: 2,
  sandbox: 2,
  database: 1,
  egress: 1,
  web: 1,
  foundation: 0,
};

/** Files that stand beside the rooms. What is not named here has no floor. */
const FOUNDATION = new Set(['errors', 'secret', 'ids', 'clock', 'log', 'config', 'nearest']);
const ALONE = new Set(['main', 'server']);

/** A room that may not use every floor below it. */
const CEILINGS: Record<string, number> = { 'test-server': 1 };

/** Config is for the composition root; rooms get their slice of it. */
const CONFIG_READERS = new Set(['main', 'cli', 'server']);

/** Packages of package.json and where they may be used; `types` may take their types as well. */
const PACKAGES: Record<string, { in: string[]; types?: string[] }> = {
  '@modelcontextprotocol/node': { in: ['test-server'] },
  '@modelcontextprotocol/server': { in: ['test-server'] },
  '@hono/node-server': { in: ['web', '*/routes'] },
  commander: { in: ['main', 'cli'] },
  hono: {
    in: ['web', 'identity', 'connections', 'authorization-server', 'protected-resource', 'admin', 'server', 'gateway'],
  },
  jose: { in: ['authorization-server', 'protected-resource', 'connections', 'identity', 'test-server'] },
  kysely: { in: ['database', '*/store'], types: ['*'] },
  oauth4webapi: { in: ['connections'] },
  'oidc-provider': { in: ['authorization-server'] },
  pg: { in: ['database'] },
  pino: { in: ['log'] },
  'prom-client': { in: ['gateway', 'server'] },
  undici: { in: ['egress'], types: ['gateway', 'connectors'] },
  yaml: { in: ['config', 'cli', 'admin', 'connectors'] },
  zod: { in: ['*'] },
};

/** Modules of Node that open something to the outside. Types open nothing and cross freely; others are free. */
const NODE_DOORS: Record<string, { in: string[]; harmless?: string[] }> = {
  'node:child_process': { in: ['sandbox', 'cli'] },
  'node:cluster': { in: ['sandbox', 'cli'] },
  'node:worker_threads': { in: ['sandbox'] },
  'node:sqlite': { in: ['database'] },
  'node:http': { in: ['web', 'egress', 'test-server', 'cli'], harmless: ['STATUS_CODES', 'METHODS'] },
  'node:https': { in: ['web', 'egress', 'test-server'] },
  'node:http2': { in: ['web', 'egress'] },
  'node:net': { in: ['egress', 'web', 'test-server'], harmless: ['isIP', 'isIPv4', 'isIPv6', 'BlockList'] },
  'node:tls': { in: ['egress', 'web'] },
  'node:dgram': { in: [] },
  'node:dns': { in: ['egress'] },
  'node:dns/promises': { in: ['egress'] },
  'node:process': { in: [] },
};

/** Words with one door. */
const WORDS: { what: string; pattern: RegExp; in: string[]; instead: string }[] = [
  {
    what: 'reads the time',
    pattern:
      /\bDate\s*\.\s*now\b|\bnew\s+Date\s*(?:\(\s*\)|(?![\w\s(]))|\bperformance\s*\.\s*now\b|\bprocess\s*\.\s*hrtime\b/g,
    in: ['clock', 'test-server', 'cli'],
    instead: 'take a Clock',
  },
  {
    what: 'reads the environment',
    pattern: /\bprocess\s*(?:\?\.|\.)\s*env\b|\bprocess\s*\[|\}\s*=\s*process\b/g,
    in: ['config', 'main', 'cli', 'test-server'],
    instead: 'make it a setting in src/config.ts',
  },
  {
    what: 'reads the working folder',
    pattern: /\bprocess\s*\.\s*cwd\b/g,
    in: ['config', 'main', 'cli', 'test-server'],
    instead: 'take the path as an option',
  },
];

const BANNED = new Set([
  'utils',
  'util',
  'helpers',
  'helper',
  'common',
  'shared',
  'misc',
  'lib',
  'types',
  'manager',
  'service',
]);
const MAX_LINES = 500;

type Place = { room: string; floor: number; file: string };

/** @returns one line per violation, empty for a file that keeps the rules */
export function checkFile({ path, text }: SourceFile): string[] {
  const found: string[] = [];
  for (const part of path
    .replace(/\.[^./]*$/, '')
    .split('/')
    .slice(1)) {
    if (BANNED.has(part)) found.push(`${path}:1 is called ${part}: name it after what it does`);
  }
  if (!path.startsWith('src/') || !path.endsWith('.ts')) return found;
  if (posix.basename(path) === 'index.ts') found.push(`${path}:1 is a barrel: import the file that is meant`);
  const lines = text.split('\n').length - (text.endsWith('\n') ? 1 : 0);
  if (lines > MAX_LINES) found.push(`${path}:${MAX_LINES + 1} goes on to line ${lines}: ${MAX_LINES} is the most`);

  const here = placeOf(path);
  if (here === undefined) return [...found, `${path}:1 has no floor: put it into a room, or name it in ${SELF}`];
  const source = scanSource(text);
  for (const one of importsOf(source)) {
    const wrong = wrongWith(one, path, here);
    if (wrong !== undefined) found.push(`${path}:${one.line} ${wrong}`);
  }
  for (const { what, pattern, in: doors, instead } of WORDS) {
    if (stands(here, doors)) continue;
    for (const match of source.code.matchAll(pattern)) {
      found.push(`${path}:${source.lineAt(match.index)} ${what} (only ${doors.join(', ')} may): ${instead}`);
    }
  }
  return found;
}

const SELF = 'scripts/check-imports.ts';

function placeOf(path: string): Place | undefined {
  const [room = '', ...rest] = path.slice('src/'.length).replace(/\.ts$/, '').split('/');
  const file = rest.at(-1) ?? room;
  const name = rest.length === 0 ? (ALONE.has(room) ? room : FOUNDATION.has(room) ? 'foundation' : '') : room;
  if (rest.length > 0 && (ALONE.has(room) || room === 'foundation')) return undefined;
  const floor = FLOORS[name];
  return floor === undefined ? undefined : { room: name, floor, file };
}

/** Whether a list of rooms and foundation files means this place; a star is any room, before a slash any room's file. */
function stands(place: Place, doors: readonly string[]): boolean {
  return doors.some(
    (door) =>
      door === '*' ||
      door === place.room ||
      (place.room === 'foundation' && door === place.file) ||
      (door.startsWith('*/') && door.slice(2) === place.file),
  );
}

function wrongWith(one: Import, path: string, here: Place): string | undefined {
  const { specifier } = one;
  if (specifier === undefined) return 'imports something computed: write the module out';
  if (specifier.startsWith('.')) return wrongFloor(specifier, path, here);
  if (specifier.startsWith('node:')) return wrongDoor(one, specifier, here);
  const name = specifier
    .split('/')
    .slice(0, specifier.startsWith('@') ? 2 : 1)
    .join('/');
  const known = PACKAGES[name];
  if (known === undefined) {
    return `imports ${specifier}: not a listed package (docs/dependencies.md, and ${SELF}; Node's own are written node:…)`;
  }
  if (stands(here, known.in) || (one.typeOnly && stands(here, known.types ?? []))) return undefined;
  const types = known.types !== undefined && !one.typeOnly ? ` (types also in ${known.types.join(', ')})` : '';
  return `imports ${specifier}: only ${known.in.join(', ')} may${types}`;
}

function wrongFloor(specifier: string, path: string, here: Place): string | undefined {
  const target = posix.join(posix.dirname(path), specifier);
  if (target === 'package.json') return undefined;
  if (!target.startsWith('src/')) return `imports ${specifier}: it lies outside src`;
  const there = placeOf(target);
  if (there === undefined) return `imports ${specifier}: it has no floor`;
  if (there.room === 'foundation' && there.file === 'config' && here.room !== 'foundation') {
    return CONFIG_READERS.has(here.room) ? undefined : `imports ${specifier}: rooms get their slice of the config`;
  }
  if (there.room === here.room) return undefined;
  const ceiling = CEILINGS[here.room];
  if (ceiling !== undefined && there.floor > ceiling) {
    return `imports ${specifier}: ${here.room} may import floors 0 to ${ceiling} only, not ${there.room} (${there.floor})`;
  }
  if (there.floor < here.floor) return undefined;
  const direction = there.floor === here.floor ? 'sideways' : 'up';
  return `imports ${specifier}: ${direction}, floor ${here.floor} (${here.room}) may not import floor ${there.floor} (${there.room})`;
}

function wrongDoor(one: Import, specifier: string, here: Place): string | undefined {
  const door = NODE_DOORS[specifier];
  if (door === undefined || one.typeOnly || stands(here, door.in)) return undefined;
  if (one.names.length > 0 && one.names.every((name) => door.harmless?.includes(name))) return undefined;
  return `imports ${specifier}: only ${door.in.join(', ') || 'nobody'} may; types cross with import type`;
}

/** The files that the rules are about, paths relative to `root` with slashes. */
export function readTree(root: string): SourceFile[] {
  return ['src', 'test', 'scripts', 'bench'].flatMap((folder) =>
    readdirSync(join(root, folder), { recursive: true, withFileTypes: true })
      .filter((entry) => entry.isFile())
      .map((entry) => relative(root, join(entry.parentPath, entry.name)).split(sep).join('/'))
      .filter((path) => !path.startsWith('bench/results/'))
      .map((path) => ({ path, text: path.endsWith('.ts') ? readFileSync(join(root, path), 'utf8') : '' })),
  );
}

if (import.meta.main) {
  const files = readTree(join(import.meta.dirname, '..'));
  const violations = files.flatMap(checkFile);
  for (const line of violations) console.error(line);
  if (violations.length > 0) process.exitCode = 1;
  else console.log(`${files.filter(({ path }) => path.startsWith('src/')).length} sources keep to their floors.`);
}
