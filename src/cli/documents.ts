import { readFileSync } from 'node:fs';
import { resolve } from 'node:path';
import { parseAllDocuments } from 'yaml';
import { CliFailure, type Terminal } from './terminal.ts';

export type NamedDocument = { name: string; document: Record<string, unknown>; where: string };

/**
 * Connector documents of files, YAML or JSON: one, several divided by `---`, a list, or `connectors: [...]`.
 * @param paths `-` is the standard input
 */
export async function readDocuments(paths: readonly string[], terminal: Terminal): Promise<NamedDocument[]> {
  const found: NamedDocument[] = [];
  for (const path of paths) {
    for (const [index, document] of parse(await read(path, terminal), path).entries()) {
      const where = `${path}, document ${index + 1}`;
      if (typeof document !== 'object' || document === null || Array.isArray(document)) {
        throw new CliFailure(`${where}: a connector document is a mapping of fields.`, 'Begin with name: and url:.');
      }
      const { name } = document as { name?: unknown };
      if (typeof name !== 'string' || name === '') {
        throw new CliFailure(`${where}: name is missing.`, 'Each document names its connector.');
      }
      if (found.some((other) => other.name === name)) {
        throw new CliFailure(`${where}: ${name} is there twice.`, 'Keep one of the two.');
      }
      found.push({ name, document: document as Record<string, unknown>, where });
    }
  }
  if (found.length === 0) throw new CliFailure(`${paths.join(', ')} holds no document.`, 'Begin with name: and url:.');
  return found;
}

async function read(path: string, terminal: Terminal): Promise<string> {
  if (path === '-') return await terminal.stdin();
  try {
    return readFileSync(resolve(terminal.cwd, path), 'utf8');
  } catch (cause) {
    throw new CliFailure(`${path} cannot be read.`, 'Check the path.', { cause });
  }
}

/** JSON is YAML. */
function parse(text: string, path: string): unknown[] {
  const documents = parseAllDocuments(text, { prettyErrors: true });
  const parsed: unknown[] = [];
  for (const document of Array.isArray(documents) ? documents : []) {
    const [error] = document.errors;
    if (error !== undefined) {
      throw new CliFailure(`${path}: ${error.message.split('\n')[0] ?? 'is not YAML'}`, 'Correct the file.');
    }
    const value: unknown = document.toJS({ maxAliasCount: 100 });
    if (value === null || value === undefined) continue;
    const { connectors } = value as { connectors?: unknown };
    if (Array.isArray(value)) parsed.push(...(value as unknown[]));
    else if (Array.isArray(connectors)) parsed.push(...(connectors as unknown[]));
    else parsed.push(value);
  }
  return parsed;
}
