/** docs/storage.md: what the migrations make of an empty store, with the comments of the schema's types. */
import { sql } from 'kysely';
import { mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { systemClock } from '../src/clock.ts';
import { openDatabase } from '../src/database/database.ts';
import { createLog } from '../src/log.ts';

export type Column = { name: string; type: string; doc: string };
export type Table = { name: string; doc: string; columns: Column[] };

/** The tables that a schema file declares: `…Tables` holds several, `…Table` is one. */
export function declaredTables(source: string): Table[] {
  const tables: Table[] = [];
  for (const match of source.matchAll(/(\/\*\*(?:(?!\*\/)[\s\S])*\*\/\s*)?export type (\w+?)Table(s?) = \{/g)) {
    const [, doc = '', name = '', several] = match;
    const { members } = membersFrom(source, match.index + match[0].length);
    if (several === 's') {
      tables.push(...members.map((member) => ({ name: member.name, doc: member.doc, columns: member.members ?? [] })));
    } else {
      tables.push({ name: name.toLowerCase(), doc: proseOf(doc), columns: members });
    }
  }
  return tables;
}

type Member = Column & { members?: Member[] };

function membersFrom(source: string, from: number): { members: Member[]; end: number } {
  const members: Member[] = [];
  let doc = '';
  let at = from;
  const token =
    /\s+|\/\/.*|(?<doc>\/\*[\s\S]*?\*\/)|(?<close>\}\s*;?)|(?<name>\w+)\??:\s*(?:(?<open>\{)|(?<type>[^;{}]+?)\s*(?:;|(?=\})))/y;
  for (;;) {
    token.lastIndex = at;
    const { groups, 0: text } = token.exec(source) ?? {};
    if (text === undefined)
      throw new Error(`the schema is written in a way that cannot be read: ${source.slice(at, at + 60)}`);
    at += text.length;
    if (groups?.['close'] !== undefined) return { members, end: at };
    if (groups?.['doc'] !== undefined) doc = proseOf(groups['doc']);
    const name = groups?.['name'];
    if (name === undefined) continue;
    if (groups?.['open'] === undefined) {
      members.push({ name, type: groups?.['type'] ?? '', doc });
    } else {
      const inner = membersFrom(source, at);
      members.push({ name, type: 'table', doc, members: inner.members });
      at = inner.end;
    }
    doc = '';
  }
}

function proseOf(comment: string): string {
  const lines = comment
    .replace(/^\s*\/\*\*?/, '')
    .replace(/\*\/\s*$/, '')
    .split('\n');
  return lines
    .map((line) => line.replace(/^\s*\*?\s*/, '').trim())
    .filter((line) => line !== '')
    .join(' ');
}

type StoredColumn = { name: string; type: string; notnull: number; pk: number };
type Stored = { columns: StoredColumn[]; indexes: { name: string; unique: boolean; columns: string[] }[] };

async function storedTables(): Promise<Map<string, Stored>> {
  const dataDir = mkdtempSync(join(tmpdir(), 'valetkey-docs-'));
  const database = await openDatabase({ dataDir, clock: systemClock, log: createLog({ level: 'error' }) });
  try {
    const { query } = database;
    const names = await sql<{ name: string }>`select name from sqlite_master where type = 'table'`.execute(query);
    const tables = new Map<string, Stored>();
    for (const { name } of names.rows) {
      if (/^(kysely_|sqlite_)/.test(name)) continue;
      const { rows: columns } =
        await sql<StoredColumn>`select name, lower(type) as type, "notnull", pk from pragma_table_info(${name})`.execute(
          query,
        );
      const { rows: listed } = await sql<{ name: string; unique: number; origin: string }>`
        select * from pragma_index_list(${name}) where origin <> 'pk' order by name`.execute(query);
      const indexes: Stored['indexes'] = [];
      for (const index of listed) {
        const parts = await sql<{ name: string }>`select name from pragma_index_info(${index.name})`.execute(query);
        indexes.push({ name: index.name, unique: index.unique === 1, columns: parts.rows.map((row) => row.name) });
      }
      tables.set(name, { columns, indexes });
    }
    return tables;
  } finally {
    await database.close();
    rmSync(dataDir, { recursive: true });
  }
}

/**
 * Where the types that queries are checked against differ from the store that the migrations make.
 * @returns one sentence per difference
 */
export function differences(declared: readonly Table[], stored: ReadonlyMap<string, Stored>): string[] {
  const found: string[] = [];
  for (const name of stored.keys()) {
    if (!declared.some((table) => table.name === name)) found.push(`${name} is in the migrations only`);
  }
  for (const table of declared) {
    const present = stored.get(table.name);
    if (present === undefined) {
      found.push(`${table.name} is in the types only`);
      continue;
    }
    const columns = new Map(table.columns.map((column) => [column.name, column.type]));
    for (const { name, type, notnull, pk } of present.columns) {
      const expected = `${type === 'text' ? 'string' : 'number'}${notnull === 1 || pk > 0 ? '' : ' | null'}`;
      const written = columns.get(name);
      if (written === undefined) found.push(`${table.name}.${name} is in the migrations only`);
      else if (!['Generated<', 'ColumnType<'].some((wrapper) => written.startsWith(wrapper)) && written !== expected) {
        found.push(`${table.name}.${name} is ${expected} in the migrations, ${written} in the types`);
      }
      columns.delete(name);
    }
    for (const name of columns.keys()) found.push(`${table.name}.${name} is in the types only`);
  }
  return found;
}

/** @throws Error when types and migrations differ, with every difference */
export async function storagePage(folder: string): Promise<string> {
  const files = readdirSync(folder)
    .filter((name) => /^schema(-[\w-]+)?\.ts$/.test(name))
    .toSorted();
  const rooms = files.map((name) => ({
    room: /^schema-([\w-]+)\.ts$/.exec(name)?.[1] ?? 'database',
    tables: declaredTables(readFileSync(join(folder, name), 'utf8')),
  }));
  const stored = await storedTables();
  const wrong = differences(
    rooms.flatMap((room) => room.tables),
    stored,
  );
  if (wrong.length > 0) throw new Error(`src/database: ${wrong.join('\n  ')}`);

  const lines: string[] = [];
  for (const { room, tables } of rooms) {
    lines.push(`## ${room}`, '');
    for (const table of tables) lines.push(...tableLines(table, stored.get(table.name)), '');
  }
  return `# Storage

From \`src/database\`: the tables as the migrations leave them, the words from \`schema*.ts\`. The same schema stands on
the embedded SQLite store and on Postgres. Times are milliseconds since 1970 in a \`bigint\`, booleans are 0 or 1, JSON is
text, and so is ciphertext, in the vault's format. A bearer value is kept as its hash only. Columns may be null where it
says so.

${lines.join('\n').trimEnd()}
`;
}

function tableLines(table: Table, stored: Stored | undefined): string[] {
  const cell = (text: string): string => text.replaceAll('|', String.raw`\|`);
  const docs = new Map(table.columns.map((column) => [column.name, column.doc]));
  const columns = stored?.columns ?? [];
  const key = columns.filter(({ pk }) => pk > 0).toSorted((a, b) => a.pk - b.pk);
  const rows = columns.map(({ name, type, notnull, pk }) => {
    const optional = notnull === 1 || pk > 0 ? '' : ', or null';
    return `| \`${name}\` | ${type}${optional} | ${cell(docs.get(name) ?? '')} |`;
  });
  const indexes = (stored?.indexes ?? []).map(
    ({ unique, columns: names }) => `${unique ? 'unique ' : ''}(${names.map((name) => `\`${name}\``).join(', ')})`,
  );
  return [
    `### ${table.name}`,
    '',
    ...(table.doc === '' ? [] : [table.doc, '']),
    '| column | type | holds |',
    '|---|---|---|',
    ...rows,
    '',
    `Key: ${key.map(({ name }) => `\`${name}\``).join(', ')}.${indexes.length === 0 ? '' : ` Indexes: ${indexes.join('; ')}.`}`,
  ];
}
