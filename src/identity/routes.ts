import type { HttpBindings } from '@hono/node-server';
import type { Context } from 'hono';
import type { z } from 'zod';
import { asValetkeyError, fail, type ErrorCode, type ValetkeyError } from '../errors.ts';
import { hashToken, newToken, type SessionId } from '../ids.ts';
import { clientAddress } from '../web/address.ts';
import { createCookieJar } from '../web/cookies.ts';
import { csrfMatches, csrfToken } from '../web/csrf.ts';
import type { FormProblem } from '../web/form.ts';
import { errorPage, pageResponse, type Page } from '../web/page.ts';
import type { Web } from '../web/web.ts';
import {
  bareForm,
  endSessionForm,
  invitationForm,
  passwordForm,
  readForm,
  setUpForm,
  signInForm,
} from './form-data.ts';
import { SESSION_COOKIE, type Identity } from './identity.ts';
import { accountPage, invitationPage, notSetUpPage, onwardPage, setUpPage, signInPage } from './pages.ts';
import type { User } from './principal.ts';
import { ownPath } from './return-to.ts';
import { SESSION_ABSOLUTE_MS, type SignedIn } from './sessions.ts';

/** Binds the forms that come before a session to the browser they were opened in: nobody is signed in unawares. */
const FORM_COOKIE = 'valetkey_form';
/** Where a person is who wanted nothing in particular. */
const LANDING = '/connections';

/** The field that a refusal is about, per form; what is not listed becomes a page of its own. */
const FIELD_OF: Partial<Record<ErrorCode, string>> = {
  sign_in_failed: 'password',
  sign_in_throttled: 'password',
  password_unfit: 'password',
  email_invalid: 'email',
  email_taken: 'email',
};

/** Mounts set-up, invitation, sign-in, sign-out and account pages, and `/`. */
export function mountIdentity(options: { web: Web; identity: Identity; publicUrl: string }): void {
  const { identity } = options;
  const { app } = options.web;
  const cookies = createCookieJar(options.publicUrl);

  const sender = (context: Context): string => clientAddress((context.env as HttpBindings).incoming);

  /** The browser's form secret, and the header that plants it when it is new. */
  function formSecret(context: Context): { secret: string; headers: Record<string, string> } {
    const held = cookies.read(context.req.header('cookie'), FORM_COOKIE);
    if (held !== undefined && /^[\w-]{43}$/.test(held)) return { secret: held, headers: {} };
    const secret = newToken();
    return { secret, headers: { 'set-cookie': cookies.write(FORM_COOKIE, secret) } };
  }

  async function show(page: Page, headers: Record<string, string>, error?: ValetkeyError): Promise<Response> {
    const retry = error?.detail['retryAfterMs'];
    return await pageResponse(page, {
      status: error?.status ?? 200,
      headers: {
        ...headers,
        ...(typeof retry === 'number' ? { 'retry-after': String(Math.ceil(retry / 1_000)) } : {}),
      },
    });
  }

  /** A fresh session in this browser, in place of whatever was there. */
  async function enter(context: Context, user: User): Promise<string> {
    const former = await identity.session(context.req.header('cookie'));
    if (former !== undefined) await identity.sessions.end(former.user.tenant, former.user.id, former.session.id);
    const token = await identity.sessions.start(user.tenant, user.id, context.req.header('user-agent') ?? '');
    return cookies.write(SESSION_COOKIE, token, { maxAgeSeconds: SESSION_ABSOLUTE_MS / 1_000 });
  }

  /**
   * Runs a form that needs no session. What was refused for a reason that the form can show is shown in it, with all
   * but the secrets still filled in.
   */
  async function preSessionForm<T extends { csrf?: string | undefined }>(
    context: Context,
    schema: z.ZodType<T>,
    transaction: string,
    act: (form: T) => Promise<Response>,
    again: (form: T, csrf: string, problem: FormProblem) => Page,
  ): Promise<Response> {
    const { secret, headers } = formSecret(context);
    const form = await readForm(context.req.raw, schema);
    try {
      if (!csrfMatches(form.csrf, secret, transaction)) throw fail('form_expired');
      return await act(form);
    } catch (thrown) {
      const error = asValetkeyError(thrown);
      const field = error.code === 'form_expired' ? 'password' : FIELD_OF[error.code];
      if (field === undefined) throw error;
      const message = error.code === 'form_expired' ? `${error.message} Please try again.` : error.message;
      return await show(again(form, csrfToken(secret, transaction), { field, message }), headers, error);
    }
  }

  app.get('/', async (context) => {
    if ((await identity.session(context.req.header('cookie'))) !== undefined) return context.redirect(LANDING, 303);
    if (await identity.links.needsSetUp()) return await show(notSetUpPage(), {});
    return context.redirect('/sign-in', 303);
  });

  app.get('/sign-in', async (context) => {
    const returnTo = ownPath(context.req.query('return_to'));
    const again = context.req.query('again') === '1';
    if (!again && (await identity.session(context.req.header('cookie'))) !== undefined) {
      return context.redirect(returnTo ?? LANDING, 303);
    }
    const { secret, headers } = formSecret(context);
    const notice = context.req.query('signed_out') === '1' ? 'You are signed out.' : undefined;
    return await show(signInPage({ csrf: csrfToken(secret, 'sign-in'), returnTo, notice }), headers);
  });

  app.post(
    '/sign-in',
    async (context) =>
      await preSessionForm(
        context,
        signInForm,
        'sign-in',
        async (form) => {
          const address = sender(context);
          const user = await identity.signIn({ email: form.email, password: form.password, address });
          const returnTo = ownPath(form.return_to);
          const cookie = await enter(context, user);
          if (returnTo === undefined) return redirect(LANDING, cookie);
          return await show(onwardPage(returnTo, user.email), { 'set-cookie': cookie });
        },
        (form, csrf, problem) => signInPage({ csrf, email: form.email, returnTo: ownPath(form.return_to), problem }),
      ),
  );

  app.get('/setup/:token', async (context) => {
    const token = context.req.param('token');
    if (!(await identity.links.isSetUp(token))) throw fail('link_invalid', { hint: SET_UP_HINT });
    const { secret, headers } = formSecret(context);
    return await show(setUpPage({ path: `/setup/${token}`, csrf: csrfToken(secret, linkOf(token)) }), headers);
  });

  app.post('/setup/:token', async (context) => {
    const token = context.req.param('token');
    if (!(await identity.links.isSetUp(token))) throw fail('link_invalid', { hint: SET_UP_HINT });
    return await preSessionForm(
      context,
      setUpForm,
      linkOf(token),
      async ({ email, name, password }) => {
        const user = await identity.links.setUp(token, { email, name, password, address: sender(context) });
        return redirect(LANDING, await enter(context, user));
      },
      ({ email, name }, csrf, problem) => setUpPage({ path: `/setup/${token}`, csrf, email, name, problem }),
    );
  });

  app.get('/invitation/:token', async (context) => {
    const token = context.req.param('token');
    const user = await identity.links.invited(token);
    if (user === undefined) throw fail('link_invalid');
    const { secret, headers } = formSecret(context);
    return await show(
      invitationPage({ path: `/invitation/${token}`, csrf: csrfToken(secret, linkOf(token)), user }),
      headers,
    );
  });

  app.post('/invitation/:token', async (context) => {
    const token = context.req.param('token');
    const invited = await identity.links.invited(token);
    if (invited === undefined) throw fail('link_invalid');
    return await preSessionForm(
      context,
      invitationForm,
      linkOf(token),
      async ({ name, password }) => {
        const user = await identity.links.accept(token, { name, password, address: sender(context) });
        return redirect(LANDING, await enter(context, user));
      },
      ({ name }, csrf, problem) => invitationPage({ path: `/invitation/${token}`, csrf, user: invited, name, problem }),
    );
  });

  async function signedIn(context: Context): Promise<SignedIn> {
    const found = await identity.session(context.req.header('cookie'));
    if (found === undefined) throw fail('sign_in_required');
    return found;
  }
  function checkForm(form: { csrf?: string | undefined }, who: SignedIn, transaction: string): void {
    if (!csrfMatches(form.csrf, who.csrfSecret, transaction)) throw fail('form_expired');
  }
  async function account(who: SignedIn, state: { problem?: FormProblem; notice?: string } = {}): Promise<Page> {
    const sessions = await identity.sessions.list(who.user.tenant, who.user.id);
    return accountPage({
      signedIn: who,
      sessions,
      csrf: (transaction) => csrfToken(who.csrfSecret, transaction),
      ...state,
    });
  }

  app.get('/account', async (context) => {
    const who = await identity.session(context.req.header('cookie'));
    if (who === undefined) return context.redirect('/sign-in?return_to=/account', 303);
    const notice = NOTICES[context.req.query('done') ?? ''];
    return await show(await account(who, notice === undefined ? {} : { notice }), {});
  });

  app.post('/account/password', async (context) => {
    const who = await signedIn(context);
    const form = await readForm(context.req.raw, passwordForm);
    checkForm(form, who, 'password');
    try {
      await identity.changePassword(who, { current: form.current, next: form.password, address: sender(context) });
    } catch (thrown) {
      const error = asValetkeyError(thrown);
      const wrong = error.code === 'sign_in_failed';
      const field = wrong || error.code === 'sign_in_throttled' ? 'current' : FIELD_OF[error.code];
      if (field === undefined) throw error;
      const message = wrong ? 'The current password is wrong.' : error.message;
      return await show(await account(who, { problem: { field, message } }), {}, error);
    }
    return redirect('/account?done=password');
  });

  app.post('/account/sessions/end', async (context) => {
    const who = await signedIn(context);
    const form = await readForm(context.req.raw, endSessionForm);
    checkForm(form, who, 'sessions');
    const { tenant, id } = who.user;
    if (form.session === undefined) await identity.sessions.endOthers(tenant, id, who.session.id);
    else await identity.sessions.end(tenant, id, form.session as SessionId);
    return redirect('/account?done=sessions');
  });

  app.post('/sign-out', async (context) => {
    const who = await identity.session(context.req.header('cookie'));
    const form = await readForm(context.req.raw, bareForm);
    if (who !== undefined) {
      checkForm(form, who, 'sign-out');
      await identity.sessions.end(who.user.tenant, who.user.id, who.session.id);
    }
    return redirect('/sign-in?signed_out=1', cookies.clear(SESSION_COOKIE));
  });

  for (const path of ['/sign-out', '/account/password', '/account/sessions/end']) {
    app.get(
      path,
      async () => await errorPage(fail('method_not_allowed', { hint: 'Use the form on the account page.' })),
    );
  }
}

const SET_UP_HINT = 'Start Valetkey again for a new set-up link, or sign in if there is an owner already.';
const NOTICES: Record<string, string> = {
  password: 'Your password is changed. You are signed out everywhere else, and your API tokens are revoked.',
  sessions: 'Done: what you ended is signed out.',
};

/** A link's form is bound to that link; its token itself stays out of the page's fields. */
function linkOf(token: string): string {
  return `link:${hashToken(token)}`;
}

function redirect(location: string, cookie?: string): Response {
  return new Response(null, {
    status: 303,
    headers: { location, 'cache-control': 'no-store', ...(cookie === undefined ? {} : { 'set-cookie': cookie }) },
  });
}
