import { readdirSync, readFileSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { systemClock } from '../clock.ts';
import { jsonLines, lineAt } from './json-lines.ts';
import { rowSchema, type Provider } from './provider-row.ts';

export type Providers = ReadonlyMap<string, Provider>;

const MAX_BYTES = 64 * 1024;
const MAX_FILES = 2_000;

/**
 * Reads the rows in `providers/` of the package, with the changes that are in force.
 * @param now milliseconds since 1970
 * @throws Error naming file, line and field of what does not fit: a catalogue is whole or refused
 */
export function loadProviders(
  folder = fileURLToPath(new URL('../../providers/', import.meta.url)),
  now = systemClock.now(),
): Providers {
  const rows = new Map<string, Provider>();
  const files = readdirSync(folder).filter((name) => name.endsWith('.json'));
  if (files.length > MAX_FILES) throw new Error(`providers: more than ${MAX_FILES} files`);
  for (const file of files.sort()) {
    const row = readRow(file, readText(join(folder, file), file));
    rows.set(row.name, inForce(row, now));
  }
  return rows;
}

function readText(path: string, file: string): string {
  const found = statSync(path);
  if (!found.isFile()) throw refusal(file, 1, '', 'is not a file');
  if (found.size > MAX_BYTES) throw refusal(file, 1, '', `is larger than ${MAX_BYTES} bytes`);
  return readFileSync(path, 'utf8');
}

/** @throws Error naming file, line and field */
export function readRow(file: string, text: string): Provider {
  let content: unknown;
  try {
    content = JSON.parse(text);
  } catch (error) {
    const at = /position (\d+)/.exec((error as Error).message)?.[1];
    throw refusal(file, at === undefined ? text.split('\n').length : lineAt(text, Number(at)), '', 'is not JSON');
  }
  const lines = jsonLines(text);
  if (lines.repeated !== undefined) {
    throw refusal(file, lines.lineOf(lines.repeated), lines.repeated.join('.'), 'stands there twice');
  }
  const parsed = rowSchema.safeParse(content);
  if (!parsed.success) {
    const [issue] = parsed.error.issues;
    const unknown = issue?.code === 'unrecognized_keys' ? [issue.keys[0] ?? ''] : [];
    const path = [...(issue?.path ?? []), ...unknown];
    throw refusal(file, lines.lineOf(path), path.map(String).join('.'), (issue?.message ?? '').replaceAll('\n', '. '));
  }
  if (`${parsed.data.name}.json` !== file) {
    throw refusal(file, lines.lineOf(['name']), 'name', 'is not the name of the file');
  }
  return parsed.data;
}

const refusal = (file: string, line: number, field: string, what: string): Error =>
  new Error(`providers/${file}:${line}: ${field === '' ? 'the file' : field}: ${what}`);

/** The changes whose day has come, the later over the earlier. */
function inForce(row: Provider, now: number): Provider {
  const due = row.changes
    .filter(({ validFrom }) => Date.parse(validFrom) <= now)
    .sort((a, b) => (a.validFrom < b.validFrom ? -1 : 1));
  let current = row;
  for (const { validFrom: _, what: __, ...change } of due) {
    current = { ...current, ...Object.fromEntries(Object.entries(change).filter(([, value]) => value !== undefined)) };
  }
  return current;
}
