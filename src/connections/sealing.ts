import type { ConnectionId, TenantId } from '../ids.ts';
import { fail } from '../errors.ts';
import type { Vault } from '../vault/vault.ts';
import type { Connection, Tokens } from './connection.ts';

type Place = { tenant: TenantId; id: ConnectionId };

export type Sealing = ReturnType<typeof createSealing>;

/** How a connection's secrets are sealed: bound to tenant, row, field and generation, so that none can be moved. */
export function createSealing(vault: Vault) {
  const place = (row: Place, field: string, generation: number) => ({
    tenant: row.tenant,
    row: row.id,
    field,
    generation,
  });
  return {
    async sealTokens(row: Place, generation: number, tokens: Tokens): Promise<string> {
      return await vault.seal(place(row, 'credential', generation), JSON.stringify(tokens));
    },
    async openTokens(row: Connection): Promise<Tokens> {
      if (row.sealed === null) throw fail('unsealing_failed', { detail: { reason: 'no credential', row: row.id } });
      const opened = await vault.open(place(row, 'credential', row.generation), row.sealed);
      return JSON.parse(opened.unwrap()) as Tokens;
    },
    /** A raw answer and what is needed to judge it; opens as long as the row's generation has not moved. */
    async sealStaged(row: Place & { generation: number }, staged: unknown): Promise<string> {
      return await vault.seal(place(row, 'staged', row.generation), JSON.stringify(staged));
    },
    async openStaged<T>(row: Connection): Promise<T> {
      if (row.staged === null) throw fail('unsealing_failed', { detail: { reason: 'nothing staged', row: row.id } });
      return JSON.parse((await vault.open(place(row, 'staged', row.generation), row.staged)).unwrap()) as T;
    },
    async sealFor(tenant: TenantId, row: string, field: string, value: unknown): Promise<string> {
      return await vault.seal({ tenant, row, field, generation: 0 }, JSON.stringify(value));
    },
    async openFor<T>(tenant: TenantId, row: string, field: string, sealed: string): Promise<T> {
      return JSON.parse((await vault.open({ tenant, row, field, generation: 0 }, sealed)).unwrap()) as T;
    },
  };
}
