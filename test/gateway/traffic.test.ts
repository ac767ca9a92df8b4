import { describe, expect, it } from 'vitest';
import { systemClock } from '../../src/clock.ts';
import { createStore } from '../../src/gateway/store.ts';
import { createTraffic, type CallRecord } from '../../src/gateway/traffic.ts';
import { createLog } from '../../src/log.ts';
import { describeStores } from '../database/stores.ts';

const call: CallRecord = {
  tenant: 'default',
  at: 1,
  connector: 'con_1',
  user_id: null,
  client_id: null,
  method: 'tools/call',
  name: 'a',
  status: 'ok',
  http_status: 200,
  error_code: null,
  duration_ms: 1,
  upstream_ms: null,
  request_bytes: 1,
  response_bytes: 1,
  address: null,
  flow: null,
};

describeStores('call records', (open) => {
  it('are all written when the gateway stops', async () => {
    const database = await open();
    const traffic = createTraffic({
      store: createStore(database),
      clock: systemClock,
      log: createLog({ level: 'silent' }),
    });
    for (let at = 0; at < 777; at++) traffic.record({ ...call, at });
    await traffic.stop();
    const rows = await database.query.selectFrom('calls').select(['id', 'at']).execute();
    expect(rows).toHaveLength(777);
    expect(new Set(rows.map((row) => row.id)).size).toBe(777);
  });
});

describe('call records', () => {
  it('are dropped, and counted, when the store does not take them', async () => {
    const lines: string[] = [];
    const log = createLog({ level: 'warn', destination: { write: (line: string) => lines.push(line) } });
    let taken = 0;
    const store = {
      appendCalls: (values: readonly unknown[]) => {
        taken += values.length / 17;
        return Promise.resolve();
      },
    };
    const traffic = createTraffic({ store, clock: systemClock, log });
    for (let at = 0; at < 20_500; at++) traffic.record(call);
    await traffic.stop();
    expect(taken).toBe(20_000);
    expect(lines.join('')).toContain('"dropped":500');
  });

  it('that the store refuses do not end the recording', async () => {
    let fails = true;
    let taken = 0;
    const store = {
      appendCalls: (values: readonly unknown[]) => {
        if (fails) return Promise.reject(new Error('no'));
        taken += values.length / 17;
        return Promise.resolve();
      },
    };
    const traffic = createTraffic({ store, clock: systemClock, log: createLog({ level: 'silent' }) });
    traffic.record(call);
    await traffic.flush();
    fails = false;
    traffic.record(call);
    await traffic.stop();
    expect(taken).toBe(1);
  });
});
