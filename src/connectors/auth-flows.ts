import { z } from 'zod';
import { httpUrl, secretField, strict, text } from './document-fields.ts';

/* What `auth` takes where the gateway gets tokens by itself, and where a person enters a credential. */

const fieldName = z.string().regex(/^[A-Za-z_][A-Za-z0-9_.-]{0,63}$/, 'is not a name of a field');
/** Members of a JSON answer, from the outside in: `data.token`. */
const path = z.string().regex(/^[A-Za-z_][\w-]*(\.[A-Za-z_][\w-]*){0,7}$/, 'is not a path such as data.token');
const uri = z
  .string()
  .min(1)
  .max(512)
  .regex(/^[\x21-\x7e]+$/, 'must not hold spaces or control characters');

/** The signature algorithms of RFC 7518 §3.1 that a private key makes, and RFC 8037. */
export const ALGORITHMS = [
  'RS256',
  'RS384',
  'RS512',
  'PS256',
  'PS384',
  'PS512',
  'ES256',
  'ES384',
  'ES512',
  'EdDSA',
] as const;

/** Claims that have a field of their own. */
const SET_CLAIMS = new Set(['iss', 'sub', 'aud', 'exp', 'iat', 'nbf', 'jti']);

export const tokenSource = z.union(
  [z.literal('***'), strict({ secret: z.string().min(1).max(128) }), strict({ connector: z.string().min(1).max(63) })],
  { error: 'must be a text, {secret: NAME} or {connector: NAME}' },
);

export const flowFields = {
  /** RFC 8693. */
  subjectToken: tokenSource.optional(),
  subjectTokenType: uri.optional(),
  actorToken: secretField.optional(),
  actorTokenType: uri.optional(),
  requestedTokenType: uri.optional(),
  /** RFC 7523: PEM or JWK. */
  privateKey: secretField.optional(),
  assertion: strict({
    algorithm: z.enum(ALGORITHMS).default('RS256'),
    keyId: z.string().min(1).max(256).optional(),
    issuer: z.string().min(1).max(512).optional(),
    subject: z.string().min(1).max(512).optional(),
    audience: z.string().min(1).max(2_048).default('token_endpoint'),
    lifetime: z.int().min(10).max(3_600).default(300),
    claims: z
      .record(z.string(), z.unknown())
      .default({})
      .superRefine((claims, context) => {
        for (const name of Object.keys(claims)) {
          if (!SET_CLAIMS.has(name)) continue;
          context.addIssue({
            code: 'custom',
            message: 'has a field of its own, or is set by the gateway',
            path: [name],
          });
        }
      }),
  }).optional(),
};

/** Where a person may enter the credential. */
export const enteredFields = {
  /** `tenant` when left out. */
  owner: z.enum(['user', 'tenant']).optional(),
  labels: z.partialRecord(z.enum(['token', 'value', 'username', 'password']), text(100)).optional(),
  guide: text(2_000).optional(),
};

export const loginFields = {
  loginUrl: httpUrl,
  refreshUrl: httpUrl.optional(),
  body: z.enum(['json', 'form']).default('json'),
  username: z.string().max(1_024).optional(),
  password: secretField.optional(),
  usernameField: fieldName.default('username'),
  passwordField: fieldName.default('password'),
  refreshTokenField: fieldName.default('refresh_token'),
  /** Sent besides. */
  additionalFields: z.record(fieldName, z.union([z.string(), z.number(), z.boolean()])).default({}),
  tokenPath: path.default('access_token'),
  expiresInPath: path.default('expires_in'),
  refreshTokenPath: path.default('refresh_token'),
  ...enteredFields,
};

const OF_FLOW: Record<string, readonly string[]> = {
  token_exchange: ['subjectToken', 'subjectTokenType', 'actorToken', 'actorTokenType', 'requestedTokenType'],
  jwt_bearer: ['privateKey', 'assertion'],
};

type FlowAuth = { flow: string; owner?: string | undefined } & Record<string, unknown>;

/** What the fields of one flow demand of each other: message and path. */
export function flowProblems(auth: FlowAuth): { message: string; path: string }[] {
  const found: { message: string; path: string }[] = [];
  for (const [flow, names] of Object.entries(OF_FLOW)) {
    if (auth.flow === flow) continue;
    for (const name of names) {
      if (auth[name] !== undefined) found.push({ path: name, message: `belongs to flow ${flow}` });
    }
  }
  if (auth.flow === 'authorization_code') return found;
  if (auth['registration'] === 'dynamic') {
    found.push({ path: 'registration', message: `must be static with flow ${auth.flow}` });
  }
  if (auth.flow === 'client_credentials' && auth.owner === 'user') {
    found.push({
      path: 'owner',
      message: 'must be tenant with flow client_credentials: the token is the client’s own',
    });
  }
  if (auth.flow === 'token_exchange' && auth['subjectToken'] === undefined) {
    found.push({ path: 'subjectToken', message: 'is needed with flow token_exchange' });
  }
  if (auth.flow === 'jwt_bearer') {
    if (auth['assertion'] === undefined) found.push({ path: 'assertion', message: 'is needed with flow jwt_bearer' });
    const { subject = '' } = (auth['assertion'] ?? {}) as { subject?: string };
    if (PERSON.test(subject) && auth.owner === 'tenant') {
      found.push({ path: 'owner', message: 'must be user: the subject names a person' });
    }
  }
  return found;
}

/** What stands for the person of a connection in an assertion's subject. */
export const PERSON = /\{(email|user)\}/;

/** Whose the tokens are where the document does not say. */
export function ownerOf(auth: FlowAuth): 'user' | 'tenant' {
  if (auth.owner === 'user' || auth.owner === 'tenant') return auth.owner;
  const source = auth['subjectToken'];
  const { subject = '' } = (auth['assertion'] ?? {}) as { subject?: string };
  if (auth.flow === 'authorization_code') return 'user';
  if (auth.flow === 'token_exchange') return isOtherConnector(source) ? 'user' : 'tenant';
  return auth.flow === 'jwt_bearer' && PERSON.test(subject) ? 'user' : 'tenant';
}

export function isOtherConnector(source: unknown): source is { connector: string } {
  return typeof source === 'object' && source !== null && 'connector' in source;
}
