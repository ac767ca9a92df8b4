import type { Clock } from '../clock.ts';
import type { Connector } from '../connectors/connector.ts';
import { fail } from '../errors.ts';
import { hashToken, newToken } from '../ids.ts';
import type { Identity } from '../identity/identity.ts';
import type { Principal } from '../identity/principal.ts';
import { ownPath } from '../identity/return-to.ts';
import type { ConnectStore, Ticket } from './connect-store.ts';
import type { Connections } from './connections.ts';
import type { WithoutConsent } from './without-consent.ts';

/** A connect link lives this long and starts one connect. */
const TICKET_MS = 10 * 60_000;

/** Links to the connect page, for the answer to a call and for the sign-in of a client. */
export function createConnectLinks(options: {
  store: Pick<ConnectStore, 'addTicket'>;
  lacking: WithoutConsent['lacking'];
  users: Pick<Identity['users'], 'find'>;
  of: (connector: Connector, principal: Pick<Principal, 'tenant' | 'user'>) => ReturnType<Connections['of']>;
  clock: Clock;
  publicUrl: string;
}): Pick<Connections, 'connectUrl' | 'connectStep'> {
  const { store, lacking, users, of, clock, publicUrl } = options;

  const connectUrl: Connections['connectUrl'] = async (wanted, principal, { scopes = [], flow, returnTo = null }) => {
    if (principal.user === null) throw fail('connection_required');
    const connector = (await lacking(wanted, principal)) ?? wanted;
    if (returnTo !== null && ownPath(returnTo) === undefined) {
      throw fail('invalid_request', { message: 'The place to return to is not a path of this gateway.' });
    }
    const token = newToken();
    const now = clock.now();
    const ticket: Ticket = {
      tenant: connector.tenant,
      hash: hashToken(token),
      user: principal.user,
      connector: connector.id,
      scopes: connector === wanted ? [...scopes] : [],
      flow,
      returnTo,
      expiresAt: now + TICKET_MS,
      usedAt: null,
    };
    await store.addTicket(ticket, now);
    return {
      url: `${publicUrl}/connect/${connector.tenant}/${connector.name}?ticket=${token}`,
      expiresAt: ticket.expiresAt,
    };
  };

  return {
    connectUrl,
    async connectStep({ connector, user, flow, returnTo }) {
      const { oauth, connection } = connector;
      const principal = { tenant: connector.tenant, user };
      if (connection === null || (oauth?.registration === 'static' && oauth.clientId === null)) return null;
      if (connection.how === 'minted' && connection.asks.length === 0) {
        // The gateway gets its token by itself, unless it exchanges one that this person has yet to bring.
        if ((await lacking(connector, principal)) === undefined) return null;
      } else {
        const status = (await of(connector, principal))?.status;
        if (status === 'connected' || status === 'suspect') return null;
      }
      if (connection.owner === 'tenant') {
        const person = await users.find(connector.tenant, user);
        if (person?.role !== 'owner') return null;
      }
      const { url } = await connectUrl(connector, principal, { flow, returnTo });
      return url.slice(publicUrl.length);
    },
  };
}
