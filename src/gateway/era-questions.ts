import { createHash } from 'node:crypto';
import type { Clock } from '../clock.ts';
import type { Exchange, ReplySink, UpstreamRequest } from '../connectors/kinds/kind.ts';
import { newToken } from '../ids.ts';
import type { Json } from './era-messages.ts';

/** A call at a 2025-era service that waits for the answer of a person. */
export type Waiting = {
  resume(message: Json, sink: ReplySink): Exchange;
  expire(): void;
};

/**
 * Calls that wait. They are connections that this process holds, so what a client carries between its rounds is no
 * more than a name for one; another process does not know it.
 */
export type Questions = {
  /** Answers the request state, or lets the call expire at once when too many wait. */
  hold(request: UpstreamRequest, method: string, params: Json, waiting: Waiting): string;
  /** Once, and only for the person, client, connector and call that it was asked of. */
  take(request: UpstreamRequest, method: string, params: Json): Waiting | undefined;
  close(): void;
};

const WAIT_MS = 10 * 60_000;
const MAX_WAITING = 1_000;

export function createQuestions({ clock }: { clock: Clock }): Questions {
  const held = new Map<string, { of: string; until: number; waiting: Waiting }>();
  const stopSweep = clock.every(5_000, () => {
    for (const [state, { until, waiting }] of held) {
      if (until > clock.now()) continue;
      held.delete(state);
      waiting.expire();
    }
  });

  return {
    hold(request, method, params, waiting) {
      const state = newToken(24);
      if (held.size >= MAX_WAITING) queueMicrotask(() => waiting.expire());
      else held.set(state, { of: ownerOf(request, method, params), until: clock.now() + WAIT_MS, waiting });
      return state;
    },
    take(request, method, params) {
      const state = params['requestState'];
      const found = typeof state === 'string' ? held.get(state) : undefined;
      if (found === undefined || found.of !== ownerOf(request, method, params)) return undefined;
      held.delete(state as string);
      return found.waiting;
    },
    close() {
      stopSweep();
      for (const { waiting } of held.values()) waiting.expire();
      held.clear();
    },
  };
}

function ownerOf({ connector, principal }: UpstreamRequest, method: string, params: Json): string {
  const { requestState: _state, inputResponses: _responses, _meta, ...asked } = params;
  const of = [connector.tenant, connector.id, connector.revision, principal?.user, principal?.client, method, asked];
  return createHash('sha256').update(JSON.stringify(of)).digest('base64url');
}
