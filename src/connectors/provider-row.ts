import { z } from 'zod';
import { additionalParams, SCOPE } from './auth-document.ts';
import { strict, text } from './document-fields.ts';
import { headerProblem } from './injection.ts';
import { compilePattern } from './provider-pattern.ts';
import { PARAMETER_NAME, templateProblems } from './provider-url.ts';

const name = z.string().regex(/^[a-z0-9][a-z0-9-]{0,62}$/, 'must be of a-z, 0-9 and -');
const parameterName = z.string().regex(PARAMETER_NAME, 'must be a name like tenantId');
/** A URL with `{name}` in it; which hosts it may lead to is judged with the parameters at hand. */
const template = z.string().max(2_048);
/** `a.b.0.c`: members and positions from the outside in. */
const path = z.string().regex(/^[\w-]{1,64}(?:\.[\w-]{1,64}){0,7}$/, 'must be a path like data.access_token');
/** The first path that holds something counts. */
const paths = z.array(path).min(1).max(6);
const seconds = z.int().min(1).max(315_360_000);
const clientAuth = z.enum(['client_secret_basic', 'client_secret_post', 'none']);
const scopes = z.array(z.string().regex(SCOPE, 'is not a scope')).max(100);
const headerValue = z.string().min(1).max(500);
const separator = z.enum([' ', ',', '+']);

/** Added to, renamed in and left out of one kind of request. */
const step = {
  parameters: additionalParams,
  /** Standard name → the name that this service has for it. */
  rename: z
    .partialRecord(z.enum(['client_id', 'client_secret', 'redirect_uri', 'code', 'grant_type']), parameterText())
    .default({}),
  omit: z
    .array(z.enum(['response_type', 'grant_type', 'redirect_uri', 'scope']))
    .max(4)
    .default([]),
};

function parameterText() {
  return z.string().regex(/^[A-Za-z][\w.\-[\]]{0,63}$/, 'is not the name of a parameter');
}

const pattern = z.string().superRefine((value, context) => {
  try {
    compilePattern(value);
  } catch (error) {
    context.addIssue((error as Error).message);
  }
});

const parameter = strict({
  /** `operator`, `user`: stands in the connector document. The others are taken from what the service says. */
  source: z.enum(['operator', 'user', 'callback', 'token_response', 'lookup']),
  label: text(120),
  pattern,
  example: text(253),
  default: z.string().max(253).optional(),
  /** callback: the query parameter; token_response and lookup: the path. */
  from: z.string().max(200).optional(),
}).superRefine((given, context) => {
  const asked = given.source === 'operator' || given.source === 'user';
  if (asked !== (given.from === undefined)) {
    context.addIssue({
      code: 'custom',
      path: ['from'],
      message: asked ? 'has no place here' : 'is missing: where it is taken from',
    });
  }
  if (!asked && given.source !== 'callback' && given.from !== undefined && !path.safeParse(given.from).success) {
    context.addIssue({ code: 'custom', path: ['from'], message: 'must be a path like data.id' });
  }
  let fits: (value: string) => boolean;
  try {
    fits = compilePattern(given.pattern).test;
  } catch {
    return;
  }
  for (const field of ['example', 'default'] as const) {
    const value = given[field];
    if (value !== undefined && !fits(value))
      context.addIssue({ code: 'custom', path: [field], message: 'does not fit the pattern' });
  }
});

const rotation = strict({
  /** Whether a refresh brings another refresh token. */
  kind: z.enum(['none', 'each_use', 'sometimes', 'optional', 'unknown']),
  /** What presenting a replaced one does: nothing, a refusal, the end of its grant, or of all grants of that person. */
  reuse: z.enum(['tolerated', 'refused', 'ends_grant', 'ends_user', 'unknown']).default('unknown'),
  /** For so long a replaced one is still answered. */
  graceSeconds: seconds.optional(),
  endsOldAccessToken: z.boolean().default(false),
});

const lifetimes = strict({
  /** Of an access token whose answer does not say. */
  accessTokenSeconds: seconds.optional(),
  /** A grant that is not refreshed for so long has ended. */
  idleSeconds: seconds.optional(),
  /** Since consent, whatever is done. */
  absoluteSeconds: seconds.optional(),
});

const errorRule = strict({
  class: z.enum(['grant_dead', 'interaction', 'client_config', 'request_bug', 'transient']),
  code: z.string().max(128).optional(),
  /** Stands somewhere in the description, whatever the case. */
  words: z.string().min(4).max(128).optional(),
  status: z.int().min(200).max(599).optional(),
  /** Only an administrator of the service can lift it. */
  admin: z.boolean().default(false),
}).refine((rule) => rule.code !== undefined || rule.words !== undefined, 'needs code or words');

const revocation = z.discriminatedUnion('kind', [
  strict({ kind: z.literal('rfc7009'), url: template }),
  strict({
    kind: z.literal('request'),
    url: template,
    method: z.enum(['POST', 'DELETE']),
    authorization: z.enum(['bearer', 'client', 'none']),
    body: z.enum(['json', 'form', 'none']).default('none'),
    /** Member → `{token}`, `{clientId}`, `{clientSecret}` or text. */
    members: z.record(parameterText(), z.string().max(200)).default({}),
    token: z.enum(['access_token', 'refresh_token', 'either']),
    /** What ends with it; more than the account's own grant is never ended by itself. */
    ends: z.enum(['grant', 'account', 'installation']).default('grant'),
    link: template.optional(),
  }),
  /** The service has no call for it; the person does it there. */
  strict({ kind: z.literal('none'), link: template.optional() }),
]);

const answer = strict({
  accessToken: paths.optional(),
  refreshToken: paths.optional(),
  expiresIn: paths.optional(),
  unit: z.enum(['s', 'ms']).default('s'),
  zeroMeans: z.enum(['never', 'unknown']).default('unknown'),
  expiresAt: paths.optional(),
  grantExpiresIn: paths.optional(),
  scope: paths.optional(),
  /** An answer in which this stands is a refusal, whatever its status. */
  failure: z
    .array(
      strict({ path, equals: z.union([z.string(), z.number(), z.boolean()]).optional(), not: z.number().optional() }),
    )
    .max(4)
    .default([]),
  errorCode: paths.optional(),
  errorText: paths.optional(),
  /** Whose account it is, for people to see. */
  subject: paths.optional(),
  label: paths.optional(),
});

const changing = {
  clientAuth: clientAuth.optional(),
  pkce: z.enum(['required', 'supported', 'off']).optional(),
  rotation: rotation.optional(),
  lifetimes: lifetimes.optional(),
};

const mcp = strict({
  url: template,
  transport: z.enum(['auto', 'streamable-http', 'sse']).default('auto'),
  /** How its authorization server takes clients; allow_listed: it registers those that it knows already. */
  registration: z.enum(['cimd', 'dcr', 'allow_listed', 'static', 'unknown']),
  /** `service`: the endpoints of this file; `discovered`: another server, which the endpoint names itself. */
  oauth: z.enum(['service', 'discovered']).default('discovered'),
  authorizationUrl: template.optional(),
  tokenUrl: template.optional(),
  scopes: scopes.optional(),
  resource: z.union([z.enum(['auto', 'none']), z.url({ protocol: /^https$/ })]).optional(),
  rotation: rotation.optional(),
  note: text(300).optional(),
});

/** One file of `providers/`; docs/providers.md explains every field. */
export const rowSchema = strict({
  name,
  title: text(80).min(1),
  kind: z.enum(['api', 'mcp']),
  /** 1, 2, 3 … with every change of the file. */
  catalogueVersion: z.int().min(1),
  /** The day on which the file was last held against the service's documentation. */
  verifiedOn: z.iso.date(),
  /** What is left out or stated with doubt, in words. */
  doubtful: z.array(text(200)).max(12).default([]),
  /** Why no connect can be made with it; a sentence. */
  unsupported: text(300).optional(),
  parameters: z.record(parameterName, parameter).default({}),
  issuer: template.optional(),
  authorizationUrl: template.optional(),
  tokenUrl: template.optional(),
  clientAuth: clientAuth.optional(),
  /** RFC 6749 §2.3.1 encodes both halves of Basic; `raw` servers compare what they get. */
  basicEncoding: z.enum(['form', 'raw']).default('form'),
  /** `secret`: the client secret is the user name and there is no password. */
  basicUser: z.enum(['client_id', 'secret']).default('client_id'),
  body: z.enum(['form', 'json']).default('form'),
  /** `off`: refused there, or of harm. */
  pkce: z.enum(['required', 'supported', 'off']).default('supported'),
  /** `audience`: named by that parameter in `authorize`. */
  resource: z.enum(['rfc8707', 'audience', 'omit']).default('omit'),
  scopes: strict({
    separator: separator.default(' '),
    /** Without this scope there is no refresh token. */
    offline: z.string().regex(SCOPE).optional(),
    /** Fixed at the app: the parameter is left out. */
    fixed: z.boolean().default(false),
    /** Further lists in parameters of their own: name in the connector document → parameter. */
    sets: z
      .record(parameterName, strict({ parameter: parameterText(), separator: separator.default(' ') }))
      .default({}),
  }).prefault({}),
  authorize: strict(step).prefault({}),
  exchange: strict({
    ...step,
    /** Where the callback of the service names the place; tokenUrl when it does not. */
    url: template.optional(),
  }).prefault({}),
  refresh: strict({
    ...step,
    url: template.optional(),
    method: z.enum(['POST', 'GET']).default('POST'),
    /** Sent again with every refresh. */
    repeat: z
      .array(z.enum(['scope', 'redirect_uri']))
      .max(2)
      .default([]),
  }).prefault({}),
  answer: answer.prefault({}),
  errors: z.array(errorRule).max(40).default([]),
  /** Whether a connect brings a refresh token. */
  refreshToken: z.enum(['always', 'asked', 'sometimes', 'never']).default('sometimes'),
  rotation: rotation.prefault({ kind: 'unknown' }),
  lifetimes: lifetimes.prefault({}),
  revocation: revocation.optional(),
  inject: z
    .array(
      strict({
        header: z.string().superRefine((header, context) => {
          const problem = headerProblem(header);
          if (problem !== undefined) context.addIssue(problem);
        }),
        value: headerValue,
      }),
    )
    .max(8)
    .default([]),
  lookups: z
    .array(
      strict({
        url: template,
        authorization: headerValue.default('Bearer {access_token}'),
        take: z.array(parameterName).max(8).default([]),
        subject: path.optional(),
        label: path.optional(),
      }),
    )
    .max(3)
    .default([]),
  /** Answers of the API, besides 401, which mean that the access token has ended and nothing else. */
  expirySignals: z
    .array(strict({ status: z.int().min(400).max(499), path, equals: z.string().min(1).max(100) }))
    .max(8)
    .default([]),
  mcp: mcp.optional(),
  guide: strict({
    /** `{callbackUrl}` is what people paste. */
    steps: z.array(text(400)).min(1).max(8),
    note: text(400).optional(),
  }),
  /** From that day on these hold instead. */
  changes: z
    .array(strict({ validFrom: z.iso.date(), what: text(200), ...changing }))
    .max(8)
    .default([]),
}).superRefine((row, context) => {
  for (const problem of templateProblems(row)) context.addIssue({ code: 'custom', ...problem });
});

/** A row of shipped data about a known service. */
export type Provider = z.output<typeof rowSchema>;
