import { createHash } from 'node:crypto';
import type { Clock } from '../clock.ts';
import { newToken } from '../ids.ts';
import { shortHash, type RefreshOutcome } from './ledger.ts';
import type { Policy } from './options.ts';

export type Grant = {
  id: string;
  clientId: string;
  subject: string;
  scopes: string[];
  /** RFC 8707 audience; null when the client named none. */
  resource: string | null;
  generation: number;
  revoked: boolean;
  openedAt: number;
  /** The last time that tokens were issued. */
  renewedAt: number;
};

export type AccessToken = { grant: Grant; scopes: string[]; generation: number; expiresAt: number; used: boolean };
type RefreshToken = {
  grant: Grant;
  parent: string | null;
  issuedAt: number;
  usedAt: number | null;
  successor: { answer: TokenAnswer; expiresAt: number } | null;
};
type Code = CodeRequest & { expiresAt: number; grant: Grant | null };

export type CodeRequest = {
  clientId: string;
  redirectUri: string;
  /** base64url(SHA-256(verifier)), RFC 7636 §4.6; empty when the policy lets a request do without. */
  challenge: string;
  subject: string;
  scopes: string[];
  resource: string | null;
  /** False: the request did not do what it takes to get a refresh token. */
  offline: boolean;
};

/** RFC 6749 §5.1, as it goes on the wire. */
export type TokenAnswer = {
  access_token: string;
  token_type: 'Bearer';
  expires_in?: number;
  refresh_token?: string;
  /** RFC 8693 §2.2.1. */
  issued_token_type?: string;
  scope: string;
};

export type Redeemed =
  | { outcome: 'ok'; answer: TokenAnswer; grant: Grant }
  | {
      outcome:
        | 'unknown_code'
        | 'expired'
        | 'replayed'
        | 'wrong_client'
        | 'wrong_redirect'
        | 'wrong_verifier'
        | 'wrong_target';
      grant: Grant | null;
    };

export type Refreshed = {
  outcome: RefreshOutcome;
  answer: TokenAnswer | null;
  grant: Grant | null;
  parent: string | null;
};

export type MintAccessToken = (grant: Grant, scopes: readonly string[], expiresAt: number) => string;

const CODE_KEPT_MS = 10 * 60_000;
const MANY_TOKENS = 20_000;

export type Grants = ReturnType<typeof createGrants>;

/**
 * Codes, grants and their tokens, in memory, keyed by hash. Every method runs without a pause, so that two requests
 * with one token are decided one after the other, as a provider's transaction would.
 */
export function createGrants(options: { clock: Clock; mint: MintAccessToken }) {
  const { clock, mint } = options;
  const grants = new Map<string, Grant>();
  const codes = new Map<string, Code>();
  const accessTokens = new Map<string, AccessToken>();
  const refreshTokens = new Map<string, RefreshToken>();
  const key = (token: string) => createHash('sha256').update(token).digest('base64url');

  function issue(grant: Grant, policy: Policy, parent: string | null, scopes: string[], withRefreshToken: boolean) {
    if (policy.refreshKillsAccessTokens) dropAccessTokens((token) => token.grant === grant);
    if (accessTokens.size > MANY_TOKENS) dropAccessTokens((token) => token.expiresAt <= clock.now());
    grant.generation += 1;
    grant.renewedAt = clock.now();
    const expiresAt = clock.now() + policy.accessTokenTtl * 1_000;
    const accessToken = mint(grant, scopes, expiresAt).padEnd(policy.accessTokenLength, 'x');
    accessTokens.set(key(accessToken), { grant, scopes, generation: grant.generation, expiresAt, used: false });
    const answer: TokenAnswer = { access_token: accessToken, token_type: 'Bearer', scope: scopes.join(' ') };
    if (policy.sendExpiresIn) answer.expires_in = Math.max(1, Math.floor(policy.accessTokenTtl));
    if (withRefreshToken) {
      answer.refresh_token = `prt_${newToken()}`;
      refreshTokens.set(key(answer.refresh_token), {
        grant,
        parent,
        issuedAt: clock.now(),
        usedAt: null,
        successor: null,
      });
    }
    return { answer, expiresAt };
  }

  function dropAccessTokens(choose: (token: AccessToken) => boolean): number {
    let dropped = 0;
    for (const [hash, token] of accessTokens) {
      if (!choose(token)) continue;
      accessTokens.delete(hash);
      dropped += 1;
    }
    return dropped;
  }

  function revoke(grant: Grant): void {
    grant.revoked = true;
    dropAccessTokens((token) => token.grant === grant);
  }

  const liveOf = (clientId: string, subject: string) =>
    [...grants.values()].filter((grant) => !grant.revoked && grant.clientId === clientId && grant.subject === subject);

  function open(
    request: Pick<Grant, 'clientId' | 'subject' | 'scopes' | 'resource'>,
    policy: Policy,
    offline: boolean = true,
  ) {
    const now = clock.now();
    const grant: Grant = {
      id: `grant-${newToken(9)}`,
      generation: 0,
      revoked: false,
      openedAt: now,
      renewedAt: now,
      ...request,
    };
    const before = liveOf(request.clientId, request.subject);
    if (policy.maxGrants > 0) before.slice(0, Math.max(0, before.length + 1 - policy.maxGrants)).forEach(revoke);
    grants.set(grant.id, grant);
    return { grant, answer: issue(grant, policy, null, grant.scopes, policy.refreshTokens && offline).answer };
  }

  /** When the grant ends for good; null when the policy sets no end. */
  const endOf = (grant: Grant, { grantSeconds }: Policy): number | null =>
    grantSeconds === undefined ? null : grant.openedAt + grantSeconds * 1_000;

  function over(grant: Grant, policy: Policy): boolean {
    const idle = policy.idleSeconds !== undefined && grant.renewedAt + policy.idleSeconds * 1_000 <= clock.now();
    return idle || (endOf(grant, policy) ?? Number.POSITIVE_INFINITY) <= clock.now();
  }

  /** Whether a call carried the access token of this answer, or a refresh its refresh token. */
  function used({ access_token, refresh_token = '' }: TokenAnswer): boolean {
    const refresh = refreshTokens.get(key(refresh_token));
    return accessTokens.get(key(access_token))?.used === true || (refresh !== undefined && refresh.usedAt !== null);
  }

  return {
    issueCode(request: CodeRequest, { codeTtl }: Pick<Policy, 'codeTtl'>): string {
      for (const [hash, code] of codes) if (code.expiresAt + CODE_KEPT_MS < clock.now()) codes.delete(hash);
      const code = `pcode_${newToken()}`;
      codes.set(key(code), { ...request, expiresAt: clock.now() + codeTtl * 1_000, grant: null });
      return code;
    },

    /** A code is spent by its first valid use; a second one ends what came of it (RFC 6749 §4.1.2). */
    redeem(
      presented: {
        code: string;
        clientId: string;
        redirectUri: string | null;
        /** Null where the authorization request had no challenge. */
        verifier: string | null;
        resource: string | null;
      },
      policy: Policy,
    ): Redeemed {
      const code = codes.get(key(presented.code));
      if (code === undefined) return { outcome: 'unknown_code', grant: null };
      if (code.clientId !== presented.clientId) return { outcome: 'wrong_client', grant: null };
      if (code.grant !== null) {
        revoke(code.grant);
        return { outcome: 'replayed', grant: code.grant };
      }
      if (code.expiresAt <= clock.now()) return { outcome: 'expired', grant: null };
      if (code.redirectUri !== presented.redirectUri) return { outcome: 'wrong_redirect', grant: null };
      if ((presented.verifier === null ? '' : key(presented.verifier)) !== code.challenge)
        return { outcome: 'wrong_verifier', grant: null };
      if (presented.resource !== null && code.resource !== null && presented.resource !== code.resource) {
        return { outcome: 'wrong_target', grant: null };
      }
      const { clientId, subject, scopes } = code;
      const { grant, answer } = open(
        { clientId, subject, scopes, resource: code.resource ?? presented.resource },
        policy,
        code.offline,
      );
      code.grant = grant;
      return { outcome: 'ok', answer, grant };
    },

    refresh(
      presented: { token: string; clientId: string; scopes: string[] | null; resource: string | null },
      policy: Policy,
    ): Refreshed {
      const token = refreshTokens.get(key(presented.token));
      if (token === undefined) return { outcome: 'unknown_token', answer: null, grant: null, parent: null };
      const { grant, parent } = token;
      const refused = (outcome: Refreshed['outcome']): Refreshed => ({ outcome, answer: null, grant, parent });
      if (grant.clientId !== presented.clientId) return refused('wrong_client');
      if (grant.revoked) return refused('grant_revoked');
      if (token.issuedAt + policy.refreshTokenTtl * 1_000 <= clock.now()) return refused('expired');
      if (over(grant, policy)) return refused('expired');
      // Target and scope are judged before anything is spent, so that a mistake there costs nothing.
      if (presented.resource !== null && grant.resource !== null && presented.resource !== grant.resource) {
        return refused('target_refused');
      }
      const scopes = presented.scopes ?? grant.scopes;
      if (scopes.some((scope) => !grant.scopes.includes(scope))) return refused('scope_refused');

      if (token.usedAt !== null && policy.rotation !== 'none') {
        const { successor } = token;
        const replaceable = policy.rotation === 'until_used' && successor !== null && !used(successor.answer);
        if (policy.rotation === 'soft' || (policy.rotation === 'until_used' && !replaceable)) {
          return refused('reused_refused');
        }
        if (replaceable) {
          refreshTokens.delete(key(successor.answer.refresh_token ?? ''));
          accessTokens.delete(key(successor.answer.access_token));
          token.successor = issue(grant, policy, shortHash(presented.token), scopes, true);
          return { outcome: 'rotated', answer: token.successor.answer, grant, parent };
        }
        const inWindow = clock.now() <= token.usedAt + policy.graceSeconds * 1_000;
        if (policy.rotation === 'grace' && inWindow && successor !== null) {
          const { answer, expiresAt } = successor;
          const left = Math.max(1, Math.floor((expiresAt - clock.now()) / 1_000));
          const again = answer.expires_in === undefined ? answer : { ...answer, expires_in: left };
          return { outcome: 'same_successor', answer: again, grant, parent };
        }
        revoke(grant);
        return refused('reused_family_revoked');
      }
      if (policy.rotation === 'none' || token.issuedAt + policy.rotateAfter * 1_000 > clock.now()) {
        const { answer } = issue(grant, policy, null, scopes, false);
        return { outcome: 'kept', answer, grant, parent };
      }
      token.usedAt = clock.now();
      token.successor = issue(grant, policy, shortHash(presented.token), scopes, true);
      return { outcome: 'rotated', answer: token.successor.answer, grant, parent };
    },

    /** Tokens without a browser, for `login` and for drills. */
    open,
    hasLive: (clientId: string, subject: string): boolean => liveOf(clientId, subject).length > 0,
    endOf,

    accessToken(token: string): AccessToken | undefined {
      const found = accessTokens.get(key(token));
      if (found === undefined || found.grant.revoked || found.expiresAt <= clock.now()) return undefined;
      return found;
    },

    refreshToken(token: string): { grant: Grant; live: boolean } | undefined {
      const found = refreshTokens.get(key(token));
      return found === undefined
        ? undefined
        : { grant: found.grant, live: !found.grant.revoked && found.usedAt === null };
    },

    /** RFC 7009 §2.1: a refresh token takes its grant along, an access token goes alone. */
    revokeToken(token: string, clientId: string): Grant | undefined {
      const access = accessTokens.get(key(token));
      if (access !== undefined && access.grant.clientId === clientId) {
        accessTokens.delete(key(token));
        return access.grant;
      }
      const refresh = refreshTokens.get(key(token));
      if (refresh === undefined || refresh.grant.clientId !== clientId) return undefined;
      revoke(refresh.grant);
      return refresh.grant;
    },

    revokeGrants(choose: (grant: Grant) => boolean): number {
      const chosen = [...grants.values()].filter((grant) => !grant.revoked && choose(grant));
      for (const grant of chosen) revoke(grant);
      return chosen.length;
    },

    expireAccessTokens: (choose: (grant: Grant) => boolean): number => dropAccessTokens((token) => choose(token.grant)),

    /** Sets what the live grants and their access tokens allow. */
    setScopes(choose: (grant: Grant) => boolean, scopes: string[]): number {
      const chosen = [...grants.values()].filter((grant) => !grant.revoked && choose(grant));
      for (const grant of chosen) grant.scopes = scopes;
      for (const token of accessTokens.values()) if (chosen.includes(token.grant)) token.scopes = scopes;
      return chosen.length;
    },

    list: (): readonly Grant[] => [...grants.values()],
  };
}
