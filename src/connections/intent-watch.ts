import type { Clock } from '../clock.ts';
import type { ConnectionId } from '../ids.ts';
import type { Connection, Intent } from './connection.ts';

/** Longer than the exchange and its commit: while it lasts nobody else may send. */
export const DEADLINE_MS = 45_000;
/** Who has not looked for so long may have been cut off from the store, and the holder with it. */
const GAP_MS = 15_000;
/** After a cut the holder, who tries every second, stores its pair before anybody takes its attempt away. */
const GRACE_MS = 5_000;
const MAX_SEEN = 5_000;

export type IntentWatch = {
  /**
   * Notes the attempt of a row as it stands.
   * @returns milliseconds until this process may take it for one that nobody is at work on, and until it may send
   */
  look(row: Pick<Connection, 'id' | 'intent' | 'intentText'>): { heldMs: number; waitMs: number };
};

type Seen = { text: string; since: number; last: number; restUntil: number };

/**
 * Tells the age of attempts by how long this process has seen them stand: clocks of other processes may be wrong, and this
 * one's may be set.
 */
export function createIntentWatch(options: { clock: Clock; isOurs: (intent: Intent) => boolean }): IntentWatch {
  const { clock, isOurs } = options;
  const seen = new Map<ConnectionId, Seen>();

  function note(id: ConnectionId, text: string, now: number): Seen {
    const before = seen.get(id);
    if (before?.text === text) {
      if (now - before.last > GAP_MS) before.restUntil = now + GRACE_MS;
      before.last = now;
      return before;
    }
    if (seen.size >= MAX_SEEN) {
      for (const [old, { last }] of seen) if (now - last > 10 * DEADLINE_MS) seen.delete(old);
    }
    const first = { text, since: now, last: now, restUntil: 0 };
    seen.set(id, first);
    return first;
  }

  return {
    look({ id, intent, intentText }) {
      if (intent === null || intentText === null) {
        seen.delete(id);
        return { heldMs: 0, waitMs: 0 };
      }
      const now = clock.monotonic();
      const { since, restUntil } = note(id, intentText, now);
      const ours = isOurs(intent);
      const nobody = intent.deadline === 0 || ours;
      const heldMs = nobody ? 0 : Math.max(DEADLINE_MS - (now - since), restUntil - now);
      // Never longer than was asked for, wherever the clock has been set to. Of our own writing, an earlier run included,
      // the clock says sooner how much is left.
      const asked = intent.asked === undefined ? intent.notBefore - clock.now() : intent.asked - (now - since);
      const waitMs = ours ? Math.min(asked, intent.notBefore - clock.now()) : asked;
      return { heldMs: Math.max(0, Math.floor(heldMs)), waitMs: Math.max(0, Math.floor(waitMs)) };
    },
  };
}
