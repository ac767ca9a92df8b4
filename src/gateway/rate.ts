import type { ConnectorId } from '../ids.ts';

export type Rate = {
  /** Milliseconds until `calls` more are allowed at once; 0 when they are, and then they count. */
  take(connector: ConnectorId, caller: string, perMinute: number, now: number, calls: number): number;
  /** Forgets callers that have nothing to wait for. */
  sweep(now: number): void;
};

const MINUTE = 60_000;

/** Generic cell rate algorithm: a minute's worth at once, then evenly. In this process only. */
export function createRate(): Rate {
  const connectors = new Map<ConnectorId, Map<string, number>>();

  return {
    take(connector, caller, perMinute, now, calls) {
      let callers = connectors.get(connector);
      if (callers === undefined) connectors.set(connector, (callers = new Map()));
      const cost = (MINUTE / perMinute) * calls;
      const due = Math.max(callers.get(caller) ?? 0, now);
      const wait = due + cost - MINUTE - now;
      if (wait > 0) return Math.ceil(wait);
      callers.set(caller, due + cost);
      return 0;
    },
    sweep(now) {
      for (const [connector, callers] of connectors) {
        for (const [caller, due] of callers) if (due <= now) callers.delete(caller);
        if (callers.size === 0) connectors.delete(connector);
      }
    },
  };
}
