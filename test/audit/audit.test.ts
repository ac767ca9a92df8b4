import { expect, it } from 'vitest';
import { createAudit, type AuditEvent } from '../../src/audit/audit.ts';
import { systemClock as clock } from '../../src/clock.ts';
import type { Database } from '../../src/database/database.ts';
import type { FlowId, TenantId } from '../../src/ids.ts';
import { Secret } from '../../src/secret.ts';
import { describeStores } from '../database/stores.ts';

const tenant = 'default' as TenantId;
const event = (changes: Partial<AuditEvent> = {}): AuditEvent => ({
  tenant,
  action: 'connection.connected',
  actor: 'user:usr_1',
  outcome: 'success',
  ...changes,
});
const rows = (database: Database) =>
  database.query.selectFrom('audit_events').selectAll().orderBy('tenant').orderBy('sequence').execute();

describeStores('the audit', (open, store) => {
  it('has an event on record once it says so, and still has it after a restart', async () => {
    const audit = createAudit({ database: await open(), clock });
    const full = {
      client: 'client-1',
      address: '192.0.2.1',
      object: 'connection:cnx_1',
      flow: 'flw_1' as FlowId,
      detail: { scopes: ['a'], token: new Secret('canary') },
    };
    await audit.record(event(full));
    const database = await store.restart();
    const [row] = await rows(database);
    expect(row).toMatchObject({
      ...full,
      tenant,
      sequence: 1,
      action: 'connection.connected',
      actor: 'user:usr_1',
      outcome: 'success',
      detail: '{"scopes":["a"],"token":"[secret]"}',
    });
    expect(await createAudit({ database, clock }).verify(tenant)).toEqual({ intact: true, events: 1, head: row?.hash });
  });

  it('numbers the events of each tenant without gaps when many are written at once', async () => {
    const database = await open();
    const audit = createAudit({ database, clock });
    const other = 'other' as TenantId;
    await Promise.all(
      Array.from({ length: 60 }, (_, index) => audit.record(event({ tenant: index % 3 === 0 ? other : tenant }))),
    );
    const written = await rows(database);
    expect(written.filter((row) => row.tenant === tenant).map((row) => row.sequence)).toEqual(
      Array.from({ length: 40 }, (_, index) => index + 1),
    );
    expect(await audit.verify(tenant)).toMatchObject({ intact: true, events: 40 });
    expect(await audit.verify(other)).toMatchObject({ intact: true, events: 20 });
  });

  it('calls a chain without events intact', async () => {
    const audit = createAudit({ database: await open(), clock });
    expect(await audit.verify(tenant)).toEqual({ intact: true, events: 0, head: '' });
  });

  it('walks a long chain to its end', async () => {
    const audit = createAudit({ database: await open(), clock });
    await Promise.all(Array.from({ length: 1_001 }, () => audit.record(event())));
    expect(await audit.verify(tenant)).toMatchObject({ intact: true, events: 1_001 });
  });

  it('finds an event that was changed in any column', async () => {
    const database = await open();
    const audit = createAudit({ database, clock });
    for (let count = 0; count < 3; count++) await audit.record(event({ client: 'c', address: 'a', object: 'o' }));
    const [, original] = await rows(database);
    if (original === undefined) throw new Error('no event');
    const changes = {
      id: 'aud_x',
      at: 1,
      flow: 'flw_x',
      actor: 'user:usr_2',
      client: null,
      address: 'b',
      action: 'grant.revoked',
      object: 'p',
      outcome: 'denied',
      detail: '{"x":1}',
      hash: 'x',
    };
    expect(Object.keys(changes).concat('tenant', 'sequence').toSorted(byName)).toEqual(
      Object.keys(original).toSorted(byName),
    );
    for (const [column, value] of Object.entries(changes)) {
      const change = database.query.updateTable('audit_events').where('sequence', '=', 2);
      await change.set({ [column]: value }).execute();
      expect(await audit.verify(tenant)).toMatchObject({ intact: false, sequence: 2, reason: 'altered' });
      await change.set({ [column]: original[column as keyof typeof original] }).execute();
    }
    expect(await audit.verify(tenant)).toMatchObject({ intact: true });
  });

  it('finds an event that was taken out, put in or exchanged with another', async () => {
    const database = await open();
    const audit = createAudit({ database, clock });
    for (const object of ['a', 'b', 'c', 'd']) await audit.record(event({ object }));
    const all = await rows(database);
    const put = async (some: typeof all): Promise<void> => {
      await database.query.deleteFrom('audit_events').execute();
      if (some.length > 0) await database.query.insertInto('audit_events').values(some).execute();
    };
    const [a, b, c, d] = all;
    if (a === undefined || b === undefined || c === undefined || d === undefined) throw new Error('no events');

    await put([a, c, d]);
    expect(await audit.verify(tenant)).toEqual({ intact: false, sequence: 2, reason: 'missing' });
    await put([b, c, d]);
    expect(await audit.verify(tenant)).toEqual({ intact: false, sequence: 1, reason: 'missing' });
    await put([a, { ...c, sequence: 2 }, { ...b, sequence: 3 }, d]);
    expect(await audit.verify(tenant)).toEqual({ intact: false, sequence: 2, reason: 'altered' });
    await put([a, b, c, { ...d, tenant: 'other' }]);
    expect(await audit.verify('other' as TenantId)).toMatchObject({ intact: false });
    // An end that was cut off shows only against a head that was kept elsewhere.
    await put([a, b, c]);
    expect(await audit.verify(tenant)).toEqual({ intact: true, events: 3, head: c.hash });
    expect(c.hash).not.toBe(d.hash);
  });

  it('refuses an event that cannot be written down, and no other beside it', async () => {
    const audit = createAudit({ database: await open(), clock });
    const detail: Record<string, unknown> = {};
    detail['self'] = detail;
    const outcomes = await Promise.allSettled([
      audit.record(event()),
      audit.record(event({ detail })),
      audit.record(event()),
    ]);
    expect(outcomes.map(({ status }) => status)).toEqual(['fulfilled', 'rejected', 'fulfilled']);
    expect(await audit.verify(tenant)).toMatchObject({ intact: true, events: 2 });
  });

  it('says so when the database does not take an event, and goes on when it does again', async () => {
    const database = await open();
    const audit = createAudit({ database, clock });
    await database.query.schema.alterTable('audit_events').renameTo('elsewhere').execute();
    await expect(audit.record(event())).rejects.toThrow();
    await database.query.schema.alterTable('elsewhere').renameTo('audit_events').execute();
    await audit.record(event());
    expect(await audit.verify(tenant)).toMatchObject({ intact: true, events: 1 });
  });

  if (store.kind === 'postgres') {
    it('keeps one chain when several processes write to it at once', async () => {
      const audits = [await open(), await store.replica(), await store.replica()].map((database) =>
        createAudit({ database, clock }),
      );
      for (let round = 0; round < 5; round++) {
        await Promise.all(audits.flatMap((audit) => [audit.record(event()), audit.record(event())]));
      }
      expect(await audits[0]?.verify(tenant)).toMatchObject({ intact: true, events: 30 });
    });
  }
});

function byName(a: string, b: string): number {
  return a.localeCompare(b);
}
