import type { ServerResponse } from 'node:http';
import { z } from 'zod';
import type { Clock } from '../clock.ts';
import { send, sendJson } from './http.ts';
import type { Answer } from './ledger.ts';

const times = z.number().int().positive().default(1);
const delayMs = z.number().min(0).default(0);

export const tokenFaultSchema = z.strictObject({
  times,
  /** Only calls of this grant type or client. */
  grantType: z.string().optional(),
  clientId: z.string().optional(),
  /** Milliseconds before the request is looked at, as a slow provider. */
  delayMs,
  /** Milliseconds between processing the request and answering it. */
  answerDelayMs: delayMs,
  /** True: the request is processed first, so a rotation stands although its answer is lost or replaced. */
  commit: z.boolean().default(false),
  /** `none`: only the delay; `drop`: the connection is cut without an answer. */
  answer: z
    .union([
      z.enum(['none', 'drop', 'malformed_json', 'html']),
      z.strictObject({
        status: z.number().int().min(200).max(599),
        body: z.union([z.string(), z.record(z.string(), z.unknown())]).default({}),
        headers: z.record(z.string(), z.string()).default({}),
      }),
    ])
    .default('none'),
});
export type TokenFault = z.infer<typeof tokenFaultSchema>;

export const callFaultSchema = z.strictObject({
  times,
  on: z.enum(['api', 'mcp', 'any']).default('any'),
  delayMs,
  /** 401 comes with the usual challenge; `drop` cuts the connection. */
  answer: z.union([z.literal('drop'), z.number().int().min(400).max(599)]).default(401),
});
export type CallFault = z.infer<typeof callFaultSchema>;

export type Faults = ReturnType<typeof createFaults>;

/** What goes wrong on purpose. Faults queue; each call takes the first that fits it. */
export function createFaults(options: { clock: Clock; latencyMs: number }) {
  const tokenFaults: TokenFault[] = [];
  const callFaults: CallFault[] = [];
  const latency = { token: options.latencyMs, calls: options.latencyMs };
  let down: 'no' | 'reset' | 'unavailable' = 'no';
  const closed = new AbortController();

  function take<F extends { times: number }>(queue: F[], fits: (fault: F) => boolean): F | undefined {
    const fault = queue.find(fits);
    if (fault === undefined) return undefined;
    fault.times -= 1;
    if (fault.times <= 0) queue.splice(queue.indexOf(fault), 1);
    return fault;
  }

  return {
    latency,
    addTokenFault: (fault: TokenFault) => tokenFaults.push({ ...fault }),
    addCallFault: (fault: CallFault) => callFaults.push({ ...fault }),
    takeTokenFault: (grantType: string, clientId: string) =>
      take(
        tokenFaults,
        (fault) => (fault.grantType ?? grantType) === grantType && (fault.clientId ?? clientId) === clientId,
      ),
    takeCallFault: (on: 'api' | 'mcp') => take(callFaults, (fault) => fault.on === 'any' || fault.on === on),
    clear() {
      tokenFaults.length = 0;
      callFaults.length = 0;
      latency.token = options.latencyMs;
      latency.calls = options.latencyMs;
      down = 'no';
    },
    setDown(how: 'no' | 'reset' | 'unavailable') {
      down = how;
    },
    /** True when the authorization server is down and this request has had its answer. */
    refusesAuthorizationServer(res: ServerResponse): boolean {
      if (down === 'reset') res.destroy();
      if (down === 'unavailable') sendJson(res, 503, { error: 'temporarily_unavailable' }, { 'retry-after': '1' });
      return down !== 'no';
    },
    async wait(ms: number): Promise<void> {
      if (ms > 0) await options.clock.sleep(ms, closed.signal).catch(() => undefined);
    },
    /** Ends every wait, so that closing the server does not have to sit it out. */
    close: () => closed.abort(),
  };
}

export function answerOf(fault: TokenFault | undefined): Answer {
  if (fault === undefined || fault.answer === 'none') return 'sent';
  return fault.answer === 'drop' ? 'dropped' : 'replaced';
}

/** Answers as the fault says; with `none` as if there were no fault. */
export function sendFaulty(res: ServerResponse, fault: TokenFault | undefined, proper: () => void): void {
  const answer = fault?.answer ?? 'none';
  if (answer === 'none') proper();
  else if (answer === 'drop') res.destroy();
  else if (answer === 'malformed_json') {
    send(res, 200, '{"access_token": "pat_cut-off', {
      'content-type': 'application/json',
      'cache-control': 'no-store',
    });
  } else if (answer === 'html') {
    send(res, 502, '<!doctype html><title>Bad gateway</title><h1>Bad gateway</h1>', {
      'content-type': 'text/html; charset=utf-8',
    });
  } else if (typeof answer.body === 'string') {
    send(res, answer.status, answer.body, { 'content-type': 'text/plain', ...answer.headers });
  } else sendJson(res, answer.status, answer.body, answer.headers);
}
