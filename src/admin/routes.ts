import type { IncomingMessage } from 'node:http';
import type { Context, Hono } from 'hono';
import type { z } from 'zod';
import { asValetkeyError, ERRORS, fail, problem } from '../errors.ts';
import type { Log } from '../log.ts';
import { clientAddress } from '../web/address.ts';
import { API_HEADERS } from '../web/security-headers.ts';
import type { Caller, Identify } from './caller.ts';
import { isEmpty, mayBeEmpty, readJson } from './json-body.ts';
import { openApiDocument } from './openapi.ts';
import { isAllowed, type Action } from './policy.ts';

export const API = '/api/v1';

/** A request after its caller was identified and may take this action, its query and body parsed. */
export type Call<Body = unknown, Query = unknown> = {
  caller: Caller;
  /** Path parameters. */
  at: Readonly<Record<string, string>>;
  query: Query;
  body: Body;
  /** Of `If-Match`; undefined when it was not sent or is `*`. */
  ifRevision: number | undefined;
};

export type Answer = {
  /** Where it differs from the route's. */
  status?: number;
  body?: unknown;
  /** Becomes the ETag. */
  revision?: number;
  /** Path below `/api/v1`. */
  location?: string;
};

/** One operation; it is served, authorized and described from here alone. */
export type Route = {
  method: 'GET' | 'POST' | 'PUT' | 'PATCH' | 'DELETE';
  /** Below `/api/v1` and below `/api/v1/tenants/:tenant`. */
  path: string;
  id: string;
  summary: string;
  action: Action;
  /** Of a success; 200 when left out, 204 when there is no body. */
  status?: 201;
  body?: z.ZodType;
  query?: z.ZodType;
  /** Described only: what a handler answers is typed where it is made. */
  answer?: z.ZodType;
  run(call: Call): Promise<Answer>;
};

/** Types the handler by its schemas. */
export function route<Body extends z.ZodType = z.ZodUnknown, Query extends z.ZodType = z.ZodUnknown>(
  described: Omit<Route, 'run' | 'body' | 'query'> & {
    body?: Body;
    query?: Query;
    run(call: Call<z.output<Body>, z.output<Query>>): Promise<Answer>;
  },
): Route {
  return described;
}

export function mountRoutes(options: {
  app: Hono;
  routes: readonly Route[];
  identify: Identify;
  publicUrl: string;
  log: Log;
}): void {
  const { app, routes, identify, publicUrl, log } = options;
  const methods = new Map<string, string[]>();

  for (const one of routes) {
    for (const path of [`${API}${one.path}`, `${API}/tenants/:tenant${one.path}`]) {
      methods.set(path, [...(methods.get(path) ?? []), one.method]);
      app.on(one.method, path, async (context) => await guarded(context, log, () => perform(one, context)));
    }
  }
  const description = JSON.stringify(openApiDocument(routes, publicUrl));
  app.get(`${API}/openapi.json`, (context) =>
    context.body(description, 200, { ...API_HEADERS, 'content-type': 'application/json' }),
  );
  for (const [path, known] of methods) {
    app.all(path, (context) => guarded(context, log, () => Promise.reject(fail('method_not_allowed')), known));
  }
  for (const path of [API, `${API}/*`]) {
    app.all(path, (context) => guarded(context, log, () => Promise.reject(fail('not_found'))));
  }

  async function perform(one: Route, context: Context): Promise<Response> {
    const caller = await identify({
      method: context.req.method,
      header: (name) => context.req.header(name),
      address: addressOf(context),
    });
    const at = context.req.param() as Record<string, string>;
    // Another tenant looks like nothing at all.
    if (at['tenant'] !== undefined && at['tenant'] !== caller.principal.tenant) throw fail('not_found');
    if (!isAllowed(caller.principal, one.action)) throw fail('forbidden');
    const answer = await one.run({
      caller,
      at,
      query: one.query === undefined ? {} : checked(one.query, context.req.query(), 'query parameter'),
      body: one.body === undefined ? undefined : checked(one.body, await bodyFor(one.body, context.req.raw), 'field'),
      ifRevision: revisionOf(context.req.header('if-match')),
    });
    const headers: Record<string, string> = { ...API_HEADERS };
    if (answer.revision !== undefined) headers['etag'] = `"${answer.revision}"`;
    if (answer.location !== undefined) headers['location'] = `${API}${answer.location}`;
    if (answer.body === undefined) return new Response(null, { status: 204, headers });
    return Response.json(answer.body, { status: answer.status ?? one.status ?? 200, headers });
  }
}

async function bodyFor(schema: z.ZodType, request: Request): Promise<unknown> {
  return isEmpty(request) && mayBeEmpty(schema) ? {} : await readJson(request);
}

async function guarded(
  context: Context,
  log: Log,
  work: () => Promise<Response>,
  allow?: readonly string[],
): Promise<Response> {
  try {
    return await work();
  } catch (thrown) {
    const error = asValetkeyError(thrown);
    if (error.status >= 500) log.error({ err: error, path: context.req.path }, 'an API request failed');
    const headers: Record<string, string> = { ...API_HEADERS, 'content-type': 'application/problem+json' };
    if (allow !== undefined) headers['allow'] = allow.join(', ');
    // What is still on its way is not read, so nothing else can follow on this connection (RFC 9110 §15.5.14).
    if (error.status === 413) headers['connection'] = 'close';
    // RFC 6750 §3
    if (error.status === 401) headers['www-authenticate'] = `Bearer error="${ERRORS.unauthenticated.oauth}"`;
    return new Response(JSON.stringify(problem(error)), { status: error.status, headers });
  }
}

function checked(schema: z.ZodType, value: unknown, what: string): unknown {
  const parsed = schema.safeParse(value);
  if (parsed.success) return parsed.data;
  const [issue] = parsed.error.issues;
  const path = issue?.path.join('.') ?? '';
  const detail =
    issue?.code === 'unrecognized_keys'
      ? `${issue.keys[0] ?? ''} is not a known ${what}`
      : `${path}: ${issue?.message}`;
  throw fail('invalid_request', { message: `${detail.replace(/^: /, '')}.` });
}

function revisionOf(header: string | undefined): number | undefined {
  if (header === undefined || header.trim() === '*') return undefined;
  const match = /^\s*(?:W\/)?"?(\d{1,15})"?\s*$/.exec(header);
  if (match === null) throw fail('invalid_request', { message: 'If-Match: must be the ETag that was answered.' });
  return Number(match[1]);
}

const addressOf = (context: Context): string => clientAddress((context.env as { incoming: IncomingMessage }).incoming);
