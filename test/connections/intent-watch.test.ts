import { beforeEach, describe, expect, it } from 'vitest';
import { systemClock, type Clock } from '../../src/clock.ts';
import type { Intent } from '../../src/connections/connection.ts';
import { createIntentWatch, DEADLINE_MS, type IntentWatch } from '../../src/connections/intent-watch.ts';
import type { ConnectionId } from '../../src/ids.ts';

describe('the age of an attempt', () => {
  let time: { wall: number; monotonic: number };
  let watch: IntentWatch;
  const clock: Clock = { ...systemClock, now: () => time.wall, monotonic: () => time.monotonic };

  const pass = (ms: number): void => {
    time.wall += ms;
    time.monotonic += ms;
  };
  const row = (change: Partial<Intent> = {}) => {
    const intent: Intent = {
      generation: 1,
      started: 1_000_000,
      deadline: 1_045_000,
      notBefore: 0,
      asked: 0,
      lost: 0,
      replays: 0,
      process: 'other',
      epoch: 0,
      ...change,
    };
    return { id: 'cnx_1' as ConnectionId, intent, intentText: JSON.stringify(intent) };
  };
  /** Looks as often as a sweep does. */
  function watched(of: ReturnType<typeof row>, ms: number) {
    for (let left = ms; left > 0; left -= 5_000) {
      watch.look(of);
      pass(Math.min(5_000, left));
    }
    return watch.look(of);
  }

  beforeEach(() => {
    time = { wall: 1_000_000, monotonic: 0 };
    watch = createIntentWatch({ clock, isOurs: ({ process }) => process === 'mine' });
  });

  it('counts from when this process first saw it, wherever the clocks of two processes stand', () => {
    time.wall += 3_600_000;
    expect(watch.look(row()).heldMs).toBe(DEADLINE_MS);
    expect(watched(row(), 40_000).heldMs).toBe(5_000);
    expect(watched(row(), 5_000).heldMs).toBe(0);
  });

  it('starts over when another process has written it anew', () => {
    expect(watched(row(), 44_000).heldMs).toBe(1_000);
    expect(watch.look(row({ replays: 1 })).heldMs).toBe(DEADLINE_MS);
  });

  it('is of no matter for what a process has put down, or has left behind itself', () => {
    expect(watch.look(row({ deadline: 0 })).heldMs).toBe(0);
    expect(watch.look(row({ process: 'mine' })).heldMs).toBe(0);
  });

  it('leaves the holder a moment after a time in which nobody could look', () => {
    watch.look(row());
    pass(300_000);
    expect(watch.look(row()).heldMs).toBe(5_000);
    expect(watched(row(), 5_000).heldMs).toBe(0);
  });

  it('ends a wait after what was asked, although the clock was set back by an hour', () => {
    const mine = row({ process: 'mine', deadline: 0, asked: 120_000, notBefore: 1_120_000 });
    expect(watch.look(mine).waitMs).toBe(120_000);
    time.wall -= 3_600_000;
    expect(watched(mine, 119_000).waitMs).toBe(1_000);
    expect(watched(mine, 1_000).waitMs).toBe(0);
  });

  it('keeps another process whose clock is ahead from asking before the time', () => {
    const foreign = row({ deadline: 0, asked: 120_000, notBefore: 1_120_000 });
    time.wall += 600_000;
    expect(watch.look(foreign).waitMs).toBe(120_000);
  });

  it('lets a restarted process wait only for what is left', () => {
    time.wall += 100_000;
    expect(watch.look(row({ process: 'mine', deadline: 0, asked: 120_000, notBefore: 1_120_000 })).waitMs).toBe(20_000);
  });
});
