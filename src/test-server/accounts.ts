import type { IncomingMessage, ServerResponse } from 'node:http';
import type { Clock } from '../clock.ts';
import { newToken } from '../ids.ts';
import { same } from './clients.ts';
import { cookie } from './http.ts';

export type Account = { username: string; password: string; name: string };

const COOKIE = 'practice_browser';
const BROWSER_TTL_MS = 8 * 3_600_000;

export type Accounts = ReturnType<typeof createAccounts>;

/** The people of the practice service and the browsers they are signed in with. */
export function createAccounts(options: {
  clock: Clock;
  users: readonly { username: string; password: string; name?: string }[];
}) {
  const accounts = new Map<string, Account>(
    options.users.map((user) => [user.username, { ...user, name: user.name ?? user.username }]),
  );
  const browsers = new Map<string, { username: string | null; seenAt: number }>();

  function browserOf(req: IncomingMessage) {
    const id = cookie(req, COOKIE);
    const browser = id === undefined ? undefined : browsers.get(id);
    if (id === undefined || browser === undefined || browser.seenAt + BROWSER_TTL_MS < options.clock.now())
      return undefined;
    browser.seenAt = options.clock.now();
    return { id, browser };
  }

  function setCookie(res: ServerResponse, id: string) {
    res.setHeader('set-cookie', `${COOKIE}=${id}; Path=/auth; HttpOnly; SameSite=Lax`);
  }

  return {
    list: (): readonly Account[] => [...accounts.values()],
    get: (username: string) => accounts.get(username),
    check(username: string, password: string): Account | undefined {
      const account = accounts.get(username);
      return same(password, account?.password ?? newToken()) ? account : undefined;
    },
    /** The id of this browser; a new one gets its cookie with the answer. */
    browserId(req: IncomingMessage, res: ServerResponse): string {
      const known = browserOf(req);
      if (known !== undefined) return known.id;
      for (const [id, browser] of browsers)
        if (browser.seenAt + BROWSER_TTL_MS < options.clock.now()) browsers.delete(id);
      const id = newToken();
      browsers.set(id, { username: null, seenAt: options.clock.now() });
      setCookie(res, id);
      return id;
    },
    signedIn(req: IncomingMessage): Account | undefined {
      return accounts.get(browserOf(req)?.browser.username ?? '');
    },
    /** A sign-in changes the browser's id, so that one planted before it is worth nothing. */
    signIn(oldId: string, username: string, res: ServerResponse): string {
      browsers.delete(oldId);
      const id = newToken();
      browsers.set(id, { username, seenAt: options.clock.now() });
      setCookie(res, id);
      return id;
    },
    signOutEveryone: () => browsers.clear(),
  };
}
