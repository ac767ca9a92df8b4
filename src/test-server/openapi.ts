import type { Mode } from './options.ts';

const SCOPE_TEXT = {
  'items:read': 'See items',
  'items:write': 'Create, change and delete items',
  profile: 'See names',
};

/** OpenAPI 3.1 of the REST API with the security scheme of the mode. */
export function openapiDocument(options: { mode: Mode; base: string }): Record<string, unknown> {
  const { mode, base } = options;
  const scheme = securityScheme(mode, base);
  const security = (scopes: string[]) =>
    scheme === undefined ? [] : [{ [scheme.name]: mode.startsWith('oauth') ? scopes : [] }];
  const json = (schema: unknown) => ({ 'application/json': { schema } });
  const ref = (name: string) => ({ $ref: `#/components/schemas/${name}` });
  const failures = {
    ...(scheme === undefined
      ? {}
      : { '401': { description: 'No valid credential' }, '403': { description: 'A scope is missing' } }),
    '400': { description: 'Malformed request', content: json(ref('Error')) },
  };
  const operation = (operationId: string, summary: string, scopes: string[], rest: Record<string, unknown>) => {
    const { responses, ...more } = rest;
    return {
      operationId,
      summary,
      security: security(scopes),
      ...more,
      responses: { ...(responses as object), ...failures },
    };
  };
  const ok = (schema: unknown) => ({ '200': { description: 'Done', content: json(schema) } });
  const missing = { '404': { description: 'No such thing', content: json(ref('Error')) } };
  const body = (name: string) => ({ requestBody: { required: true, content: json(ref(name)) } });
  const query = (name: string, schema: unknown, description: string) => ({ name, in: 'query', schema, description });

  return {
    openapi: '3.1.0',
    info: {
      title: 'Practice service',
      version: '1.0.0',
      description: 'Items and users to practise with; kept in memory.',
    },
    servers: [{ url: base }],
    security: security([]),
    paths: {
      '/api/me': {
        get: operation('getMe', 'Who the credential belongs to', [], { responses: ok(ref('Caller')) }),
      },
      '/api/users': {
        get: operation('listUsers', 'List users', ['profile'], { responses: ok(list(ref('User'))) }),
      },
      '/api/users/{username}': {
        parameters: [{ name: 'username', in: 'path', required: true, schema: { type: 'string' } }],
        get: operation('getUser', 'Get a user', ['profile'], { responses: { ...ok(ref('User')), ...missing } }),
      },
      '/api/items': {
        get: operation('listItems', 'List items', ['items:read'], {
          parameters: [
            query('q', { type: 'string', maxLength: 200 }, 'Words in title or note'),
            query('done', { type: 'boolean' }, 'Only items that are done, or are not'),
            query('limit', { type: 'integer', minimum: 1, maximum: 100, default: 20 }, 'Items in one answer'),
            query('cursor', { type: 'string' }, '`next` of the answer before'),
          ],
          responses: ok(list(ref('Item'))),
        }),
        post: operation('createItem', 'Create an item', ['items:write'], {
          ...body('NewItem'),
          responses: { '201': { description: 'Created', content: json(ref('Item')) } },
        }),
      },
      '/api/items/{id}': {
        parameters: [{ name: 'id', in: 'path', required: true, schema: { type: 'string' } }],
        get: operation('getItem', 'Get an item', ['items:read'], { responses: { ...ok(ref('Item')), ...missing } }),
        put: operation('replaceItem', 'Replace an item', ['items:write'], {
          ...body('NewItem'),
          responses: { ...ok(ref('Item')), ...missing },
        }),
        patch: operation('updateItem', 'Change an item', ['items:write'], {
          ...body('ItemPatch'),
          responses: { ...ok(ref('Item')), ...missing },
        }),
        delete: operation('deleteItem', 'Delete an item', ['items:write'], {
          responses: { '204': { description: 'Deleted' }, ...missing },
        }),
      },
    },
    components: {
      schemas: SCHEMAS,
      ...(scheme === undefined ? {} : { securitySchemes: { [scheme.name]: scheme.value } }),
    },
  };
}

function securityScheme(mode: Mode, base: string): { name: string; value: Record<string, unknown> } | undefined {
  if (mode === 'none') return undefined;
  if (mode === 'apikey') return { name: 'apiKey', value: { type: 'apiKey', in: 'header', name: 'X-API-Key' } };
  if (mode === 'bearer') return { name: 'bearer', value: { type: 'http', scheme: 'bearer' } };
  if (mode === 'jwt') {
    const description = 'POST /auth/login {username, password} answers with access_token, expires_in, refresh_token';
    return { name: 'jwt', value: { type: 'http', scheme: 'bearer', bearerFormat: 'JWT', description } };
  }
  const urls = {
    authorizationUrl: `${base}/auth/authorize`,
    tokenUrl: `${base}/auth/token`,
    refreshUrl: `${base}/auth/token`,
  };
  return { name: 'oauth2', value: { type: 'oauth2', flows: { authorizationCode: { ...urls, scopes: SCOPE_TEXT } } } };
}

function list(items: unknown): Record<string, unknown> {
  const properties = {
    items: { type: 'array', items },
    next: { type: ['string', 'null'] },
    total: { type: 'integer' },
  };
  return { type: 'object', required: ['items', 'next'], properties };
}

const text = { type: 'string' };
const writable = {
  title: { type: 'string', minLength: 1, maxLength: 200 },
  note: { type: 'string', maxLength: 4_000 },
  done: { type: 'boolean' },
};
const SCHEMAS = {
  Item: {
    type: 'object',
    required: ['id', 'title', 'note', 'done', 'createdBy', 'createdAt', 'updatedAt'],
    properties: {
      id: text,
      ...writable,
      createdBy: text,
      createdAt: { type: 'string', format: 'date-time' },
      updatedAt: { type: 'string', format: 'date-time' },
    },
  },
  NewItem: { type: 'object', required: ['title'], additionalProperties: false, properties: writable },
  ItemPatch: { type: 'object', additionalProperties: false, properties: writable },
  User: { type: 'object', required: ['username', 'name'], properties: { username: text, name: text } },
  Caller: {
    type: 'object',
    required: ['subject', 'scopes'],
    properties: {
      subject: text,
      name: text,
      scopes: { type: 'array', items: text },
      clientId: { type: ['string', 'null'] },
      tokenGeneration: { type: ['integer', 'null'] },
      audience: { type: ['string', 'null'] },
      credentialHeader: { type: ['string', 'null'] },
    },
  },
  Error: { type: 'object', required: ['error'], properties: { error: text, error_description: text } },
};
