import type { Clock } from '../clock.ts';
import { asValetkeyError } from '../errors.ts';
import type { Log } from '../log.ts';
import type { Connection } from './connection.ts';
import type { LiveCredentials } from './live.ts';
import type { Refresh } from './refresh.ts';
import type { ConnectionStore } from './store.ts';

const EVERY_MS = 5_000;
const ROWS = 500;
const AT_ONCE = 16;
const OPEN = 1_000;
/** A poll behind the notices between processes. */
const HELD_MS = 60_000;
const STAGED_MS = 60_000;

export type Sweep = {
  /** Attempts and answers that a stop left behind, then a round every five seconds. */
  start(): void;
  /** Resolves when no round is running. */
  idle(): Promise<void>;
  stop(): Promise<void>;
};

/** Finds what nobody waits for: attempts whose holder is late, refreshes that are due, revocations, uses to be written. */
export function createSweep(options: {
  store: ConnectionStore;
  live: LiveCredentials;
  refresh: Refresh;
  revoke: { run(): Promise<void> };
  /** What unused grants and their owners need. */
  care: readonly { run(): Promise<void> }[];
  recoverSpooled: () => Promise<number>;
  recoverStaged: (minimumAgeMs: number) => Promise<number>;
  clock: Clock;
  log: Log;
  exclusive: boolean;
}): Sweep {
  const { store, live, refresh, clock, log } = options;
  let rounds = 0;
  let running: Promise<void> | undefined;
  let end: (() => void) | undefined;

  /** Ahead of time only what is in use: who comes back later pays one refresh then. */
  const wanted = (row: Connection): boolean =>
    row.attempt !== null || row.status === 'suspect' || (row.lastUsedAt ?? 0) >= (row.lastRefreshAt ?? row.issuedAt);

  async function writeUses(): Promise<void> {
    for (const entry of live.unwritten()) {
      const at = entry.usedAt;
      await store.used(entry.tenant, entry.id, at);
      entry.writtenUse = at;
    }
  }

  async function renewAll(rows: readonly Connection[]): Promise<void> {
    const queue = [...rows];
    const work = async (): Promise<void> => {
      for (let row = queue.shift(); row !== undefined; row = queue.shift()) {
        if (wanted(row)) await refresh.renew(row, row.attempt === null ? 'ahead' : 'sweep');
        else await store.change(row, { nextRefreshAt: null }, row.updatedAt);
      }
    };
    await Promise.all(Array.from({ length: AT_ONCE }, work));
  }

  /** Attempts are looked at from early on, since how long one has stood is known only to who has seen it stand. */
  async function settleOpen(now: number): Promise<void> {
    const rows: Connection[] = [];
    for (const { tenant, id, ...intent } of await store.openIntents(now, OPEN)) {
      const row = refresh.ripe({ id, ...intent }) ? await store.find(tenant, id) : undefined;
      if (row !== undefined) rows.push(row);
    }
    await renewAll(rows);
  }

  async function round(): Promise<void> {
    // Uses first: they decide what is renewed ahead of time.
    await writeUses();
    if (!options.exclusive) live.expire(HELD_MS);
    const now = clock.now();
    await renewAll(await store.due(now, ROWS));
    await settleOpen(now);
    await options.revoke.run();
    for (const each of options.care) await each.run();
    rounds += 1;
    if (rounds % 12 !== 0) return;
    await options.recoverSpooled();
    await options.recoverStaged(STAGED_MS);
  }

  async function settleLeftovers(): Promise<void> {
    try {
      // First of all: these pairs exist nowhere else, and presenting their predecessors would end the grants.
      await options.recoverSpooled();
      // A younger answer may be in the hands of another process.
      await options.recoverStaged(options.exclusive ? 0 : STAGED_MS);
      // Where somebody else may be at work on one, the refresh itself waits until it has stood for long enough.
      await renewAll(await store.open());
      await round();
    } catch (error) {
      log.error({ err: asValetkeyError(error) }, 'left-over exchanges could not be settled');
    }
  }

  function tick(): void {
    if (running !== undefined) return;
    running = round()
      .catch((thrown: unknown) => log.error({ err: asValetkeyError(thrown) }, 'a sweep over the connections failed'))
      .finally(() => {
        running = undefined;
      });
  }

  return {
    idle: async () => await running,
    start() {
      running = settleLeftovers().finally(() => {
        running = undefined;
      });
      end = clock.every(EVERY_MS, tick);
    },
    async stop() {
      end?.();
      await running;
      await writeUses().catch((error: unknown) => log.warn({ err: error }, 'the last uses could not be written'));
    },
  };
}
