import type { Clock } from '../clock.ts';
import { newId } from '../ids.ts';
import type { Log } from '../log.ts';
import { CALL_WIDTH, pushCall, type CallRow, type Store } from './store.ts';

/** One call, without its parameters and results. */
export type CallRecord = Omit<CallRow, 'id'>;

export type Traffic = {
  /** Costs the call an append; what does not fit is counted and dropped. */
  record(record: CallRecord): void;
  flush(): Promise<void>;
  stop(): Promise<void>;
};

const MAX_HELD = 20_000;
const CALLS_AT_ONCE = 512;

export function createTraffic(options: { store: Store; clock: Clock; log: Log }): Traffic {
  const { store, log } = options;
  // Random once, then counted: a random number for each call costs more than the rest of its record.
  const prefix = newId<string>('call');
  let recorded = 0;
  let held: unknown[] = [];
  let dropped = 0;
  let flushing: Promise<void> = Promise.resolve();

  async function write(): Promise<void> {
    const values = held;
    held = [];
    if (dropped > 0) {
      log.warn({ dropped }, 'calls were not recorded: more came than the store took');
      dropped = 0;
    }
    for (let at = 0; at < values.length; at += CALLS_AT_ONCE * CALL_WIDTH) {
      const batch = values.slice(at, at + CALLS_AT_ONCE * CALL_WIDTH);
      try {
        await store.appendCalls(batch);
      } catch (error) {
        log.warn({ err: error, calls: batch.length / CALL_WIDTH }, 'calls could not be recorded');
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
      const { method, name, connector, user_id: user, status, duration_ms: durationMs } = record;
      log.debug({ method, name, connector, user, status, durationMs }, 'a call ended');
      if (held.length < MAX_HELD * CALL_WIDTH) pushCall(held, `${prefix}_${(recorded++).toString(36)}`, record);
      else dropped++;
    },
    flush,
    async stop() {
      stopTimer();
      await flush();
    },
  };
}
