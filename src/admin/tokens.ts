import { z } from 'zod';
import { rfc3339, type Clock } from '../clock.ts';
import type { Connections } from '../connections/connections.ts';
import type { Connector } from '../connectors/connector.ts';
import type { Connectors } from '../connectors/connectors.ts';
import { asValetkeyError, fail } from '../errors.ts';
import type { Identity } from '../identity/identity.ts';
import type { UserId } from '../ids.ts';
import type { Caller } from './caller.ts';
import { visibleConnector } from './connectors.ts';
import { route, type Route } from './routes.ts';

const token = z.string().regex(/^[\x21-\x7e]{1,16384}$/, 'must be a token');
const scopes = z
  .array(z.string().regex(/^[!#-[\]-~]{1,256}$/, 'is not a scope'))
  .max(100)
  .default([]);

/** Tokens that go in from elsewhere, and out to the person they belong to. */
export function tokenRoutes(deps: {
  connectors: Connectors;
  connections: Pick<Connections, 'handedTokens' | 'get'>;
  users: Pick<Identity['users'], 'find' | 'findByEmail'>;
  publicUrl: string;
  clock: Clock;
}): Route[] {
  const { connectors, connections, users, clock } = deps;

  function oauthConnector(caller: Caller, name: string): Connector {
    const connector = visibleConnector(connectors, caller.principal, name);
    if (connector.document.auth.type === 'oauth2' && connector.document.auth.flow === 'authorization_code')
      return connector;
    throw fail('invalid_request', { message: `The connections of ${name} are not made with OAuth tokens.` });
  }

  /** Oneself, or whom an owner names. */
  async function personOf({ principal }: Caller, named: string | undefined): Promise<UserId> {
    if (named === undefined) {
      if (principal.user === null) throw fail('person_required');
      return principal.user;
    }
    if (principal.role !== 'owner' && named !== principal.user && named !== principal.email) throw fail('forbidden');
    const user = named.includes('@')
      ? await users.findByEmail(principal.tenant, named)
      : await users.find(principal.tenant, named as UserId);
    if (user === undefined) throw fail('not_found', { message: 'There is no such person.' });
    return user.id;
  }

  return [
    route({
      method: 'POST',
      path: '/tokens/store',
      id: 'storeToken',
      summary:
        'Makes a connection of tokens that were obtained elsewhere. A refresh token is spent at once to prove it.',
      action: 'token.store',
      status: 201,
      body: z
        .strictObject({
          connector: z.string(),
          /** Id or e-mail address; the caller when left out. */
          user: z.string().optional(),
          accessToken: token.optional(),
          refreshToken: token.optional(),
          expiresIn: z.int().min(1).max(315_360_000).optional(),
          scopes,
        })
        .refine((body) => body.accessToken !== undefined || body.refreshToken !== undefined, {
          message: 'accessToken or refreshToken is needed',
        }),
      answer: z.looseObject({ id: z.string(), proved: z.boolean() }),
      async run({ caller, body }) {
        const { principal } = caller;
        const connector = oauthConnector(caller, body.connector);
        const shared = connector.oauth?.owner === 'tenant';
        if (shared && principal.role !== 'owner') throw fail('forbidden');
        const owner = shared
          ? { type: 'tenant' as const, id: connector.tenant }
          : { type: 'user' as const, id: await personOf(caller, body.user) };
        const { connection, proved } = await connections.handedTokens.take({
          connector,
          owner,
          accessToken: body.accessToken ?? null,
          refreshToken: body.refreshToken ?? null,
          expiresAt: body.expiresIn === undefined ? null : clock.now() + body.expiresIn * 1_000,
          scopes: body.scopes,
          actor: caller.actor,
        });
        return { body: { ...(await connections.get(principal.tenant, connection)), proved } };
      },
    }),
    route({
      method: 'POST',
      path: '/tokens/get',
      id: 'getToken',
      summary:
        "A live token of the caller's own connection, where the connector hands tokens out (auth.tokens: allow).",
      action: 'token.get',
      body: z.strictObject({ connector: z.string(), scopes }),
      answer: z.object({
        accessToken: z.string(),
        tokenType: z.literal('Bearer'),
        expiresAt: z.string().nullable(),
        scopes: z.array(z.string()),
        connection: z.string(),
      }),
      async run({ caller, body }) {
        const { principal } = caller;
        // A page that a cookie opens must not become a way to the tokens behind it.
        if (caller.via === 'session') throw fail('tokens_kept', { hint: 'Use an API token of yours.' });
        if (principal.user === null) throw fail('person_required');
        const connector = oauthConnector(caller, body.connector);
        const { auth } = connector.document;
        // What is shared belongs to nobody who could be given it.
        if (auth.type !== 'oauth2' || auth.tokens !== 'allow' || connector.oauth?.owner !== 'user') {
          throw fail('tokens_kept');
        }
        try {
          const given = await connections.handedTokens.give(connector, principal, body.scopes);
          return { body: { ...given, tokenType: 'Bearer', expiresAt: rfc3339(given.expiresAt) } };
        } catch (thrown) {
          const error = asValetkeyError(thrown);
          if (!['connection_required', 'needs_reconnect', 'missing_scopes'].includes(error.code)) throw error;
          const where = `${deps.publicUrl}/connect/${connector.tenant}/${connector.name}`;
          throw fail(error.code, { message: error.message, hint: `Connect at ${where}` });
        }
      },
    }),
  ];
}
