import type { IncomingMessage, ServerResponse } from 'node:http';
import type { Clock } from '../clock.ts';
import { newToken } from '../ids.ts';
import type { Account, Accounts } from './accounts.ts';
import { isLoopback, redirectAllowed, type ClientApplication, type Clients } from './clients.ts';
import type { Grants } from './grants.ts';
import { readForm, redirect, refuseDuplicates, Refusal, type Exchange, type Route } from './http.ts';
import { shortHash, type Ledger } from './ledger.ts';
import type { Policy } from './options.ts';
import { consentPage, problemPage, sendPage, signInPage } from './pages.ts';

export type AuthorizeOptions = {
  clock: Clock;
  accounts: Accounts;
  clients: Clients;
  grants: Grants;
  ledger: Ledger;
  issuer: string;
  scopes: readonly string[];
  defaultScopes: readonly string[];
  policyFor: (client: ClientApplication) => Policy;
  servesResource: (resource: string) => boolean;
  /** What a person may grant at all; control narrows it. */
  grantable: (subject: string) => readonly string[];
  autoApprove: boolean;
};

type Asked = {
  client: ClientApplication;
  redirectUri: string;
  state: string | null;
  challenge: string;
  offline: boolean;
  scopes: string[];
  resource: string | null;
  prompt: string[];
  loginHint: string;
};
type Transaction = Asked & { id: string; browser: string; expiresAt: number; username: string | null };

const TRANSACTION_TTL_MS = 10 * 60_000;
const MAX_TRANSACTIONS = 5_000;

/** The authorization endpoint (RFC 6749 §4.1 with RFC 7636, 8707, 9207) and its two pages. */
export function authorizeRoutes(options: AuthorizeOptions): Route[] {
  const { clock, accounts, clients, grants, ledger } = options;
  const transactions = new Map<string, Transaction>();
  const remembered = new Set<string>();

  const tuple = (asked: Asked, username: string) =>
    JSON.stringify([username, asked.client.clientId, asked.redirectUri, asked.resource, [...asked.scopes].sort()]);

  function answer(res: ServerResponse, asked: Asked, result: Record<string, string>): void {
    const target = new URL(asked.redirectUri);
    const { iss, codeParameter, callbackMembers } = options.policyFor(asked.client);
    for (const [name, value] of Object.entries({ ...callbackMembers, ...result })) {
      target.searchParams.set(name === 'code' ? codeParameter : name, value);
    }
    if (asked.state !== null) target.searchParams.set('state', asked.state);
    if (iss !== 'omitted') target.searchParams.set('iss', iss === 'sent' ? options.issuer : 'https://issuer.invalid');
    redirect(res, target.href);
  }

  function refuse(
    res: ServerResponse,
    asked: Asked,
    error: string,
    description: string,
    subject: string | null = null,
  ) {
    record(asked, error, subject);
    answer(res, asked, { error, error_description: description });
  }

  function record(asked: Asked, outcome: string, subject: string | null, scopes = asked.scopes): void {
    const { client, resource } = asked;
    ledger.record({ type: 'authorize', clientId: client.clientId, outcome, subject, scopes: [...scopes], resource });
  }

  function approve(res: ServerResponse, asked: Asked, subject: string, scopes: string[]): void {
    const { client, redirectUri, challenge, resource } = asked;
    const { clientId } = client;
    record(asked, 'approved', subject, scopes);
    const policy = options.policyFor(client);
    const again = policy.offline === 'first_consent' && !asked.prompt.includes('consent');
    const offline = asked.offline && !(again && grants.hasLive(clientId, subject));
    const request = { clientId, redirectUri, challenge, subject, scopes, resource, offline };
    const code = grants.issueCode(request, policy);
    ledger.record({ type: 'code_issued', clientId, subject, code: shortHash(code) });
    answer(res, asked, { code });
  }

  /** Checks in the order that decides where an error may go: nothing is redirected before the redirect is known good. */
  function parse(res: ServerResponse, query: URLSearchParams): Asked | undefined {
    const problem = (title: string, text: string, facts: Record<string, string> = {}) => {
      ledger.record({
        type: 'authorize',
        clientId: (query.get('client_id') ?? '').slice(0, 80),
        outcome: title,
        subject: null,
        scopes: [],
        resource: null,
      });
      sendPage(res, 400, problemPage({ title, text, facts }));
      return undefined;
    };
    try {
      refuseDuplicates(query);
    } catch (error) {
      return problem('Request refused', String((error as Refusal).body.error_description));
    }
    const value = (name: string) => query.get(name) || null;
    const clientId = value('client_id');
    const client = clients.get(clientId ?? '');
    if (client === undefined) {
      return problem('Unknown application', 'No application with this client id is registered here.', {
        client_id: (clientId ?? '').slice(0, 200),
      });
    }
    const redirectUri = value('redirect_uri');
    if (redirectUri === null || !redirectAllowed(client, redirectUri)) {
      return problem(
        'Callback not registered',
        'The application sent a redirect_uri that is not among its registered callbacks. Add it to the application, exactly as it stands here.',
        { redirect_uri: (redirectUri ?? '').slice(0, 500), application: client.name },
      );
    }
    const policy = options.policyFor(client);
    const separator = policy.scopeSeparator === 'comma' ? ',' : ' ';
    const named = new Set((value('scope') ?? '').split(separator).filter((item) => item !== ''));
    const offline =
      policy.offline === 'always' ||
      (policy.offline === 'scope' ? named.delete('offline_access') : value('access_type') === 'offline');
    const scopes = named.size === 0 ? [...options.defaultScopes] : [...named];
    const asked: Asked = {
      client,
      redirectUri,
      state: value('state'),
      challenge: value('code_challenge') ?? '',
      offline,
      scopes,
      resource: value('resource'),
      prompt: (value('prompt') ?? '').split(' ').filter((item) => item !== ''),
      loginHint: (value('login_hint') ?? '').slice(0, 40),
    };
    const wrong = (error: string, description: string) => {
      refuse(res, asked, error, description);
      return undefined;
    };
    if (value('response_type') !== 'code') return wrong('unsupported_response_type', 'response_type must be code');
    if (policy.pkce === 'rejected' && (asked.challenge !== '' || value('code_challenge_method') !== null))
      return wrong('invalid_request', 'code_challenge is not known here');
    if (policy.pkce === 'required' || asked.challenge !== '') {
      // RFC 7636 §4.3: an absent method means plain, which is not accepted either.
      if (value('code_challenge_method') !== 'S256')
        return wrong('invalid_request', 'code_challenge_method must be S256');
      if (!/^[A-Za-z0-9_-]{43}$/.test(asked.challenge))
        return wrong('invalid_request', 'code_challenge is missing or malformed');
    }
    if (policy.audience === 'required' && value('audience') === null)
      return wrong('invalid_request', 'audience is missing');
    if (policy.resource === (asked.resource === null ? 'required' : 'rejected'))
      return wrong('invalid_target', `resource is ${policy.resource}`);
    if (asked.resource !== null && !options.servesResource(asked.resource)) {
      return wrong('invalid_target', 'this server issues no tokens for that resource');
    }
    const unknown = scopes.find((scope) => !options.scopes.includes(scope));
    if (unknown !== undefined) return wrong('invalid_scope', `known scopes are ${options.scopes.join(' ')}`);
    return asked;
  }

  function begin({ req, res, query }: Exchange): void {
    const asked = parse(res, query);
    if (asked === undefined) return;
    if (options.autoApprove) {
      const account = accounts.get(asked.loginHint) ?? accounts.list()[0]!;
      return approve(res, asked, account.username, allowed(asked, account));
    }
    const account = accounts.signedIn(req);
    if (asked.prompt.includes('none')) {
      if (account === undefined) return refuse(res, asked, 'login_required', 'nobody is signed in in this browser');
      if (!remembered.has(tuple(asked, account.username))) {
        return refuse(res, asked, 'consent_required', 'this has not been allowed yet', account.username);
      }
      return approve(res, asked, account.username, allowed(asked, account));
    }
    for (const [id, old] of transactions) if (old.expiresAt < clock.now()) transactions.delete(id);
    if (transactions.size >= MAX_TRANSACTIONS)
      return refuse(res, asked, 'temporarily_unavailable', 'too many open requests');
    const again = asked.prompt.includes('login') || asked.prompt.includes('select_account');
    const other = asked.loginHint !== '' && account !== undefined && asked.loginHint !== account.username;
    const transaction: Transaction = {
      ...asked,
      id: newToken(),
      browser: accounts.browserId(req, res),
      expiresAt: clock.now() + TRANSACTION_TTL_MS,
      username: again || other ? null : (account?.username ?? null),
    };
    transactions.set(transaction.id, transaction);
    show(res, transaction);
  }

  function allowed(asked: Asked, account: Account): string[] {
    const grantable = options.grantable(account.username);
    return asked.scopes.filter((scope) => grantable.includes(scope));
  }

  function show(res: ServerResponse, transaction: Transaction, failed = false): void {
    const { id, client, username } = transaction;
    if (username === null) {
      const names = accounts.list().map((account) => account.username);
      const view = {
        transaction: id,
        username: transaction.loginHint,
        clientName: client.name,
        failed,
        accounts: names,
      };
      return sendPage(res, failed ? 403 : 200, signInPage(view));
    }
    const target = new URL(transaction.redirectUri);
    sendPage(
      res,
      200,
      consentPage({
        transaction: id,
        clientName: client.name,
        clientId: client.clientId,
        redirectHost: target.host === '' ? target.protocol : target.host,
        loopback: isLoopback(target),
        unverified: client.origin === 'dynamic',
        resource: transaction.resource,
        scopes: allowed(transaction, accounts.get(username)!),
        signedInAs: username,
      }),
    );
  }

  /** The transaction of a posted form, in the browser that began it; both pages use it as their CSRF token. */
  function resume(req: IncomingMessage, res: ServerResponse, form: URLSearchParams): Transaction | undefined {
    const transaction = transactions.get(form.get('transaction') ?? '');
    const good =
      transaction !== undefined &&
      transaction.expiresAt > clock.now() &&
      transaction.browser === accounts.browserId(req, res) &&
      clients.get(transaction.client.clientId) !== undefined;
    if (good) return transaction;
    const text = 'It is over, was answered already, or began in another browser. Start again from the application.';
    sendPage(res, 400, problemPage({ title: 'This request has ended', text }));
    return undefined;
  }

  async function signIn({ req, res }: Exchange): Promise<void> {
    const form = await readForm(req);
    const transaction = resume(req, res, form);
    if (transaction === undefined) return;
    const account = accounts.check(form.get('username') ?? '', form.get('password') ?? '');
    if (account === undefined) {
      ledger.record({ type: 'login', subject: null, outcome: 'refused' });
      transaction.loginHint = (form.get('username') ?? '').slice(0, 40);
      transaction.username = null;
      return show(res, transaction, true);
    }
    ledger.record({ type: 'login', subject: account.username, outcome: 'ok' });
    const before = transaction.browser;
    const browser = accounts.signIn(before, account.username, res);
    // Other tabs of this browser go on as well.
    for (const other of transactions.values()) if (other.browser === before) other.browser = browser;
    transaction.username = account.username;
    redirect(res, `/auth/authorize/consent?transaction=${transaction.id}`);
  }

  async function decide({ req, res }: Exchange): Promise<void> {
    const form = await readForm(req);
    const transaction = resume(req, res, form);
    if (transaction === undefined) return;
    const { username } = transaction;
    const decision = form.get('decision');
    if (username === null || decision === 'switch') {
      transaction.username = null;
      transaction.loginHint = '';
      return show(res, transaction);
    }
    if (decision !== 'allow' && decision !== 'deny') throw new Refusal(400, { error: 'invalid_request' });
    transactions.delete(transaction.id);
    const scopes = allowed(transaction, accounts.get(username)!).filter((scope) => form.get(`scope:${scope}`) === 'on');
    if (decision === 'deny' || scopes.length === 0) {
      return refuse(res, transaction, 'access_denied', 'the person said no', username);
    }
    if (scopes.length === transaction.scopes.length) remembered.add(tuple(transaction, username));
    approve(res, transaction, username, scopes);
  }

  function consent({ req, res, query }: Exchange): void {
    const transaction = resume(req, res, query);
    if (transaction !== undefined) show(res, transaction);
  }

  return [
    { method: 'GET', path: '/auth/authorize', handle: begin },
    { method: 'GET', path: '/auth/authorize/consent', handle: consent },
    { method: 'POST', path: '/auth/authorize/login', handle: signIn },
    { method: 'POST', path: '/auth/authorize/consent', handle: decide },
  ];
}
