import type { Context } from 'hono';
import { z } from 'zod';
import { mayUse, type Connector } from '../connectors/connector.ts';
import { asValetkeyError, fail, type ValetkeyError } from '../errors.ts';
import { hashToken, newId, newToken, type FlowId, type TenantId } from '../ids.ts';
import { readForm } from '../identity/form-data.ts';
import type { Identity, SignedIn } from '../identity/identity.ts';
import type { Clock } from '../clock.ts';
import type { Log } from '../log.ts';
import { createCookieJar } from '../web/cookies.ts';
import { csrfMatches, csrfToken } from '../web/csrf.ts';
import { errorPage, html, pageResponse } from '../web/page.ts';
import type { Web } from '../web/web.ts';
import type { Connections, Flows } from './connections.ts';
import type { Ticket } from './connect-store.ts';
import type { Tried } from './discovery.ts';
import type { EntryState } from './entry-page.ts';
import { createEntry } from './entry-routes.ts';
import { ownerFor } from './live.ts';
import {
  connectionsPage,
  isLinked,
  connectPage,
  DISCONNECTED,
  onwardPage,
  resultPage,
  triedList,
  type ConnectionRow,
} from './pages.ts';

/** Ties a sign-in at a service to the browser that began it. One value serves any number of tabs. */
const BROWSER_COOKIE = 'valetkey_connect';
const BROWSER_SECONDS = 3_600;

const entered = z.string().max(8_192).optional();
const beginForm = z.object({
  csrf: z.string().max(100).optional(),
  ticket: z.string().max(100).optional(),
  token: entered,
  value: entered,
  username: entered,
  password: entered,
});
const bareForm = z.object({ csrf: z.string().max(100).optional() });

export function mountConnections(options: {
  web: Web;
  identity: Pick<Identity, 'session'>;
  connectors: {
    find(tenant: TenantId, name: string): Connector | undefined;
    list(tenant: TenantId): Connector[];
    byId(tenant: TenantId, id: Connector['id']): Connector | undefined;
  };
  connections: Connections;
  flows: Flows;
  clock: Clock;
  log: Log;
  publicUrl: string;
}): void {
  const { identity, connectors, connections, clock, log, publicUrl } = options;
  const { connect, registrations, store } = options.flows;
  const entry = createEntry(options.flows);
  const { app } = options.web;
  const cookies = createCookieJar(publicUrl);

  async function failure(thrown: unknown, connector?: Connector, ticket?: Ticket): Promise<Response> {
    const error: ValetkeyError = asValetkeyError(thrown);
    error.flow ??= ticket?.flow;
    if (error.status >= 500) log.warn({ err: error }, 'a connect page failed');
    const tried = (error.detail['tried'] ?? []) as readonly Tried[];
    const onward = ticket?.returnTo ?? null;
    return await errorPage(
      error,
      html`${triedList(tried)}
        <div class="actions">
          ${
            connector === undefined
              ? ''
              : html`<a class="button" href="/connect/${connector.tenant}/${connector.name}">Try again</a>`
          }
          <a class="button quiet" href="${onward ?? '/connections'}">
            ${onward === null ? 'My connections' : 'Go on without it'}
          </a>
        </div>`,
    );
  }

  const toSignIn = (path: string): Response =>
    new Response(null, {
      status: 303,
      headers: { location: `/sign-in?return_to=${encodeURIComponent(path)}`, 'cache-control': 'no-store' },
    });

  const session = async (context: Context): Promise<SignedIn | undefined> =>
    await identity.session(context.req.header('cookie'));

  /** The connector of the address, as far as this person may know of it. */
  function connectorOf(context: Context, { user }: SignedIn): Connector {
    const tenant = (context.req.param('tenant') ?? '') as TenantId;
    const connector = connectors.find(tenant, context.req.param('connector') ?? '');
    const person = { tenant: user.tenant, user: user.id, email: user.email, role: user.role };
    if (connector === undefined || !mayUse(connector, person)) throw fail('not_found');
    if (!connector.document.active) throw fail('connector_inactive');
    if (connector.connection === null) throw fail('connect_not_applicable');
    if (connector.connection.owner === 'tenant' && user.role !== 'owner') throw fail('connect_owner_required');
    return connector;
  }

  /** The ticket behind the link, when it is this person's and still good; undefined without one. */
  async function ticketOf(
    token: string | undefined,
    connector: Connector,
    { user }: SignedIn,
  ): Promise<Ticket | undefined> {
    if (token === undefined || token === '') return undefined;
    const ticket = await store.ticket(connector.tenant, hashToken(token));
    if (ticket === undefined || ticket.connector !== connector.id) throw fail('ticket_invalid');
    if (ticket.user !== user.id) throw fail('connect_wrong_user', { flow: ticket.flow });
    if (ticket.usedAt !== null || ticket.expiresAt <= clock.now()) throw fail('ticket_invalid', { flow: ticket.flow });
    return ticket;
  }

  async function entryState(
    connector: Connector,
    { user, csrfSecret }: SignedIn,
    token: string | undefined,
    ticket: Ticket | undefined,
  ): Promise<EntryState> {
    return {
      connector,
      user,
      connected: await connections.of(connector, { tenant: user.tenant, user: user.id }),
      csrf: csrfToken(csrfSecret, transactionOf(connector)),
      ticket: token,
      returnTo: ticket?.returnTo ?? null,
    };
  }

  const transactionOf = (connector: Connector): string => `connect ${connector.tenant}/${connector.id}`;

  app.get('/connect/client-metadata/:registration', async (context) => {
    const document = await registrations.document(context.req.param('registration'));
    if (document === undefined) throw fail('not_found');
    return Response.json(document, {
      headers: { 'cache-control': 'public, max-age=3600', 'x-content-type-options': 'nosniff' },
    });
  });

  app.get('/connect/callback/:registration', async (context) => {
    let connector: Connector | undefined;
    try {
      const query = new URL(context.req.url).searchParams;
      for (const name of ['state', 'code', 'iss', 'error']) {
        if (query.getAll(name).length > 1) throw fail('connect_state_unknown');
      }
      const registration = await store.registrationById(context.req.param('registration'));
      const state = query.get('state');
      if (registration === undefined || state === null) throw fail('connect_state_unknown');
      const pending = await store.pending(registration, hashToken(state));
      // The callback belongs to one registration: a code that another server sent here is not redeemed.
      if (pending === undefined || pending.registration !== registration.id) throw fail('connect_state_unknown');
      connector = connectors.byId(pending.tenant, pending.connector);
      const signedIn = await session(context);
      if (signedIn === undefined || signedIn.user.id !== pending.user || signedIn.user.tenant !== pending.tenant) {
        throw fail('connect_wrong_user', { flow: pending.flow });
      }
      const browser = cookies.read(context.req.header('cookie'), BROWSER_COOKIE);
      if (browser === undefined || hashToken(browser) !== pending.browserHash) {
        throw fail('connect_wrong_browser', { flow: pending.flow });
      }
      if (pending.consumedAt === null && pending.expiresAt <= clock.now()) {
        throw fail('connect_expired', { flow: pending.flow });
      }
      const outcome = await connect.finish(pending, registration, query);
      return await pageResponse(resultPage({ outcome, connector, user: signedIn.user }), {
        status: outcome.kind === 'connected' ? 200 : fail(outcome.code).status,
      });
    } catch (thrown) {
      return await failure(thrown, connector);
    }
  });

  app.get('/connect/:tenant/:connector', async (context) => {
    const signedIn = await session(context);
    const { pathname, search, searchParams } = new URL(context.req.url);
    if (signedIn === undefined) return toSignIn(`${pathname}${search}`);
    let connector: Connector | undefined;
    let ticket: Ticket | undefined;
    try {
      connector = connectorOf(context, signedIn);
      const token = searchParams.get('ticket') ?? undefined;
      ticket = await ticketOf(token, connector, signedIn);
      const owner = ownerFor(connector, { tenant: signedIn.user.tenant, user: signedIn.user.id });
      if (owner === undefined) throw fail('not_found');
      if (connector.connection?.how !== 'consent') {
        return await entry.page(await entryState(connector, signedIn, token, ticket));
      }
      const { found, scopes } = await connect.preview(connector, ticket?.scopes ?? [], owner);
      const isStatic = connector.oauth?.clientId != null;
      return await pageResponse(
        connectPage({
          connector,
          user: signedIn.user,
          host: new URL(found.authorizationEndpoint).host,
          scopes,
          callback: isStatic ? await connections.callbackUrl(connector) : null,
          connected: await connections.of(connector, { tenant: signedIn.user.tenant, user: signedIn.user.id }),
          csrf: csrfToken(signedIn.csrfSecret, transactionOf(connector)),
          ticket: token,
          returnTo: ticket?.returnTo ?? null,
        }),
      );
    } catch (thrown) {
      return await failure(thrown, connector, ticket);
    }
  });

  app.post('/connect/:tenant/:connector/begin', async (context) => {
    const signedIn = await session(context);
    if (signedIn === undefined) return toSignIn(new URL(context.req.url).pathname.replace(/\/begin$/, ''));
    let connector: Connector | undefined;
    let ticket: Ticket | undefined;
    try {
      connector = connectorOf(context, signedIn);
      const form = await readForm(context.req.raw, beginForm);
      if (!csrfMatches(form.csrf, signedIn.csrfSecret, transactionOf(connector))) throw fail('form_expired');
      ticket = await ticketOf(form.ticket, connector, signedIn);
      const { user } = signedIn;
      const owner = ownerFor(connector, { tenant: user.tenant, user: user.id });
      if (owner === undefined) throw fail('not_found');
      if (connector.connection?.how !== 'consent') {
        const state = await entryState(connector, signedIn, form.ticket, ticket);
        const { csrf: _, ticket: __, ...values } = form;
        const given = Object.entries(values).filter((pair): pair is [string, string] => pair[1] !== undefined);
        return await entry.begin(state, signedIn, ticket, Object.fromEntries(given), async () => {
          if (ticket !== undefined) await store.useTicket(ticket, clock.now());
        });
      }
      const held = cookies.read(context.req.header('cookie'), BROWSER_COOKIE);
      const browser = held !== undefined && /^[\w-]{43}$/.test(held) ? held : newToken();
      const { url } = await connect.begin({
        connector,
        user: user.id,
        owner,
        scopes: ticket?.scopes ?? [],
        flow: ticket?.flow ?? newId<FlowId>('flw'),
        returnTo: ticket?.returnTo ?? null,
        browser,
      });
      if (ticket !== undefined && !(await store.useTicket(ticket, clock.now()))) throw fail('ticket_invalid');
      return await pageResponse(onwardPage({ host: new URL(url).host, url, user }), {
        headers: { 'set-cookie': cookies.write(BROWSER_COOKIE, browser, { maxAgeSeconds: BROWSER_SECONDS }) },
      });
    } catch (thrown) {
      return await failure(thrown, connector, ticket);
    }
  });

  app.get('/connections', async (context) => {
    const signedIn = await session(context);
    if (signedIn === undefined) return toSignIn('/connections');
    const notice = new URL(context.req.url).searchParams.get('disconnected');
    return await pageResponse(
      connectionsPage({
        user: signedIn.user,
        rows: await rowsOf(signedIn),
        notice:
          notice !== null && Object.hasOwn(DISCONNECTED, notice)
            ? DISCONNECTED[notice as keyof typeof DISCONNECTED]
            : undefined,
      }),
    );
  });

  async function rowsOf({ user, csrfSecret }: SignedIn): Promise<ConnectionRow[]> {
    const person = { tenant: user.tenant, user: user.id, email: user.email, role: user.role };
    const rows = await Promise.all(
      connectors
        .list(user.tenant)
        .filter((connector) => mayUse(connector, person))
        .map(async (connector) => {
          const connection =
            connector.connection === null
              ? undefined
              : await connections.of(connector, { tenant: user.tenant, user: user.id });
          return {
            connector,
            connection,
            url: `${publicUrl}/mcp/${connector.tenant}/${connector.name}`,
            mayConnect: connector.connection?.owner !== 'tenant' || user.role === 'owner',
            csrf: csrfToken(csrfSecret, `disconnect ${connection?.id ?? ''}`),
          };
        }),
    );
    // One that is switched off is shown as long as there is something to disconnect.
    return rows.filter(({ connector, connection }) => connector.document.active || isLinked(connection));
  }

  app.post('/connections/:id/disconnect', async (context) => {
    const signedIn = await session(context);
    if (signedIn === undefined) return toSignIn('/connections');
    const { user } = signedIn;
    try {
      const id = context.req.param('id');
      const form = await readForm(context.req.raw, bareForm);
      if (!csrfMatches(form.csrf, signedIn.csrfSecret, `disconnect ${id}`)) throw fail('form_expired');
      const connection = await connections.get(user.tenant, id);
      const own = connection?.owner.type === 'user' && connection.owner.id === user.id;
      if (connection === undefined || !(own || (connection.owner.type === 'tenant' && user.role === 'owner'))) {
        throw fail('not_found');
      }
      const { upstream } = await connections.disconnect(user.tenant, id, `user:${user.id}`);
      return context.redirect(`/connections?disconnected=${upstream}`, 303);
    } catch (thrown) {
      return await failure(thrown);
    }
  });
}
