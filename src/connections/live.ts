import type { Clock } from '../clock.ts';
import type { Connector } from '../connectors/connector.ts';
import type { Credential } from '../connectors/credential.ts';
import type { ConnectionId, ConnectorId, TenantId } from '../ids.ts';
import type { Principal } from '../identity/principal.ts';
import { Secret } from '../secret.ts';
import { aheadOfTime, usableUntil, type Connection, type Owner, type Tokens } from './connection.ts';

/** A credential in memory, with what the hot path decides on. */
export type Live = {
  readonly tenant: TenantId;
  readonly id: ConnectionId;
  readonly credential: Credential;
  readonly usableUntil: number;
  /** From here on it is renewed while it is served; infinity when it cannot be, or need not. Put off by each try. */
  refreshAt: number;
  readonly loadedAt: number;
  usedAt: number;
  /** Of `usedAt`, what is stored. */
  writtenUse: number;
};

export type LiveCredentials = ReturnType<typeof createLive>;

/** `tenant/connector/owner type/owner id`: the key in memory and of change notices. */
export function liveKey(tenant: TenantId, connector: ConnectorId, owner: Owner): string {
  return `${tenant}/${connector}/${owner.type}/${owner.id}`;
}

export function keyOfRow(row: Connection): string {
  return liveKey(row.tenant, row.connector, row.owner);
}

/** Undefined for a principal without a user at a connector where everyone has a connection of their own. */
export function ownerFor(connector: Connector, principal: Pick<Principal, 'tenant' | 'user'>): Owner | undefined {
  if (connector.connection?.owner === 'tenant') return { type: 'tenant', id: connector.tenant };
  return principal.user === null ? undefined : { type: 'user', id: principal.user };
}

export function createLive(options: { clock: Clock }) {
  const { clock } = options;
  const entries = new Map<string, Live>();
  /** Grows with every notice, so that a row read before a change is not kept after it. */
  let version = 0;

  return {
    get: (key: string): Live | undefined => entries.get(key),
    version: (): number => version,
    drop(key: string | null): void {
      version += 1;
      if (key === null) entries.clear();
      else entries.delete(key);
    },
    /** @param readAt the version before the row was read; an entry that may be stale is served once and not kept */
    put(row: Connection, tokens: Tokens, connector: Connector | undefined, readAt: number): Live {
      const now = clock.now();
      const settings = connector?.connection?.refreshToken;
      const renewable =
        (tokens.refresh_token !== null || connector?.connection?.how === 'minted') &&
        settings?.enabled !== false &&
        row.status === 'connected' &&
        row.expiresAt !== null;
      const token = new Secret(tokens.access_token);
      const live: Live = {
        tenant: row.tenant,
        id: row.id,
        credential: {
          key: row.id,
          generation: row.generation,
          fields: {
            ...Object.fromEntries(
              Object.entries({ ...row.terms?.values, ...tokens.fields }).map(([name, value]) => [
                name,
                new Secret(value),
              ]),
            ),
            access_token: token,
            token,
          },
          expiresAt: row.expiresAt,
        },
        usableUntil: usableUntil(row.expiresAt, row.issuedAt),
        refreshAt:
          renewable && row.expiresAt !== null
            ? aheadOfTime({
                from: row.issuedAt,
                expiresAt: row.expiresAt,
                bufferMs: (settings?.bufferTime ?? 300) * 1_000,
                jitter: Math.random(),
              })
            : Number.POSITIVE_INFINITY,
        loadedAt: now,
        usedAt: row.lastUsedAt ?? 0,
        writtenUse: row.lastUsedAt ?? 0,
      };
      if (readAt === version) entries.set(keyOfRow(row), live);
      return live;
    },
    /** Drops what has been held for longer than `ms`, so that a lost notice does not last. */
    expire(ms: number): void {
      const oldest = clock.now() - ms;
      for (const [key, live] of entries) if (live.loadedAt < oldest) entries.delete(key);
    },
    /** Entries used since their use was last written. */
    *unwritten(): Generator<Live> {
      for (const live of entries.values()) {
        if (live.usedAt > live.writtenUse) yield live;
      }
    },
  };
}
