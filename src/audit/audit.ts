import { createHash } from 'node:crypto';
import type { Clock } from '../clock.ts';
import type { Database } from '../database/database.ts';
import { newId, type FlowId, type TenantId } from '../ids.ts';
import { createAuditStore, type AuditRow } from './store.ts';

/** Who did what to which credential, connector, grant or person. */
export type AuditEvent = {
  tenant: TenantId;
  /** `noun.verb`, for instance `user.sign_in`. */
  action: `${string}.${string}`;
  /** `user:<id>`, `client:<id>`, `admin-token`, `file` (the operator's file), `gateway` (by itself) or `anonymous`. */
  actor: string;
  client?: string | null | undefined;
  /** Network address of whoever asked. */
  address?: string | null | undefined;
  /** What it was done to: `<kind>:<id>`. */
  object?: string | null | undefined;
  outcome: 'success' | 'failure' | 'denied';
  flow?: FlowId | null | undefined;
  /** JSON. Never a secret: whatever stands here is exported. */
  detail?: Record<string, unknown> | undefined;
};

export type Verification =
  /** `head` is the last hash: kept elsewhere, it also proves later that nothing was cut off the end. */
  { intact: true; events: number; head: string } | { intact: false; sequence: number; reason: 'missing' | 'altered' };

export type Audit = {
  /** On disk when it resolves. */
  record(event: AuditEvent): Promise<void>;
  /** Walks a tenant's chain from its first event. */
  verify(tenant: TenantId): Promise<Verification>;
};

/** What the first event of a chain is chained to. */
const GENESIS = '';
const BATCH = 500;

/**
 * An append-only chain per tenant: events are numbered 1, 2, 3 …, and each one's hash covers its predecessor's, so that a
 * changed, removed, inserted or reordered event shows. Events that wait for the same commit share it.
 */
export function createAudit(options: { database: Database; clock: Clock }): Audit {
  const store = createAuditStore(options.database);
  const waiting = new Map<TenantId, { entry: Entry; done: () => void; failed: (error: unknown) => void }[]>();
  const writing = new Set<TenantId>();

  async function drain(tenant: TenantId): Promise<void> {
    if (writing.has(tenant)) return;
    writing.add(tenant);
    try {
      for (;;) {
        const batch = waiting.get(tenant)?.splice(0, BATCH) ?? [];
        if (batch.length === 0) return;
        try {
          await store.append(tenant, (last) => {
            let { sequence, hash } = last ?? { sequence: 0, hash: GENESIS };
            return batch.map(({ entry }) => {
              const row = { ...entry, sequence: ++sequence };
              hash = chainHash(hash, row);
              return { ...row, hash };
            });
          });
          for (const { done } of batch) done();
        } catch (error) {
          for (const { failed } of batch) failed(error);
        }
      }
    } finally {
      writing.delete(tenant);
    }
  }

  return {
    async record(event) {
      // Before it joins a batch: an event that cannot be written down fails alone.
      const entry = toEntry(event, options.clock.now());
      await new Promise<void>((done, failed) => {
        const queue = waiting.get(event.tenant) ?? [];
        waiting.set(event.tenant, queue);
        queue.push({ entry, done, failed });
        void drain(event.tenant);
      });
    },

    async verify(tenant) {
      let sequence = 0;
      let head = GENESIS;
      for (;;) {
        const rows = await store.after(tenant, sequence, BATCH);
        for (const row of rows) {
          sequence += 1;
          if (row.sequence !== sequence) return { intact: false, sequence, reason: 'missing' };
          if (row.hash !== chainHash(head, row)) return { intact: false, sequence, reason: 'altered' };
          head = row.hash;
        }
        if (rows.length < BATCH) return { intact: true, events: sequence, head };
      }
    },
  };
}

type Entry = Omit<AuditRow, 'sequence' | 'hash'>;

function toEntry(event: AuditEvent, at: number): Entry {
  return {
    tenant: event.tenant,
    id: newId<string>('aud'),
    at,
    flow: event.flow ?? null,
    actor: event.actor,
    client: event.client ?? null,
    address: event.address ?? null,
    action: event.action,
    object: event.object ?? null,
    outcome: event.outcome,
    detail: JSON.stringify(event.detail ?? {}),
  };
}

/** SHA-256, base64url, over the JSON array of the previous hash and every column but `hash`, in this order. */
function chainHash(previous: string, row: Omit<AuditRow, 'hash'>): string {
  const { tenant, sequence, id, at, flow, actor, client, address, action, object, outcome, detail } = row;
  return createHash('sha256')
    .update(
      JSON.stringify([
        previous,
        tenant,
        sequence,
        id,
        at,
        flow,
        actor,
        client,
        address,
        action,
        object,
        outcome,
        detail,
      ]),
    )
    .digest('base64url');
}
