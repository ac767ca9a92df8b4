import type { Grants, Refreshed } from './grants.ts';
import { shortHash, type Answer, type Ledger } from './ledger.ts';
import type { Policy } from './options.ts';

/** When and beside how many others a refresh arrived, and how its answer will leave. */
export type RefreshCall = { token: string; clientId: string; inFlight: number; startedAt: number; answer: Answer };

/** Refreshes and writes down the lineage. */
export function refreshGrant(
  { grants, ledger }: { grants: Grants; ledger: Ledger },
  call: RefreshCall,
  asked: { scopes: string[] | null; resource: string | null },
  policy: Policy,
): Refreshed {
  const { token, ...rest } = call;
  const refreshed = grants.refresh({ token, clientId: call.clientId, ...asked }, policy);
  const { grant, parent, outcome } = refreshed;
  const successor = refreshed.answer?.refresh_token;
  ledger.record({
    type: 'refresh',
    ...rest,
    subject: grant?.subject ?? null,
    grant: grant?.id ?? null,
    token: shortHash(token),
    parent,
    successor: successor === undefined ? null : shortHash(successor),
    generation: grant?.generation ?? null,
    outcome,
  });
  return refreshed;
}

/** A refresh that an injected fault answered before anything was looked at. */
export function recordNotProcessed(ledger: Ledger, call: RefreshCall): void {
  const { token, ...rest } = call;
  const nothing = { subject: null, grant: null, parent: null, successor: null, generation: null };
  ledger.record({ type: 'refresh', ...rest, ...nothing, token: shortHash(token), outcome: 'not_processed' });
}
