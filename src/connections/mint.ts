import type { Clock } from '../clock.ts';
import { boundOf } from '../connectors/connection-settings.ts';
import type { Connector } from '../connectors/connector.ts';
import { asValetkeyError, fail, type ErrorCode } from '../errors.ts';
import { newId, newToken, type ConnectionId, type ConnectorId, type TenantId } from '../ids.ts';
import type { Log } from '../log.ts';
import { createBreaker } from './breaker.ts';
import { aheadOfTime, backoffMs, type Connection, type Intent, type Owner, type Tokens } from './connection.ts';
import { createIntentWatch, DEADLINE_MS } from './intent-watch.ts';
import type { Mintable, MintAnswer, MintRequests } from './mint-request.ts';
import type { Refresh, Renewal } from './refresh.ts';
import type { Sealing } from './sealing.ts';
import type { ConnectionStore } from './store.ts';

export type Mint = Refresh & {
  /** The row of an owner whose first token is to be minted. */
  reserve(connector: Connector, owner: Owner): Promise<Connection | undefined>;
  /** For a person who asks for it: a connection that was ended begins anew, and a pause after a failure is cut short. */
  connect(connector: Connector, owner: Owner): Promise<Renewal>;
};

const POLL_MS = 500;
/** After an answer that only a change of the connector makes better. */
const REFUSED_MS = 30_000;

/**
 * Tokens that the gateway gets by itself instead of refreshing them. Nothing is spent by asking twice, so that an attempt
 * without an answer is simply made again; the fence is there because many services end the former token with each new one.
 */
export function createMint(options: {
  store: ConnectionStore;
  requests: MintRequests;
  sealing: Sealing;
  clock: Clock;
  log: Log;
  /** See `createRefresh`. */
  exclusive: boolean;
  instance?: string | undefined;
  connectorById: (tenant: TenantId, id: ConnectorId) => Connector | undefined;
  onChanged: (row: Connection) => Promise<void>;
  /** A first token, or one after the connection had ended. */
  onConnected: (row: Connection) => Promise<void>;
  onDead: (row: Connection, code: string) => Promise<void>;
}): Mint {
  const { store, requests, sealing, clock, log } = options;
  const instance = options.instance === undefined ? undefined : `${options.instance}/`;
  const processId = `${instance ?? ''}${newToken(9)}`;
  const flights = new Map<string, Promise<Renewal>>();
  const services = createBreaker({ clock, threshold: 5, baseMs: 1_000 });
  const waiting = new Set<() => void>();
  let stopping = false;

  async function changed(ms: number): Promise<void> {
    let wake = (): void => undefined;
    const notice = new Promise<void>((resolve) => {
      wake = resolve;
      waiting.add(resolve);
    });
    await Promise.race([notice, clock.sleep(ms)]);
    waiting.delete(wake);
  }

  const watch = createIntentWatch({
    clock,
    isOurs: ({ process }) =>
      options.exclusive || process === processId || (instance !== undefined && process.startsWith(instance)),
  });

  async function heldBy(row: Connection, connector: Connector): Promise<Tokens | null> {
    if (row.sealed === null) return null;
    const held = await sealing.openTokens(row);
    // What was entered for other addresses is not sent to these.
    return held.bound === boundOf(connector) ? held : null;
  }

  async function flight(wanted: Connection, now: 'at once' | 'in turn', waits: boolean): Promise<Renewal> {
    for (;;) {
      const row = await store.find(wanted.tenant, wanted.id);
      if (row === undefined || row.status === 'revoked') return { kind: 'gone' };
      if (row.generation !== wanted.generation) return { kind: 'renewed', row };
      if (row.status === 'needs_reconnect' || row.status === 'quarantined') return { kind: 'dead' };
      const connector = options.connectorById(row.tenant, row.connector);
      if (connector?.connection?.how !== 'minted') return { kind: 'gone' };
      const at = clock.now();
      const { intent } = row;
      const { heldMs, waitMs } = watch.look(row);
      if (heldMs > 0) {
        if (!waits) return { kind: 'postponed', retryAfterMs: heldMs };
        await changed(Math.min(POLL_MS, heldMs));
        continue;
      }
      if (waitMs > 0 && now === 'in turn') return { kind: 'postponed', retryAfterMs: waitMs };
      const held = await heldBy(row, connector);
      const request = await requests.prepare(connector, row.owner, held);
      if ('lacks' in request) {
        if (request.lacks === 'connection') return { kind: 'gone' };
        return request.lacks === 'reconnect'
          ? { kind: 'dead' }
          : { kind: 'postponed', retryAfterMs: request.retryAfterMs };
      }
      const admitted = now === 'at once' ? 0 : services.admit(request.origin);
      if (admitted > 0) return { kind: 'postponed', retryAfterMs: admitted };
      const began = clock.monotonic();
      const attempt = row.attempt ?? newId<string>('att');
      const next: Intent = {
        generation: row.generation,
        started: intent?.started ?? at,
        deadline: at + DEADLINE_MS,
        notBefore: 0,
        asked: 0,
        lost: 0,
        replays: intent === null ? 0 : intent.replays + 1,
        process: processId,
        epoch: intent?.epoch ?? 0,
      };
      const taken = intent === null ? await store.takeIntent(row, attempt, next) : await store.moveIntent(row, next);
      if (!taken) continue;
      const fenced = { ...row, attempt, intent: next, intentText: JSON.stringify(next) };
      const result = await exchange(fenced, connector, held, request, next, began);
      if (result !== 'again') return result;
    }
  }

  async function exchange(
    row: Connection & { attempt: string },
    connector: Connector,
    held: Tokens | null,
    request: Mintable,
    intent: Intent,
    began: number,
  ): Promise<Renewal | 'again'> {
    // A process that was held up may find another one at work.
    if (clock.monotonic() - began > DEADLINE_MS / 3) return { kind: 'postponed', retryAfterMs: POLL_MS };
    let answer: MintAnswer;
    try {
      answer = await request.send(intent.replays > 0);
    } catch (thrown) {
      const error = asValetkeyError(thrown);
      log.warn({ err: error, connection: row.id }, 'a token could not be fetched');
      if (/^egress_(blocked|insecure|redirect)$/.test(error.code)) {
        return await pause(row, intent, REFUSED_MS, 'refresh_refused', error.message);
      }
      services.failed(request.origin);
      return await pause(row, intent, delay(connector, intent, null), 'refresh_postponed');
    }
    if (answer.kind === 'tokens') {
      services.succeeded(request.origin);
      return await commit(row, connector, held, answer);
    }
    log.warn({ connection: row.id, class: answer.class, error: answer.code }, 'a service refused to hand out a token');
    if (answer.class === 'transient' || answer.class === 'unknown_4xx') {
      services.failed(request.origin, answer.retryAfterMs);
      return await pause(row, intent, delay(connector, intent, answer.retryAfterMs), 'refresh_postponed');
    }
    services.succeeded(request.origin);
    const entered = connector.connection?.asks.length !== 0;
    if (entered && (answer.class === 'grant_dead' || answer.class === 'interaction'))
      return await bury(row, answer.code);
    const message = answer.message ?? `The service refuses to hand out a token: ${answer.code}.`;
    const code = answer.class === 'client_config' ? 'client_refused' : 'refresh_refused';
    return await pause(row, intent, Math.max(REFUSED_MS, answer.retryAfterMs ?? 0), code, message);
  }

  function delay(connector: Connector, { replays }: Intent, retryAfterMs: number | null): number {
    const base = connector.connection?.refreshToken.retryDelay ?? 1_000;
    return Math.max(retryAfterMs ?? 0, backoffMs(replays, base, Math.random()));
  }

  async function commit(
    row: Connection & { attempt: string },
    connector: Connector,
    held: Tokens | null,
    answer: Extract<MintAnswer, { kind: 'tokens' }>,
  ): Promise<Renewal | 'again'> {
    const generation = row.generation + 1;
    const tokens: Tokens = mintedTokens(connector, answer, held?.entered);
    const committed = await store.commitRefresh(
      row,
      row.attempt,
      {
        sealed: await sealing.sealTokens(row, generation, tokens),
        generation,
        issuedAt: answer.sentAt,
        expiresAt: answer.expiresAt,
        grantExpiresAt: null,
        nextRefreshAt: mintAgainAt(connector, answer),
        scopesGranted: answer.scopes ?? [...(connector.oauth?.scopes ?? [])],
      },
      clock.now(),
    );
    const current = await store.find(row.tenant, row.id);
    if (current === undefined || current.status === 'revoked') return { kind: 'gone' };
    // Somebody was faster, and what they have holds.
    if (!committed) return current.generation > row.generation ? { kind: 'renewed', row: current } : 'again';
    await store.nameAccount(current, answer.account);
    await options.onChanged(current);
    if (row.status === 'pending') await options.onConnected(current);
    return { kind: 'renewed', row: current };
  }

  /** The attempt keeps its fence and goes on after a pause; the token there is stays in use until it ends. */
  async function pause(
    row: Connection,
    intent: Intent,
    wait: number,
    code: ErrorCode,
    said?: string,
  ): Promise<Renewal> {
    const now = clock.now();
    const { message, hint } = fail(code);
    const lastError = { code, message: said ?? message, hint };
    await store.moveIntent(row, { ...intent, deadline: 0, notBefore: now + wait, asked: wait }, lastError);
    return { kind: 'postponed', retryAfterMs: wait };
  }

  /** What a person entered is refused: only they can enter something else. */
  async function bury(row: Connection & { attempt: string }, code: string): Promise<Renewal | 'again'> {
    const { message, hint } = fail('entered_refused');
    const lastError = { code: 'entered_refused', message, hint };
    const change = { status: 'needs_reconnect', lastError, nextRefreshAt: null } as const;
    if (!(await store.closeAttempt(row, row.attempt, change, clock.now()))) return 'again';
    await options.onChanged(row);
    await options.onDead({ ...row, status: 'needs_reconnect' }, code);
    return { kind: 'dead' };
  }

  async function join(row: Connection, now: 'at once' | 'in turn', waits: boolean): Promise<Renewal> {
    const key = `${row.tenant}/${row.id}/${row.generation}`;
    const running = flights.get(key);
    if (running !== undefined) return await running;
    if (stopping) return { kind: 'postponed', retryAfterMs: 1_000 };
    const work = flight(row, now, waits)
      .catch((thrown: unknown): Renewal => {
        log.error({ err: asValetkeyError(thrown), connection: row.id }, 'a token could not be minted');
        return { kind: 'postponed', retryAfterMs: 1_000 };
      })
      .finally(() => flights.delete(key));
    flights.set(key, work);
    return await work;
  }

  async function reserve(connector: Connector, owner: Owner): Promise<Connection | undefined> {
    const { tenant, id } = connector;
    if (connector.connection?.how !== 'minted' || connector.connection.asks.length > 0) return undefined;
    await store.reserve({ tenant, id: newId<ConnectionId>('cnx'), connector: id, owner, now: clock.now() });
    return await store.findOwned(tenant, id, owner);
  }

  return {
    ripe(row) {
      const { heldMs, waitMs } = watch.look(row);
      return heldMs === 0 && waitMs === 0;
    },
    reserve,
    async connect(connector, owner) {
      const row = await reserve(connector, owner);
      if (row === undefined) return { kind: 'gone' };
      if (row.status === 'revoked' || row.status === 'needs_reconnect') {
        await store.change(row, { status: 'pending', lastError: null }, clock.now());
        return await join({ ...row, status: 'pending' }, 'at once', true);
      }
      return await join(row, 'at once', true);
    },
    async renew(row, reason) {
      const waits = reason === 'expired' || reason === 'rejected';
      return await join(row, 'in turn', waits);
    },
    wake() {
      for (const resolve of waiting) resolve();
    },
    async stop() {
      stopping = true;
      while (flights.size > 0) await Promise.all(flights.values());
    },
  };
}

/** What is sealed of a token that the gateway got by itself, so that it can get another one. */
export function mintedTokens(
  connector: Connector,
  answer: Extract<MintAnswer, { kind: 'tokens' }>,
  entered: Record<string, string> | undefined,
): Tokens {
  return {
    access_token: answer.accessToken,
    refresh_token: answer.refreshToken,
    fields: {},
    revision: connector.revision,
    bound: boundOf(connector),
    entered,
  };
}

export function mintAgainAt(connector: Connector, answer: { sentAt: number; expiresAt: number | null }): number | null {
  if (answer.expiresAt === null) return null;
  const bufferMs = (connector.connection?.refreshToken.bufferTime ?? 300) * 1_000;
  return aheadOfTime({ from: answer.sentAt, expiresAt: answer.expiresAt, bufferMs, jitter: Math.random() });
}
