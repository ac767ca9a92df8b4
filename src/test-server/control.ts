import { z } from 'zod';
import type { Accounts } from './accounts.ts';
import type { Clients } from './clients.ts';
import { callFaultSchema, tokenFaultSchema, type Faults } from './faults.ts';
import type { Grant, Grants, TokenAnswer } from './grants.ts';
import { oauthRefusal, readJson, Refusal, sendJson, type Route } from './http.ts';
import type { Ledger } from './ledger.ts';
import type { MetadataOverrides } from './metadata.ts';
import { policySchema, SCOPES, type Policy } from './options.ts';
import { PERSONA_NAMES, policyOf } from './personas.ts';

/** All conditions that are given must hold; none means every grant. */
const chooseSchema = z.strictObject({
  subject: z.string().optional(),
  clientId: z.string().optional(),
  grant: z.string().optional(),
});
const scopes = z.array(z.enum(SCOPES));
const document = z.record(z.string(), z.unknown());

/** Without defaults, so that a patch sets what it names and nothing else: an optional default still fills in. */
const settable = z.strictObject(
  Object.fromEntries(
    Object.entries(policySchema.shape).map(([name, field]) => [
      name,
      (field instanceof z.ZodDefault ? (field.unwrap() as z.ZodType) : field).optional(),
    ]),
  ),
) as unknown as ReturnType<typeof policySchema.partial>;

/** Input of each action: of the method of the same name, and of `POST /control/NAME`. */
const schemas = {
  expireAccessTokens: chooseSchema,
  revokeGrants: chooseSchema,
  setScopes: chooseSchema.extend({ scopes }),
  forgetClient: z.strictObject({ clientId: z.string() }),
  changeClientSecret: z.strictObject({ clientId: z.string(), clientSecret: z.string().min(1) }),
  issueGrant: z.strictObject({
    subject: z.string(),
    clientId: z.string(),
    scopes: scopes.default([...SCOPES]),
    resource: z.string().nullable().default(null),
  }),
  /** What is not named stays as it is; `personas` first, then the rest over them. */
  setPolicy: z.strictObject({
    ...settable.shape,
    personas: z.array(z.enum(PERSONA_NAMES)).default([]),
    clientId: z.string().optional(),
  }),
  failTokenCalls: tokenFaultSchema,
  failCalls: callFaultSchema,
  setLatency: z.strictObject({ tokenMs: z.number().min(0).optional(), callsMs: z.number().min(0).optional() }),
  takeAuthorizationServerDown: z.strictObject({ how: z.enum(['reset', 'unavailable']).default('reset') }),
  bringAuthorizationServerUp: z.strictObject({}),
  setMetadata: z.strictObject({ authorizationServer: document.optional(), protectedResource: document.optional() }),
  endMcpSessions: z.strictObject({}),
  notifyToolsChanged: z.strictObject({}),
  signOutEveryone: z.strictObject({}),
  clearFaults: z.strictObject({}),
} as const;

type Schemas = typeof schemas;
type Input<Name extends keyof Schemas> = z.input<Schemas[Name]>;
type Results = Record<keyof Schemas, unknown> & {
  expireAccessTokens: number;
  revokeGrants: number;
  setScopes: number;
  forgetClient: boolean;
  issueGrant: TokenAnswer & { grant: string };
};
export type Control = {
  /** Actions whose every field is optional may be called without an argument. */
  [Name in keyof Schemas]: Record<string, never> extends Input<Name>
    ? (input?: Input<Name>) => Promise<Results[Name]>
    : (input: Input<Name>) => Promise<Results[Name]>;
};

export type ControlOptions = {
  grants: Grants;
  clients: Clients;
  accounts: Accounts;
  faults: Faults;
  ledger: Ledger;
  overrides: MetadataOverrides;
  policy: { server: Policy };
  policyOf: (clientId: string) => Policy;
  grantable: Map<string, readonly string[]>;
  endMcpSessions: () => Promise<void>;
  notifyToolsChanged: () => Promise<void>;
};

/** What tests and drills change while the server runs. */
export function createControl(options: ControlOptions): Control {
  const { grants, clients, faults, ledger } = options;

  const chosen = (where: z.output<typeof chooseSchema>) => (grant: Grant) =>
    (where.subject ?? grant.subject) === grant.subject &&
    (where.clientId ?? grant.clientId) === grant.clientId &&
    (where.grant ?? grant.id) === grant.id;

  function client(clientId: string) {
    const found = clients.get(clientId);
    if (found === undefined) throw oauthRefusal('invalid_request', 'no such client', 404);
    return found;
  }

  const run: { [Name in keyof Schemas]: (input: z.output<Schemas[Name]>) => unknown } = {
    expireAccessTokens: (where) => grants.expireAccessTokens(chosen(where)),
    revokeGrants: (where) => grants.revokeGrants(chosen(where)),
    setScopes(where) {
      if (where.subject !== undefined) options.grantable.set(where.subject, where.scopes);
      return grants.setScopes(chosen(where), [...where.scopes]);
    },
    forgetClient: ({ clientId }) => clients.forget(clientId),
    changeClientSecret({ clientId, clientSecret }) {
      client(clientId).clientSecret = clientSecret;
    },
    issueGrant({ subject, clientId, scopes, resource }) {
      const { grant, answer } = grants.open({ subject, clientId, scopes, resource }, options.policyOf(clientId));
      return { ...answer, grant: grant.id };
    },
    setPolicy({ clientId, personas, ...rest }) {
      const patch = { ...policyOf(personas), ...rest };
      if (clientId === undefined) Object.assign(options.policy.server, patch);
      else Object.assign(client(clientId).policy, patch);
    },
    failTokenCalls: (fault) => void faults.addTokenFault(fault),
    failCalls: (fault) => void faults.addCallFault(fault),
    setLatency({ tokenMs, callsMs }) {
      if (tokenMs !== undefined) faults.latency.token = tokenMs;
      if (callsMs !== undefined) faults.latency.calls = callsMs;
    },
    takeAuthorizationServerDown: ({ how }) => faults.setDown(how),
    bringAuthorizationServerUp: () => faults.setDown('no'),
    setMetadata: (given) => void Object.assign(options.overrides, given),
    endMcpSessions: () => options.endMcpSessions(),
    notifyToolsChanged: () => options.notifyToolsChanged(),
    signOutEveryone: () => options.accounts.signOutEveryone(),
    clearFaults: () => faults.clear(),
  };

  const actions = Object.entries(schemas).map(([name, schema]) => [
    name,
    async (input: unknown = {}) => {
      const parsed = schema.safeParse(input);
      if (!parsed.success) {
        const issue = parsed.error.issues[0]!;
        throw oauthRefusal('invalid_request', `${name}: ${issue.path.join('.')}: ${issue.message}`);
      }
      const { clientSecret: _secret, ...detail } = parsed.data as Record<string, unknown>;
      ledger.record({ type: 'control', action: name, detail });
      return await (run[name as keyof Schemas] as (input: unknown) => unknown)(parsed.data);
    },
  ]);
  return Object.fromEntries(actions) as Control;
}

/** `POST /control/{action}` with the action's input as JSON, `GET /control/ledger?after=SEQUENCE`. */
export function controlRoutes(control: Control, ledger: Ledger): Route[] {
  return [
    {
      method: 'GET',
      path: '/control/ledger',
      handle({ res, query }) {
        const after = Number(query.get('after') ?? 0);
        const events = ledger.events.filter((event) => event.sequence > after);
        sendJson(res, 200, { events, maxInFlight: ledger.maxInFlight() });
      },
    },
    {
      method: 'POST',
      path: '/control/:action',
      async handle({ req, res }, { action }) {
        if (!Object.hasOwn(control, action!)) throw new Refusal(404, { error: 'not_found' });
        // JSON only: a form on a page elsewhere cannot send it without a preflight.
        const result = await (control[action as keyof Control] as (input: unknown) => Promise<unknown>)(
          await readJson(req),
        );
        sendJson(res, 200, { result: result ?? null });
      },
    },
  ];
}
