import { isObject, type Json } from './era-messages.ts';
import { LEGACY_VERSIONS } from './envelope.ts';
import { askable } from './era-translate.ts';
import { newToken } from '../ids.ts';
import type { Exchange } from '../connectors/kinds/kind.ts';

/**
 * What a 2025-era client said when it began, inside the id of the session that the service does not have: with it any
 * process can speak for the client. The session id that the client gets is this one, sealed.
 */
export type Carried = { version: string; info: unknown; capabilities: Json; nonce: string };

const PREFIX = 'valetkey-era.';
const MAX_INFO = 1_000;

export function carry(params: Json): { id: string; carried: Carried } {
  const { protocolVersion, clientInfo, capabilities } = params;
  const known = isObject(clientInfo) && JSON.stringify(clientInfo).length <= MAX_INFO;
  const carried: Carried = {
    version: LEGACY_VERSIONS.find((version) => version === protocolVersion) ?? (LEGACY_VERSIONS[0] as string),
    info: known ? clientInfo : { name: 'unknown', version: '0' },
    capabilities: askable(capabilities),
    nonce: newToken(12),
  };
  return { id: PREFIX + Buffer.from(JSON.stringify(carried)).toString('base64url'), carried };
}

export function carriedIn(session: string): Carried | undefined {
  if (!session.startsWith(PREFIX)) return undefined;
  try {
    return JSON.parse(Buffer.from(session.slice(PREFIX.length), 'base64url').toString('utf8')) as Carried;
  } catch {
    return undefined;
  }
}

/** What only the process that a client talks to knows of its session: nothing that a call could not do without. */
export type Presence = {
  /** Of `logging/setLevel`. */
  level: string | undefined;
  subscriptions: Set<string>;
  /** Called when the subscriptions are others. */
  listener: (() => void) | undefined;
  /** Calls under way, by the id that the client gave them. */
  calls: Map<unknown, Exchange>;
  /** Questions that wait for the client's answer, by the id that they were asked under. */
  questions: Map<string, (answer: Json) => void>;
};

const MAX_PRESENT = 20_000;

export type Presences = { of(session: string): Presence; forget(session: string): void };

export function createPresences(): Presences {
  const present = new Map<string, Presence>();
  return {
    of(session) {
      let presence = present.get(session);
      if (presence === undefined) {
        presence = {
          level: undefined,
          subscriptions: new Set(),
          listener: undefined,
          calls: new Map(),
          questions: new Map(),
        };
      } else present.delete(session);
      // The one that was quiet for longest is the first to be forgotten.
      present.set(session, presence);
      if (present.size > MAX_PRESENT) present.delete(present.keys().next().value as string);
      return presence;
    },
    forget: (session) => void present.delete(session),
  };
}
