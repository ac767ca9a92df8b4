import type { Clock } from '../clock.ts';
import type { Connector } from '../connectors/connector.ts';
import type { Credential } from '../connectors/credential.ts';

/**
 * What was found out about upstreams, each for the credential that found it out, since a service may show strangers
 * less. Kept with a date; a connector that changes is another object, and nothing is known of it.
 */
export type Verdicts<T> = {
  /** `stale`: it was true, and may no longer be. */
  of(connector: Connector, credential: Credential | null): { verdict: T; stale: boolean } | undefined;
  note(connector: Connector, credential: Credential | null, verdict: T, forMs?: number): void;
};

const FRESH_MS = 60 * 60_000;
const MAX_CREDENTIALS = 20_000;

export function createVerdicts<T>({ clock }: { clock: Clock }): Verdicts<T> {
  const known = new WeakMap<Connector, Map<string, { verdict: T; until: number; stale: boolean }>>();

  return {
    of(connector, credential) {
      const found = known.get(connector)?.get(credential?.key ?? '');
      if (found !== undefined && !found.stale) found.stale = found.until < clock.now();
      return found;
    },
    note(connector, credential, verdict, forMs = FRESH_MS) {
      let held = known.get(connector);
      if (held === undefined) known.set(connector, (held = new Map()));
      held.set(credential?.key ?? '', { verdict, until: clock.now() + forMs, stale: false });
      if (held.size > MAX_CREDENTIALS) held.delete(held.keys().next().value as string);
    },
  };
}
