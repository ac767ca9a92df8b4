import { z } from 'zod';
import { enteredFields, flowFields, flowProblems, loginFields, ownerOf } from './auth-flows.ts';
import { httpUrl, httpUrlTemplate, secretField, strict } from './document-fields.ts';
import { headerProblem } from './injection.ts';

/** Parameters that the protocol sets itself; a connector that could set them could redirect or weaken a consent. */
const RESERVED_PARAMETERS = new Set([
  'response_type',
  'response_mode',
  'client_id',
  'client_secret',
  'client_assertion',
  'client_assertion_type',
  'redirect_uri',
  'state',
  'nonce',
  'scope',
  'resource',
  'code',
  'code_verifier',
  'code_challenge',
  'code_challenge_method',
  'grant_type',
  'refresh_token',
  'assertion',
  'subject_token',
  'subject_token_type',
  'actor_token',
  'actor_token_type',
  'requested_token_type',
  'request',
  'request_uri',
  'dpop_jkt',
]);

const FIELDS_OF_THEIR_OWN: Record<string, string> = { scope: 'auth.scopes', resource: 'auth.resource' };

/** RFC 6749 §3.3 scope-token */
export const SCOPE = /^[\x21\x23-\x5b\x5d-\x7e]+$/;

const scopes = z
  .union([z.string().transform((value) => value.split(/\s+/).filter((scope) => scope !== '')), z.array(z.string())])
  .default([])
  .superRefine((list, context) => {
    list.forEach((scope, index) => {
      if (!SCOPE.test(scope)) {
        context.addIssue({
          code: 'custom',
          message: 'is not a scope: no spaces, quotes or backslashes',
          path: [index],
        });
      }
    });
  })
  .transform((list) => [...new Set(list)]);

export const additionalParams = z
  .record(z.string(), z.union([z.string(), z.number(), z.boolean()]).transform(String))
  .default({})
  .superRefine((params, context) => {
    for (const name of Object.keys(params)) {
      if (!RESERVED_PARAMETERS.has(name.toLowerCase())) continue;
      const own = FIELDS_OF_THEIR_OWN[name.toLowerCase()];
      const message = own === undefined ? 'is set by the protocol and cannot be overridden' : `belongs in ${own}`;
      context.addIssue({ code: 'custom', message, path: [name] });
    }
  });

const headerName = z.string().superRefine((name, context) => {
  const problem = headerProblem(name);
  if (problem !== undefined) context.addIssue(problem);
});

const fieldName = z.string().regex(/^[A-Za-z_][A-Za-z0-9_]{0,63}$/, 'is not a name of a field');

const resource = z
  .union([z.literal(['auto', 'none']), httpUrl], { error: 'must be auto, none or an absolute URI' })
  .default('auto');

const refreshToken = strict({
  enabled: z.boolean().default(true),
  keepAlive: z.boolean().default(true),
  bufferTime: z.int().min(0).max(86_400).default(300),
  maxRetries: z.int().min(0).max(10).default(3),
  retryDelay: z.int().min(100).max(60_000).default(1_000),
  fallbackBehavior: z.enum(['queue', 'fail', 'use-expired']).default('queue'),
}).prefault({});

const oauth2 = strict({
  type: z.literal('oauth2'),
  provider: z.string().min(1).optional(),
  flow: z
    .enum(['authorization_code', 'client_credentials', 'token_exchange', 'jwt_bearer'])
    .default('authorization_code'),
  registration: z.enum(['auto', 'static', 'dynamic']).default('auto'),
  registrationUrl: httpUrl.optional(),
  issuer: httpUrl.optional(),
  authorizationUrl: httpUrlTemplate.optional(),
  tokenUrl: httpUrlTemplate.optional(),
  revocationUrl: httpUrlTemplate.optional(),
  clientId: z
    .string()
    .trim()
    .max(2_048)
    .transform((id) => (id === '' ? undefined : id))
    .optional(),
  /** Several in order, while a service takes the old and the new one. */
  clientSecret: z
    .union([secretField, z.array(secretField).min(1).max(3)], {
      error: 'must be a text, {secret: NAME} or a list of those',
    })
    .optional(),
  clientAuth: z.enum(['client_secret_basic', 'client_secret_post', 'none']).optional(),
  scopes,
  scopeSets: z.record(fieldName, scopes).default({}),
  pkce: z.boolean().optional(),
  additionalParams,
  resource,
  owner: z.enum(['user', 'tenant']).optional(),
  parameters: z.record(z.string(), z.string().max(253)).default({}),
  fields: z.array(fieldName).max(16).default([]),
  tokens: z.enum(['keep', 'allow']).optional(),
  refreshToken,
  ...flowFields,
});

const apiKey = strict({
  type: z.literal('api-key'),
  header: headerName.optional(),
  query: fieldName.optional(),
  cookie: z
    .string()
    .regex(/^[!#$%&'*+.^_`|~0-9A-Za-z-]{1,128}$/, 'is not a cookie name')
    .optional(),
  value: secretField.optional(),
  ...enteredFields,
});

export const authSchema = z
  .discriminatedUnion('type', [
    strict({ type: z.literal('none') }),
    strict({ type: z.literal('bearer'), token: secretField.optional(), ...enteredFields }),
    apiKey,
    strict({
      type: z.literal('basic'),
      username: z
        .string()
        .max(1_024)
        .regex(/^[^:]*$/, 'must not hold a colon (RFC 7617 §2)')
        .optional(),
      password: secretField.optional(),
      ...enteredFields,
    }),
    strict({ type: z.literal('login'), ...loginFields, refreshToken }),
    strict({ type: z.literal('headers'), headers: z.record(headerName, secretField) }),
    oauth2,
  ])
  .superRefine((auth, context) => {
    if (auth.type === 'api-key') {
      const places = [auth.header, auth.query, auth.cookie].filter((place) => place !== undefined);
      if (places.length > 1) context.addIssue('takes one of header, query and cookie');
    }
    if (auth.type !== 'none' && auth.type !== 'headers' && auth.type !== 'oauth2' && auth.owner === 'user') {
      for (const name of ['token', 'value', 'username', 'password'] as const) {
        if ((auth as Record<string, unknown>)[name] === undefined) continue;
        const message = 'must be left out with owner user: each person enters one';
        context.addIssue({ code: 'custom', message, path: [name] });
      }
    }
    if (auth.type !== 'oauth2') return;
    for (const { message, path } of flowProblems(auth)) context.addIssue({ code: 'custom', message, path: [path] });
    if (auth.clientSecret !== undefined && auth.clientId === undefined) {
      context.addIssue({ code: 'custom', message: 'needs a clientId beside it', path: ['clientSecret'] });
    }
    if (auth.registration === 'dynamic' && auth.clientId !== undefined) {
      context.addIssue({
        code: 'custom',
        message: 'must be left out with registration dynamic, which makes one',
        path: ['clientId'],
      });
    }
    const consent = auth.flow === 'authorization_code';
    if (
      consent &&
      (auth.authorizationUrl === undefined) !== (auth.tokenUrl === undefined) &&
      auth.provider === undefined
    ) {
      const path = auth.tokenUrl === undefined ? 'tokenUrl' : 'authorizationUrl';
      context.addIssue({ code: 'custom', message: 'is needed beside the other one', path: [path] });
    }
  })
  .transform((auth) => (auth.type === 'oauth2' ? { ...auth, owner: ownerOf(auth) } : auth));
