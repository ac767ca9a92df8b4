import type { Context } from 'hono';
import { getCookie } from 'hono/cookie';
import { fail } from '../errors.ts';
import { ownPath } from '../identity/return-to.ts';
import type { SignedIn } from '../identity/identity.ts';
import { csrfMatches, csrfToken } from '../web/csrf.ts';
import { pageResponse } from '../web/page.ts';
import type { Web } from '../web/web.ts';
import type { Consent } from './consent.ts';
import { clientsPage, consentPage, onwardPage } from './pages.ts';
import type { People } from './people.ts';
import { cookieName, INTERACTION_COOKIE } from './provider.ts';
import type { StoredConsent } from './store.ts';

export type PageOptions = {
  web: Web;
  people: People;
  consent: Consent;
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
  /** `again` asks for the password although somebody is signed in. */
  const toSignIn = (context: Context, path: string, again = false): Response =>
    context.redirect(`/sign-in?return_to=${encodeURIComponent(ownPath(path) ?? '/')}${again ? '&again=1' : ''}`, 303);
  const transaction = (uid: string): string => `consent:${uid}`;

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
    const csrf = csrfToken(signedIn.csrfSecret, transaction(uid));
    return await pageResponse(consentPage({ request, email: signedIn.user.email, csrf, remembered }));
  });

  web.app.post('/consent/:uid', async (context) => {
    const uid = context.req.param('uid');
    const request = await requestOf(context, uid);
    const signedIn = await signedInOf(context);
    if (signedIn === undefined) return toSignIn(context, context.req.path);
    const form = await context.req.parseBody();
    if (!csrfMatches(form['csrf'], signedIn.csrfSecret, transaction(uid))) {
      throw fail('invalid_request', {
        message: 'This form belongs to another sign-in.',
        hint: 'Load the page again and answer once more.',
      });
    }
    if (form['decision'] !== 'allow') {
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
    const form = await context.req.parseBody();
    if (!csrfMatches(form['csrf'], signedIn.csrfSecret, 'clients')) {
      throw fail('invalid_request', { message: 'This form belongs to another sign-in.', hint: 'Load the page again.' });
    }
    await options.revokeClient(signedIn, typeof form['client'] === 'string' ? form['client'] : '');
    return context.redirect('/clients?revoked', 303);
  });
}
