import type { Connector } from '../connectors/connector.ts';
import { newId, type FlowId } from '../ids.ts';
import type { SignedIn } from '../identity/identity.ts';
import { fail } from '../errors.ts';
import { pageResponse } from '../web/page.ts';
import type { Flows } from './connections.ts';
import type { Ticket } from './connect-store.ts';
import { entryPage, type EntryState } from './entry-page.ts';
import { ownerFor } from './live.ts';
import { failed, type Outcome } from './outcome.ts';
import { resultPage } from './pages.ts';

/** What the connect page does for connectors whose credentials come about without a consent at the service. */
export function createEntry(flows: Pick<Flows, 'entered' | 'mint'>) {
  /** The gateway fetches the token itself; a person only asks for it. */
  async function minted(connector: Connector, { user }: SignedIn, returnTo: string | null): Promise<Outcome> {
    const owner = ownerFor(connector, { tenant: user.tenant, user: user.id });
    if (owner === undefined) throw fail('not_found');
    const result = await flows.mint.connect(connector, owner);
    if (result.kind !== 'renewed') {
      return result.kind === 'gone' || result.kind === 'dead'
        ? failed('connection_required', returnTo)
        : failed('exchange_failed', returnTo, {
            hint: 'Its health says why; an owner of the gateway sees the answer.',
          });
    }
    const { row } = result;
    return {
      kind: 'connected',
      connection: row.id,
      account: { subject: row.accountSubject, label: row.accountLabel },
      previousAccount: null,
      granted: row.scopesGranted,
      refused: [],
      renewable: true,
      returnTo,
    };
  }

  return {
    page: async (state: EntryState): Promise<Response> => await pageResponse(entryPage(state)),

    async begin(
      state: EntryState,
      signedIn: SignedIn,
      ticket: Ticket | undefined,
      values: Readonly<Record<string, string>>,
      /** Uses the ticket up. */
      done: () => Promise<void>,
    ): Promise<Response> {
      const { connector, user, returnTo } = state;
      const asks = connector.connection?.asks ?? [];
      const owner = ownerFor(connector, { tenant: user.tenant, user: user.id });
      if (owner === undefined) throw fail('not_found');
      const flow = ticket?.flow ?? newId<FlowId>('flw');
      const outcome =
        asks.length === 0
          ? await minted(connector, signedIn, returnTo)
          : await flows.entered.take({ connector, user: user.id, owner, values, flow, returnTo });
      if (outcome.kind === 'failed' && asks.length > 0) {
        const { status } = fail(outcome.code);
        return await pageResponse(entryPage({ ...state, refused: outcome }), { status });
      }
      if (outcome.kind === 'connected') await done();
      return await pageResponse(resultPage({ outcome, connector, user }), {
        status: outcome.kind === 'connected' ? 200 : fail(outcome.code).status,
      });
    },
  };
}
