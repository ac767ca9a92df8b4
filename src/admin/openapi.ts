import { z } from 'zod';
import { packageVersion } from './version.ts';
import { mayBeEmpty } from './json-body.ts';
import type { Route } from './routes.ts';

const json = (schema: z.ZodType, io: 'input' | 'output'): unknown => {
  const { $schema: _, ...rest } = z.toJSONSchema(schema, { io, unrepresentable: 'any', target: 'draft-2020-12' });
  return rest;
};

const PROBLEM = {
  description: 'A problem (RFC 9457).',
  content: {
    'application/problem+json': {
      schema: {
        type: 'object',
        required: ['status', 'code', 'detail', 'hint'],
        properties: {
          type: { type: 'string' },
          status: { type: 'integer' },
          code: { type: 'string', description: 'One of docs/errors.md.' },
          title: { type: 'string' },
          detail: { type: 'string' },
          hint: { type: 'string' },
          flow: { type: 'string' },
        },
      },
    },
  },
};

/** OpenAPI 3.1 of the same table that is served. */
export function openApiDocument(routes: readonly Route[], publicUrl: string): unknown {
  const paths: Record<string, Record<string, unknown>> = {};
  for (const route of routes) {
    const path = `/tenants/{tenant}${route.path.replaceAll(/:([a-zA-Z]+)/g, '{$1}')}`;
    paths[path] = { ...paths[path], [route.method.toLowerCase()]: operation(route, path) };
  }
  return {
    openapi: '3.1.0',
    info: {
      title: 'Valetkey admin API',
      version: packageVersion(),
      description:
        "Every path is also there without `/tenants/{tenant}`, for the caller's own tenant. Lists take `cursor` and `limit`.",
    },
    servers: [{ url: `${publicUrl}/api/v1` }],
    security: [{ bearer: [] }],
    components: { securitySchemes: { bearer: { type: 'http', scheme: 'bearer' } } },
    paths,
  };
}

function operation(route: Route, path: string): unknown {
  const inPath = [...path.matchAll(/\{([a-zA-Z]+)\}/g)].map(([, name]) => ({
    name,
    in: 'path',
    required: true,
    schema: { type: 'string' },
  }));
  const inQuery =
    route.query instanceof z.ZodObject
      ? Object.entries(route.query.shape).map(([name, schema]) => ({
          name,
          in: 'query',
          required: false,
          schema: json(schema as z.ZodType, 'input'),
        }))
      : [];
  const success =
    route.answer === undefined
      ? { 204: { description: 'Done.' } }
      : {
          [route.status ?? 200]: {
            description: 'Done.',
            content: { 'application/json': { schema: json(route.answer, 'output') } },
          },
        };
  return {
    operationId: route.id,
    summary: route.summary,
    parameters: [...inPath, ...inQuery],
    ...(route.body === undefined
      ? {}
      : {
          requestBody: {
            required: !mayBeEmpty(route.body),
            content: { 'application/json': { schema: json(route.body, 'input') } },
          },
        }),
    responses: { ...success, default: PROBLEM },
  };
}
