import type { Clock } from '../clock.ts';
import { boundOf } from '../connectors/connection-settings.ts';
import type { Connector } from '../connectors/connector.ts';
import type { Credential } from '../connectors/credential.ts';
import { asValetkeyError, fail } from '../errors.ts';
import { newId, type ConnectionId, type FlowId, type UserId } from '../ids.ts';
import type { Log } from '../log.ts';
import { Secret } from '../secret.ts';
import type { Connection, Owner, Tokens } from './connection.ts';
import type { Login } from './login.ts';
import { mintAgainAt, mintedTokens } from './mint.ts';
import { failed, type Outcome } from './outcome.ts';
import type { Refresh } from './refresh.ts';
import type { Sealing } from './sealing.ts';
import type { ConnectionStore } from './store.ts';
import { expiryOfJwt } from './token-answer.ts';

/** What a call with a credential came to: `unknown` where the service could not be asked. */
export type Tried = 'accepted' | 'refused' | 'unknown';

export type Entered = Pick<Refresh, 'renew'> & {
  /** Takes what a person has entered, tries it, and seals it. */
  take(given: {
    connector: Connector;
    user: UserId;
    owner: Owner;
    values: Readonly<Record<string, string>>;
    flow: FlowId;
    returnTo: string | null;
  }): Promise<Outcome>;
};

type Held = { tokens: Tokens; sentAt: number; expiresAt: number | null; label: string | null; subject: string | null };

/** It has to stand in a header or a form, whole: a line break from a copied page would otherwise be part of it. */
const VISIBLE = /^[\x20-\x7e]+$/;
const MAX_LENGTH = 8 * 1024;

export function createEntered(options: {
  store: ConnectionStore;
  sealing: Sealing;
  login: Login;
  /** One harmless call with it. */
  tryCall: (connector: Connector, credential: Credential) => Promise<Tried>;
  clock: Clock;
  log: Log;
  onConnected: (row: Connection, user: UserId, flow: FlowId) => Promise<void>;
  onDead: (row: Connection, code: string) => Promise<void>;
  onChanged: (row: Connection) => Promise<void>;
}): Entered {
  const { store, sealing, clock, log } = options;

  async function prove(
    connector: Connector,
    values: Readonly<Record<string, string>>,
    returnTo: string | null,
  ): Promise<Held | Extract<Outcome, { kind: 'failed' }>> {
    const { auth } = connector.document;
    if (auth.type === 'login') {
      try {
        const answer = await options.login.enter(auth, values['username'] ?? '', new Secret(values['password'] ?? ''));
        if (answer.kind === 'refused') {
          return answer.class === 'grant_dead'
            ? failed('entered_refused', returnTo)
            : failed('exchange_failed', returnTo, { message: `The service handed out no token: ${answer.code}.` });
        }
        const tokens = mintedTokens(connector, answer, { ...values });
        const { sentAt, expiresAt, account } = answer;
        return { tokens, sentAt, expiresAt, label: values['username'] ?? null, subject: account.subject };
      } catch (thrown) {
        const error = asValetkeyError(thrown);
        log.warn({ err: error, connector: connector.id }, 'a login got no answer');
        return failed('exchange_failed', returnTo, { message: `The service could not be asked: ${error.message}` });
      }
    }
    const held = heldOf(connector, values, clock.now());
    const { tokens } = held;
    const fields = { ...tokens.fields, access_token: tokens.access_token, token: tokens.access_token };
    const credential: Credential = {
      key: 'entered',
      generation: 0,
      fields: Object.fromEntries(Object.entries(fields).map(([name, value]) => [name, new Secret(value)])),
      expiresAt: null,
    };
    return (await options.tryCall(connector, credential)) === 'refused' ? failed('entered_refused', returnTo) : held;
  }

  return {
    async take({ connector, user, owner, values: raw, flow, returnTo }) {
      const asks = connector.connection?.asks ?? [];
      const values: Record<string, string> = {};
      for (const { name, label } of asks) {
        const value = raw[name]?.trim() ?? '';
        const fits =
          value !== '' &&
          value.length <= MAX_LENGTH &&
          (connector.document.auth.type === 'login' || VISIBLE.test(value));
        if (!fits || (connector.document.auth.type === 'basic' && name === 'username' && value.includes(':'))) {
          return failed('entered_invalid', returnTo, { message: `${label}: that cannot be it.` });
        }
        values[name] = value;
      }
      const held = await prove(connector, values, returnTo);
      if ('kind' in held) return held;
      const { tenant, id } = connector;
      await store.reserve({ tenant, id: newId<ConnectionId>('cnx'), connector: id, owner, now: clock.now() });
      for (;;) {
        const row = await store.findOwned(tenant, id, owner);
        if (row === undefined) throw fail('conflict');
        const generation = row.generation + 1;
        const committed = await store.connect(row, {
          sealed: await sealing.sealTokens(row, generation, held.tokens),
          generation,
          issuedAt: held.sentAt,
          expiresAt: held.expiresAt,
          grantExpiresAt: null,
          nextRefreshAt: connector.connection?.how === 'minted' ? mintAgainAt(connector, held) : null,
          terms: null,
          registration: null,
          scopesRequested: [],
          scopesGranted: [],
          account: { subject: held.subject, label: held.label },
          now: clock.now(),
        });
        if (!committed) continue;
        await options.onConnected({ ...row, generation, status: 'connected' }, user, flow);
        return {
          kind: 'connected',
          connection: row.id,
          account: { subject: held.subject, label: held.label },
          previousAccount: null,
          granted: [],
          refused: [],
          renewable: true,
          returnTo,
        };
      }
    },

    /** Nothing renews what a person entered: refused or run out, it has to be entered again. */
    async renew(wanted, reason) {
      const row = await store.find(wanted.tenant, wanted.id);
      if (row === undefined || row.status === 'revoked' || row.status === 'pending') return { kind: 'gone' };
      if (row.generation !== wanted.generation) return { kind: 'renewed', row };
      if (row.status === 'needs_reconnect' || row.status === 'quarantined') return { kind: 'dead' };
      if (reason === 'ahead' || reason === 'sweep') return { kind: 'kept', row };
      const code = reason === 'expired' ? 'not_renewable' : 'entered_refused';
      const { message, hint } = fail(code);
      const change = { status: 'needs_reconnect', lastError: { code, message, hint }, nextRefreshAt: null } as const;
      if (await store.change(row, change, clock.now())) {
        await options.onDead({ ...row, status: 'needs_reconnect' }, code);
        await options.onChanged(row);
      }
      return { kind: 'dead' };
    },
  };
}

function heldOf(connector: Connector, values: Readonly<Record<string, string>>, now: number): Held {
  const { auth } = connector.document;
  const { token = '', value = '', username = '', password = '' } = values;
  const basic = Buffer.from(`${username}:${password}`).toString('base64');
  const main = auth.type === 'basic' ? basic : auth.type === 'api-key' ? value : token;
  const fields: Record<string, string> =
    auth.type === 'basic' ? { username, password, basic } : auth.type === 'api-key' ? { value } : {};
  return {
    tokens: { access_token: main, refresh_token: null, fields, bound: boundOf(connector) },
    sentAt: now,
    expiresAt: auth.type === 'bearer' ? expiryOfJwt(token) : null,
    label: auth.type === 'basic' ? username : null,
    subject: null,
  };
}
