import { Writable } from 'node:stream';
import { expect, it } from 'vitest';
import { systemClock } from '../../src/clock.ts';
import type { Database } from '../../src/database/database.ts';
import { createStore } from '../../src/gateway/store.ts';
import { createTraffic, type CallRecord } from '../../src/gateway/traffic.ts';
import { createLog } from '../../src/log.ts';
import { describeStores } from '../database/stores.ts';

const call = (at: number): CallRecord => ({
  tenant: 'acme',
  at,
  connector: 'con_1',
  user_id: 'usr_1',
  client_id: null,
  method: 'tools/call',
  name: 'echo',
  status: 'refused',
  http_status: 403,
  error_code: 'access_denied',
  duration_ms: 7,
  upstream_ms: null,
  request_bytes: 350,
  response_bytes: 200,
  address: '127.0.0.1',
  flow: 'flw_1',
});

function traffic(database: Database) {
  let lines = '';
  const destination = new Writable({
    write(chunk: Buffer, _encoding, done) {
      lines += chunk.toString();
      done();
    },
  });
  const log = createLog({ level: 'warn', destination });
  const store = createStore(database);
  return { ...createTraffic({ store, clock: systemClock, log }), lines: () => lines };
}

describeStores('the record of calls', (open) => {
  it('keeps every field of a call', async () => {
    const database = await open();
    const calls = traffic(database);
    calls.record(call(5));
    await calls.stop();
    const [row, ...more] = await database.query.selectFrom('calls').selectAll().execute();
    expect(row).toEqual({ ...call(5), id: expect.stringMatching(/^call_\w+_0$/) });
    expect(more).toEqual([]);
  });

  it('keeps every call, however many came at once', async () => {
    const database = await open();
    const calls = traffic(database);
    for (let at = 0; at < 700; at += 1) calls.record(call(at));
    await calls.flush();
    for (let at = 700; at < 723; at += 1) calls.record(call(at));
    await calls.stop();
    const rows = await database.query.selectFrom('calls').select('at').orderBy('at').execute();
    expect(rows.map(({ at }) => at)).toEqual(Array.from({ length: 723 }, (_, at) => at));
    expect(calls.lines()).toBe('');
  });

  it('says how many it had to drop', async () => {
    const calls = traffic(await open());
    for (let at = 0; at < 20_003; at += 1) calls.record(call(at));
    await calls.stop();
    expect(calls.lines()).toContain('"dropped":3');
  });

  it('outlives a store that is gone', async () => {
    const database = await open();
    const calls = traffic(database);
    await database.query.schema.dropTable('calls').execute();
    calls.record(call(1));
    await calls.stop();
    expect(calls.lines()).toContain('"calls":1');
  });
});
