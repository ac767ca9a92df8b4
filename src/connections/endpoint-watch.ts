import type { Clock } from '../clock.ts';
import type { Log } from '../log.ts';
import { SKEW_LIMIT_MS } from './health.ts';
import { judge, parseBody, type RawAnswer } from './token-answer.ts';

/** An answer of a token endpoint without anything that it is good for. */
export type SeenAnswer = {
  at: number;
  status: number;
  contentType: string;
  kind: 'tokens' | 'refusal' | 'unreadable';
  /** The error that the body states, as far as it has the shape of a code. */
  error: string | null;
  /** Names of the members, never a value. */
  members: string[];
};

/** What this process has seen of token endpoints: their last answers and how far their clocks are off. */
export type EndpointWatch = {
  saw(answer: { endpoint: string; clientId: string; raw: RawAnswer; date: string | null }): void;
  last(endpoint: string, clientId: string): SeenAnswer | undefined;
  /** How far the clock behind this URL is ahead of ours; null when it has not been measured. */
  skewMs(url: string): number | null;
  measure(url: string, date: string | null, sentAt: number): number | null;
};

const MAX_KEPT = 1_000;

export function createEndpointWatch(options: { clock: Clock; log: Log }): EndpointWatch {
  const { clock, log } = options;
  const answers = new Map<string, SeenAnswer>();
  const skews = new Map<string, number>();

  /** RFC 9110 §6.6.1: whole seconds, so that half of one is added; the request took a while in either direction. */
  function measure(url: string, date: string | null, sentAt: number): number | null {
    const stated = Date.parse(date ?? '');
    if (Number.isNaN(stated)) return null;
    const { origin } = new URL(url);
    const receivedAt = clock.now();
    const measured = stated + 500 - (sentAt + receivedAt) / 2;
    // Within the time that the exchange took nothing can be told.
    const skew = Math.abs(measured) <= (receivedAt - sentAt) / 2 + 500 ? 0 : measured;
    if (Math.abs(skew) > SKEW_LIMIT_MS && Math.abs(skews.get(origin) ?? 0) <= SKEW_LIMIT_MS) {
      log.warn({ origin, skewSeconds: Math.round(skew / 1_000) }, 'a clock is off: theirs or ours');
    }
    keep(skews, origin, skew);
    return skew;
  }

  return {
    measure,
    saw({ endpoint, clientId, raw, date }) {
      measure(endpoint, date, raw.sentAt);
      const judged = judge(raw);
      const members = Object.keys(parseBody(raw) ?? {}).filter((name) => /^[\w.-]{1,64}$/.test(name));
      keep(answers, `${endpoint} ${clientId}`, {
        at: clock.now(),
        status: raw.status,
        contentType: /^[\w.+-]+\/[\w.+-]+/.exec(raw.contentType)?.[0] ?? '',
        kind: judged.kind,
        error: judged.kind === 'refusal' ? judged.code : null,
        members: members.slice(0, 40),
      });
    },
    last: (endpoint, clientId) => answers.get(`${endpoint} ${clientId}`),
    skewMs: (url) => (URL.canParse(url) ? (skews.get(new URL(url).origin) ?? null) : null),
  };
}

function keep<T>(map: Map<string, T>, key: string, value: T): void {
  map.delete(key);
  map.set(key, value);
  const [oldest] = map.keys();
  if (map.size > MAX_KEPT && oldest !== undefined) map.delete(oldest);
}
