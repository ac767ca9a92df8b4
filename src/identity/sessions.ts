import type { Clock } from '../clock.ts';
import { hashToken, newId, newToken, type SessionId, type TenantId, type UserId } from '../ids.ts';
import type { User } from './principal.ts';
import type { IdentityStore, SessionRow } from './store.ts';
import { toUser } from './users.ts';

const DAY = 86_400_000;
export const SESSION_ABSOLUTE_MS = 30 * DAY;
const SESSION_IDLE_MS = 14 * DAY;
/** Being seen is written down at most this often. */
const SEEN_EVERY_MS = 60_000;

export type SignedIn = {
  user: User;
  session: { id: SessionId; createdAt: number; /** When the person proved who they are. */ authTime: number };
  /** For `csrfToken`: derived from the session, and not the bearer value itself. */
  csrfSecret: string;
};

export type SessionSummary = {
  id: SessionId;
  createdAt: number;
  lastSeenAt: number;
  expiresAt: number;
  userAgent: string;
};

export type Sessions = {
  /** Returns the cookie's value, which is stored nowhere. A new one at every sign-in: nothing planted before survives. */
  start(tenant: TenantId, user: UserId, userAgent: string): Promise<string>;
  resolve(token: string | undefined): Promise<SignedIn | undefined>;
  list(tenant: TenantId, user: UserId): Promise<SessionSummary[]>;
  end(tenant: TenantId, user: UserId, id: SessionId): Promise<boolean>;
  /** Ends all of a user's sessions but `keep`; returns how many. */
  endOthers(tenant: TenantId, user: UserId, keep: SessionId | null): Promise<number>;
};

export function createSessions(options: { store: IdentityStore; clock: Clock }): Sessions {
  const { store, clock } = options;
  return {
    async start(tenant, user, userAgent) {
      const now = clock.now();
      const token = newToken();
      await store.dropStaleSessions(now, now - SESSION_IDLE_MS);
      await store.addSession({
        tenant,
        id: newId<SessionId>('ses'),
        hash: hashToken(token),
        user_id: user,
        created_at: now,
        expires_at: now + SESSION_ABSOLUTE_MS,
        last_seen_at: now,
        user_agent: userAgent.slice(0, 300),
      });
      return token;
    },
    async resolve(token) {
      if (token === undefined || token.length > 100) return undefined;
      const now = clock.now();
      const found = await store.session(hashToken(token), now, now - SESSION_IDLE_MS);
      if (found === undefined) return undefined;
      const { session, user } = found;
      if (session.last_seen_at <= now - SEEN_EVERY_MS) {
        await store.sawSession(session.tenant, session.id, now, now - SEEN_EVERY_MS);
      }
      return {
        user: toUser(user),
        session: { id: session.id as SessionId, createdAt: session.created_at, authTime: session.created_at },
        csrfSecret: hashToken(`csrf\n${token}`),
      };
    },
    async list(tenant, user) {
      const now = clock.now();
      return (await store.sessions(tenant, user, now, now - SESSION_IDLE_MS)).map(toSummary);
    },
    end: async (tenant, user, id) => (await store.endSessions(tenant, user, { only: id })) === 1,
    endOthers: (tenant, user, keep) => store.endSessions(tenant, user, keep === null ? {} : { except: keep }),
  };
}

function toSummary(row: SessionRow): SessionSummary {
  return {
    id: row.id as SessionId,
    createdAt: row.created_at,
    lastSeenAt: row.last_seen_at,
    expiresAt: row.expires_at,
    userAgent: row.user_agent,
  };
}
