import type { Clock } from '../clock.ts';
import { newId } from '../ids.ts';
import type { Log } from '../log.ts';
import type { CallRow, Store } from './store.ts';

/** One call, without its parameters and results. */
export type CallRecord = Omit<CallRow, 'id'>;

export type Traffic = {
  /** Costs the call an append; what does not fit is counted and dropped. */
  record(record: CallRecord): void;
  flush(): Promise<void>;
  stop(): Promise<void>;
};

const MAX_HELD = 20_000;
const ROWS_AT_ONCE = 500;

export function createTraffic(options: { store: Store; clock: Clock; log: Log }): Traffic {
  const { store, log } = options;
  let held: CallRecord[] = [];
  let dropped = 0;
  let flushing: Promise<void> = Promise.resolve();

  async function write(): Promise<void> {
    const records = held;
    held = [];
    if (dropped > 0) {
      log.warn({ dropped }, 'calls were not recorded: more came than the store took');
      dropped = 0;
    }
    for (let at = 0; at < records.length; at += ROWS_AT_ONCE) {
      const rows = records.slice(at, at + ROWS_AT_ONCE).map((record) => ({ id: newId('call'), ...record }));
      try {
        await store.insertCalls(rows);
      } catch (error) {
        log.warn({ err: error, calls: rows.length }, 'calls could not be recorded');
      }
      // The embedded store works on this thread: calls get their turn in between.
      await new Promise(setImmediate);
    }
  }

  const flush = (): Promise<void> => (flushing = flushing.then(write));
  const stopTimer = options.clock.every(1_000, () => {
    if (held.length > 0) void flush();
  });

  return {
    record(record) {
      if (held.length < MAX_HELD) held.push(record);
      else dropped++;
    },
    flush,
    async stop() {
      stopTimer();
      await flush();
    },
  };
}
