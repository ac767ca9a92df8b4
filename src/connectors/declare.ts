import { fail, ValetkeyError } from '../errors.ts';
import type { TenantId } from '../ids.ts';
import type { Log } from '../log.ts';
import type { Connector, ConnectorDocument } from './connector.ts';
import type { ConnectorRow } from './store.ts';
import type { PlainSecrets, Prepared } from './write.ts';

export type Stored = { row: ConnectorRow; document: ConnectorDocument; secrets: PlainSecrets };

export const nameOf = (input: unknown): string => {
  const name = typeof input === 'object' && input !== null ? (input as { name?: unknown }).name : undefined;
  return typeof name === 'string' ? name : '';
};

const ATTEMPTS = 5;

/**
 * Makes a tenant's connectors what the operator's file says. A connector of the same name that the API made becomes the
 * file's; one that the file no longer has is switched off and left to the API: a file that is missing by accident must
 * not end anyone's connections.
 */
export function createDeclare(deps: {
  log: Log;
  list: (tenant: TenantId) => Connector[];
  stored: (tenant: TenantId, name: string) => Promise<Stored | undefined>;
  prepare: (input: unknown, before: Stored | undefined) => Prepared;
  write: (tenant: TenantId, before: Stored | undefined, input: unknown, source: 'api' | 'file') => Promise<unknown>;
}): (tenant: TenantId, documents: readonly unknown[]) => Promise<void> {
  const { log, list, stored, prepare, write } = deps;

  async function validate(tenant: TenantId, documents: readonly unknown[]): Promise<Set<string>> {
    const names = new Set<string>();
    for (const [index, input] of documents.entries()) {
      const name = nameOf(input);
      try {
        prepare(input, await stored(tenant, name));
      } catch (error) {
        if (error instanceof Error) error.message = `connectors[${index}]: ${error.message}`;
        throw error;
      }
      if (names.has(name)) {
        throw fail('connector_invalid', { message: `connectors[${index}]: ${name} is declared twice.` });
      }
      names.add(name);
    }
    return names;
  }

  /** Replicas that start together declare the same: whoever comes second finds it done. */
  async function contended(work: () => Promise<unknown>): Promise<void> {
    for (let attempt = 1; ; attempt++) {
      try {
        await work();
        return;
      } catch (error) {
        const lost = error instanceof ValetkeyError && (error.code === 'conflict' || error.code === 'connector_exists');
        if (!lost || attempt === ATTEMPTS) throw error;
      }
    }
  }

  async function declareOne(tenant: TenantId, input: unknown): Promise<void> {
    const before = await stored(tenant, nameOf(input));
    if (before?.row.source === 'file') {
      const next = prepare(input, before);
      // A restart changes nothing, and what is bound to the revision stays good.
      if (same(next.document, before.document) && same(next.secrets, before.secrets)) return;
    }
    await write(tenant, before, input, 'file');
  }

  async function release(tenant: TenantId, name: string): Promise<void> {
    const before = await stored(tenant, name);
    if (before?.row.source !== 'file') return;
    await write(tenant, before, { ...before.document, active: false }, 'api');
    log.warn({ tenant, connector: name }, 'a connector is no longer declared; it was switched off');
  }

  return async (tenant, documents) => {
    const names = await validate(tenant, documents);
    for (const input of documents) await contended(() => declareOne(tenant, input));
    for (const { source, name } of list(tenant)) {
      if (source === 'file' && !names.has(name)) await contended(() => release(tenant, name));
    }
  };
}

const same = (a: unknown, b: unknown): boolean => JSON.stringify(sorted(a)) === JSON.stringify(sorted(b));

function sorted(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(sorted);
  if (typeof value !== 'object' || value === null) return value;
  return Object.fromEntries(
    Object.entries(value)
      .sort(([a], [b]) => (a < b ? -1 : 1))
      .map(([name, item]) => [name, sorted(item)]),
  );
}
