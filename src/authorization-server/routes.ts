import type { Context } from 'hono';
import { getCookie } from 'hono/cookie';
import { z } from 'zod';
import type { Clock } from '../clock.ts';
import { fail } from '../errors.ts';
import { readForm } from '../identity/form-data.ts';
import { ownPath } from '../identity/return-to.ts';
import type { SignedIn } from '../identity/identity.ts';
import { csrfMatches, csrfToken } from '../web/csrf.ts';
import { pageResponse } from '../web/page.ts';
import type { Web } from '../web/web.ts';
import type { Consent, Request } from './consent.ts';
import { clientsPage, consentPage, devicePage, onwardPage } from './pages.ts';
import type { People } from './people.ts';
import { cookieName, INTERACTION_COOKIE } from './provider.ts';
import { createRate } from './rate.ts';
import type { StoredConsent } from './store.ts';

const text = z.string().max(2_048).optional();
const answerForm = z.object({ csrf: text, decision: text, user_code: text, client: text });

export type PageOptions = {
  web: Web;
  people: People;
  consent: Consent;
  clock: Clock;
  /** The request that waits behind a device's code. */
  findDevice(userCode: string): Promise<Request | undefined>;
  publicUrl: string;
  listClients(signedIn: SignedIn): Promise<StoredConsent[]>;
  revokeClient(signedIn: SignedIn, client: string): Promise<void>;
};

/** The pages between an authorization request and its answer, and the list of what a person has allowed. */
export function mountPages(options: PageOptions): void {
  const { web, people, consent } = options;
  const cookie = cookieName(options.publicUrl, INTERACTION_COOKIE);
  const signedInOf = async (context: Context): Promise<SignedIn | undefined> =>
    await people.session(context.req.header('cookie'));
  const guessWait = createRate(options.clock, { burst: 20, refillMs: 10_000 });
  const checkForm = (token: unknown, { csrfSecret }: SignedIn, transaction: string): void => {
    if (csrfMatches(token, csrfSecret, transaction)) return;
    throw fail('invalid_request', {
      message: 'This form belongs to another sign-in.',
      hint: 'Load the page again and answer once more.',
    });
  };
  /** `again` asks for the password although somebody is signed in. */
  const toSignIn = (context: Context, path: string, again = false): Response =>
    context.redirect(`/sign-in?return_to=${encodeURIComponent(ownPath(path) ?? '/')}${again ? '&again=1' : ''}`, 303);

  async function requestOf(context: Context, uid: string) {
    // Only the browser that began the request may answer it: else a person could be made to answer somebody else's.
    if (getCookie(context, cookie) !== uid) throw fail('authorization_expired');
    return await consent.load(uid);
  }

  web.app.get('/consent/:uid', async (context) => {
    const uid = context.req.param('uid');
    const request = await requestOf(context, uid);
    const signedIn = await signedInOf(context);
    if (signedIn === undefined) return toSignIn(context, context.req.path);
    if (request.prompts.has('login') && signedIn.session.authTime < request.startedAt) {
      return toSignIn(context, context.req.path, true);
    }
    if (signedIn.user.tenant !== request.resource.tenant) throw fail('resource_foreign');
    const remembered = await consent.remembered(request, signedIn);
    if (remembered === 'identical' && consent.mayRepeat(request)) {
      const { next } = await consent.allow(request, signedIn);
      return context.redirect(next, 303);
    }
    const csrf = csrfToken(signedIn.csrfSecret, request.transaction);
    return await pageResponse(consentPage({ request, email: signedIn.user.email, csrf, remembered }));
  });

  web.app.post('/consent/:uid', async (context) => {
    const uid = context.req.param('uid');
    const request = await requestOf(context, uid);
    const signedIn = await signedInOf(context);
    if (signedIn === undefined) return toSignIn(context, context.req.path);
    const form = await readForm(context.req.raw, answerForm);
    checkForm(form.csrf, signedIn, request.transaction);
    if (form.decision !== 'allow') {
      const url = await consent.deny(request);
      return await pageResponse(
        onwardPage({ title: 'Denied', text: `${request.clientName} gets nothing.`, url, link: 'Return to the client' }),
      );
    }
    const { next, connects } = await consent.allow(request, signedIn);
    return await pageResponse(
      onwardPage({
        title: 'Allowed',
        text: connects ? `Next, connect your account at ${request.resource.title}.` : 'You are being taken back.',
        url: next,
        link: connects ? 'Go on' : 'Return to the client',
      }),
    );
  });

  const findDevice = async (signedIn: SignedIn, code: string): Promise<Request | string> => {
    if (guessWait(`${signedIn.user.tenant}/${signedIn.user.id}`) > 0) return 'Too many codes. Wait a minute.';
    const request = await options.findDevice(code);
    return request ?? 'This code is not known, was used or has expired.';
  };

  web.app.get('/device', async (context) => {
    const code = (context.req.query('user_code') ?? '').slice(0, 20);
    const signedIn = await signedInOf(context);
    if (signedIn === undefined) return toSignIn(context, `/device?user_code=${encodeURIComponent(code)}`);
    const done = { allowed: 'Allowed. Go back to your device.', denied: 'Denied. The device gets nothing.' };
    const answered = context.req.query('answered');
    return await pageResponse(
      devicePage({
        email: signedIn.user.email,
        csrf: csrfToken(signedIn.csrfSecret, 'device'),
        code,
        ...(answered === 'allowed' || answered === 'denied' ? { done: done[answered] } : {}),
      }),
    );
  });

  web.app.post('/device', async (context) => {
    const signedIn = await signedInOf(context);
    if (signedIn === undefined) return toSignIn(context, '/device');
    const form = await readForm(context.req.raw, answerForm);
    const code = (form.user_code ?? '').slice(0, 20);
    const { decision } = form;
    const request = await findDevice(signedIn, code);
    if (typeof request === 'string') {
      const csrf = csrfToken(signedIn.csrfSecret, 'device');
      return await pageResponse(devicePage({ email: signedIn.user.email, csrf, code, problem: request }), {
        status: 400,
      });
    }
    checkForm(form.csrf, signedIn, decision === undefined ? 'device' : request.transaction);
    if (signedIn.user.tenant !== request.resource.tenant) throw fail('resource_foreign');
    if (decision === undefined) {
      const csrf = csrfToken(signedIn.csrfSecret, request.transaction);
      const { email } = signedIn.user;
      return await pageResponse(consentPage({ request, email, csrf, remembered: undefined }));
    }
    const allowed = decision === 'allow';
    const url = allowed ? (await consent.allow(request, signedIn)).next : `/device?answered=denied`;
    if (!allowed) await consent.deny(request);
    return await pageResponse(
      onwardPage({ title: allowed ? 'Allowed' : 'Denied', text: 'One moment.', url, link: 'Go on' }),
    );
  });

  web.app.get('/clients', async (context) => {
    const signedIn = await signedInOf(context);
    if (signedIn === undefined) return toSignIn(context, '/clients');
    const consents = await options.listClients(signedIn);
    const csrf = csrfToken(signedIn.csrfSecret, 'clients');
    const revoked = context.req.query('revoked') !== undefined;
    return await pageResponse(clientsPage({ email: signedIn.user.email, csrf, consents, revoked }));
  });

  web.app.post('/clients', async (context) => {
    const signedIn = await signedInOf(context);
    if (signedIn === undefined) return toSignIn(context, '/clients');
    const form = await readForm(context.req.raw, answerForm);
    checkForm(form.csrf, signedIn, 'clients');
    await options.revokeClient(signedIn, form.client ?? '');
    return context.redirect('/clients?revoked', 303);
  });
}
