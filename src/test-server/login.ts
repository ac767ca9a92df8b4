import { createHmac, randomBytes } from 'node:crypto';
import { z } from 'zod';
import type { Clock } from '../clock.ts';
import { newToken } from '../ids.ts';
import type { Accounts } from './accounts.ts';
import { answerOf, sendFaulty, type Faults } from './faults.ts';
import type { Grant, Grants, MintAccessToken } from './grants.ts';
import { isForm, oauthRefusal, readForm, readJson, Refusal, sendJson, type Exchange, type Route } from './http.ts';
import type { Ledger } from './ledger.ts';
import type { Policy } from './options.ts';
import { recordNotProcessed, refreshGrant } from './refresh.ts';

/** The client that tokens from the login endpoint stand under. */
const LOGIN_CLIENT = 'login';

/** JWTs (RFC 7519, HS256) that only this server verifies, by looking them up. */
export function jwtMint(options: { clock: Clock; issuer: string }): MintAccessToken {
  const key = randomBytes(32);
  const part = (value: unknown) => Buffer.from(JSON.stringify(value)).toString('base64url');
  return (grant: Grant, scopes, expiresAt) => {
    const claims = {
      iss: options.issuer,
      sub: grant.subject,
      scope: scopes.join(' '),
      iat: Math.floor(options.clock.now() / 1_000),
      exp: Math.floor(expiresAt / 1_000),
      jti: newToken(12),
    };
    const signed = `${part({ alg: 'HS256', typ: 'JWT' })}.${part(claims)}`;
    return `${signed}.${createHmac('sha256', key).update(signed).digest('base64url')}`;
  };
}

const loginSchema = z.object({ username: z.string(), password: z.string() });
const refreshSchema = z.object({ refresh_token: z.string().min(1) });

/** Mode `jwt`: a login endpoint that answers with a token, and its refresh. JSON or form bodies. */
export function loginRoutes(options: {
  clock: Clock;
  accounts: Accounts;
  grants: Grants;
  ledger: Ledger;
  faults: Faults;
  scopes: readonly string[];
  policy: () => Policy;
}): Route[] {
  const { clock, accounts, grants, ledger, faults } = options;

  async function body<T>(req: Exchange['req'], schema: z.ZodType<T>): Promise<T> {
    const given = isForm(req) ? Object.fromEntries(await readForm(req)) : await readJson(req);
    const parsed = schema.safeParse(given);
    if (parsed.success) return parsed.data;
    throw oauthRefusal('invalid_request', `${parsed.error.issues[0]!.path.join('.')} is missing`);
  }

  async function login({ req, res }: Exchange): Promise<void> {
    const { username, password } = await body(req, loginSchema);
    const account = accounts.check(username, password);
    ledger.record({
      type: 'login',
      subject: account?.username ?? null,
      outcome: account === undefined ? 'refused' : 'ok',
    });
    if (account === undefined) throw new Refusal(401, { error: 'invalid_credentials' });
    const request = { clientId: LOGIN_CLIENT, subject: account.username, scopes: [...options.scopes], resource: null };
    sendJson(res, 200, grants.open(request, options.policy()).answer);
  }

  async function refresh({ req, res }: Exchange): Promise<void> {
    const startedAt = clock.now();
    const { refresh_token: token } = await body(req, refreshSchema);
    const flight = ledger.enter(token);
    try {
      const fault = faults.takeTokenFault('refresh_token', LOGIN_CLIENT);
      await faults.wait(faults.latency.token + (fault?.delayMs ?? 0));
      const answer = answerOf(fault);
      const call = { token, clientId: LOGIN_CLIENT, inFlight: flight.inFlight, startedAt, answer };
      if (answer !== 'sent' && fault?.commit !== true) {
        recordNotProcessed(ledger, call);
        return sendFaulty(res, fault, () => undefined);
      }
      const refreshed = refreshGrant(options, call, { scopes: null, resource: null }, options.policy());
      await faults.wait(fault?.answerDelayMs ?? 0);
      sendFaulty(res, fault, () => {
        if (refreshed.answer === null) sendJson(res, 401, { error: 'invalid_grant' });
        else sendJson(res, 200, refreshed.answer);
      });
    } finally {
      flight.leave();
    }
  }

  return [
    { method: 'POST', path: '/auth/login', handle: login },
    { method: 'POST', path: '/auth/refresh', handle: refresh },
  ];
}
