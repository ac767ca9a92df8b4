import type { z } from 'zod';
import type { Accounts } from './accounts.ts';
import type { Caller, Callers } from './caller.ts';
import type { Faults } from './faults.ts';
import { oauthRefusal, readJson, refuseDuplicates, Refusal, sendJson, type Exchange, type Route } from './http.ts';
import { itemPatchSchema, itemQuerySchema, newItemSchema, type Items } from './items.ts';
import type { Ledger } from './ledger.ts';

type ApiHandler = (caller: Caller, exchange: Exchange, parameters: Record<string, string>) => Promise<void> | void;

/** The REST API: items, users, and who the credential belongs to. */
export function apiRoutes(options: {
  callers: Callers;
  accounts: Accounts;
  items: Items;
  ledger: Ledger;
  faults: Faults;
}): Route[] {
  const { callers, accounts, items, ledger, faults } = options;

  function route(method: string, path: string, scope: string | null, handle: ApiHandler): Route {
    return {
      method,
      path,
      async handle(exchange, parameters) {
        const { req, res } = exchange;
        let caller: Caller | undefined;
        try {
          const fault = faults.takeCallFault('api');
          await faults.wait(faults.latency.calls + (fault?.delayMs ?? 0));
          if (fault?.answer === 'drop') {
            res.destroy();
            return;
          }
          if (fault?.answer === 401) throw callers.challenge('/api', 'invalid_token');
          if (fault !== undefined) throw new Refusal(fault.answer as number, { error: 'injected_fault' });
          caller = callers.identify(req, '/api');
          if (scope !== null) callers.requireScope(caller, scope, '/api');
          await handle(caller, exchange, parameters);
        } catch (error) {
          if (!(error instanceof Refusal)) throw error;
          sendJson(res, error.status, error.body, error.headers);
        } finally {
          const { subject = null, tokenHash: token = null, generation = null } = caller ?? {};
          const status = res.destroyed && !res.headersSent ? 0 : res.statusCode;
          ledger.record({ type: 'api_call', method, path: exchange.path, status, subject, token, generation });
        }
      },
    };
  }

  const found = <T>(value: T | undefined): T => {
    if (value === undefined) throw new Refusal(404, { error: 'not_found' });
    return value;
  };

  const users = () => accounts.list().map(({ username, name }) => ({ username, name }));

  return [
    route('GET', '/api/me', null, (caller, { res }) => sendJson(res, 200, describeCaller(caller))),
    route('GET', '/api/users', 'profile', (_caller, { res }) => sendJson(res, 200, { items: users(), next: null })),
    route('GET', '/api/users/:username', 'profile', (_caller, { res }, { username }) =>
      sendJson(res, 200, found(users().find((user) => user.username === username))),
    ),
    route('GET', '/api/items', 'items:read', (_caller, { res, query }) => {
      refuseDuplicates(query);
      sendJson(res, 200, items.list(parse(itemQuerySchema, Object.fromEntries(query))));
    }),
    route('POST', '/api/items', 'items:write', async (caller, { req, res }) => {
      const item = items.create(parse(newItemSchema, await readJson(req)), caller.subject);
      sendJson(res, 201, item, { location: `/api/items/${item.id}` });
    }),
    route('GET', '/api/items/:id', 'items:read', (_caller, { res }, { id }) =>
      sendJson(res, 200, found(items.get(id!))),
    ),
    route('PUT', '/api/items/:id', 'items:write', async (_caller, { req, res }, { id }) =>
      sendJson(res, 200, found(items.update(id!, parse(newItemSchema, await readJson(req))))),
    ),
    route('PATCH', '/api/items/:id', 'items:write', async (_caller, { req, res }, { id }) =>
      sendJson(res, 200, found(items.update(id!, parse(itemPatchSchema, await readJson(req))))),
    ),
    route('DELETE', '/api/items/:id', 'items:write', (_caller, { res }, { id }) => {
      found(items.remove(id!) || undefined);
      res.writeHead(204).end();
    }),
  ];
}

/** What `/api/me` and the tool `whoami` say; the credential itself is not in a `Caller`. */
export function describeCaller(caller: Caller): Record<string, unknown> {
  const { subject, name, scopes, clientId, generation, audience, header } = caller;
  return { subject, name, scopes, clientId, tokenGeneration: generation, audience, credentialHeader: header };
}

function parse<S extends z.ZodType>(schema: S, value: unknown): z.output<S> {
  const parsed = schema.safeParse(value);
  if (parsed.success) return parsed.data;
  const issue = parsed.error.issues[0]!;
  throw oauthRefusal('invalid_request', `${issue.path.join('.') || 'body'}: ${issue.message}`);
}
