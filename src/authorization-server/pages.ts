import { rfc3339 } from '../clock.ts';
import { formField } from '../web/form.ts';
import { html, type Html, type Page } from '../web/page.ts';
import type { Request } from './consent.ts';
import { isLoopbackRedirect, isWebRedirect } from './redirects.ts';
import type { StoredConsent } from './store.ts';

/** Where the code goes, in the words that a person can judge by: the host, or the scheme of a program. */
function receiver(redirect: string): string {
  if (redirect === '') return 'the device that shows the code';
  const url = new URL(redirect);
  return isWebRedirect(redirect) || isLoopbackRedirect(redirect) ? url.host : url.protocol.slice(0, -1);
}

function clientIdentity(request: Request): string {
  return request.provenance === 'document' ? new URL(request.client.clientId).host : request.client.clientId;
}

export function consentPage(view: {
  request: Request;
  email: string;
  csrf: string;
  remembered: 'identical' | 'changed' | undefined;
}): Page {
  const { request, email, csrf } = view;
  const { resource, redirect, clientName: name } = request;
  const query = new URLSearchParams(request.fields).toString();
  const here = query === '' ? request.path : `${request.path}?${query}`;
  const admin = resource.connector === null;
  return {
    title: `Allow ${name}?`,
    signedInAs: email,
    body: html`<h1>Allow ${name} to use ${resource.title}?</h1>
      ${
        view.remembered === 'identical'
          ? html`<p class="soft">
              You allowed this before. Any program on your computer could be asking, so you are asked again.
            </p>`
          : ''
      }
      ${
        view.remembered === 'changed'
          ? html`<p class="notice">
              You allowed this client before, but what it says about itself or asks for has changed.
            </p>`
          : ''
      }
      <h2>It will be able to</h2>
      <ul>
        ${
          admin
            ? html`<li>administer Valetkey as you: connectors, people, connections</li>`
            : html`<li>see the tools of <strong>${resource.title}</strong> and call them as you</li>
                <li>use the account you connect there; it never sees that account's password or tokens</li>`
        }
        <li>do so until you revoke it, at most 180 days, 60 when it is not used</li>
      </ul>
      <h2>Who is asking</h2>
      <dl class="facts">
        <dt>Client</dt>
        <dd>${name}</dd>
        <dt>${request.provenance === 'document' ? 'Published by' : 'Client id'}</dt>
        <dd><code>${clientIdentity(request)}</code></dd>
        <dt>Answer goes to</dt>
        <dd><code>${receiver(redirect)}</code></dd>
        <dt>Resource</dt>
        <dd><code>${resource.uri}</code></dd>
      </dl>
      ${warning(request)}
      <form method="post" action="${request.path}">
        <input type="hidden" name="csrf" value="${csrf}" />
        ${Object.entries(request.fields).map(([field, value]) => html`<input type="hidden" name="${field}" value="${value}" />`)}
        <div class="actions">
          <button type="submit" name="decision" value="allow">Allow</button>
          <button type="submit" name="decision" value="deny" class="quiet">Deny</button>
        </div>
      </form>
      <p class="soft">
        You are ${email}. <a href="/sign-in?return_to=${encodeURIComponent(here)}&amp;again=1">Use another account</a>
      </p>`,
  };
}

/** What a person cannot see from the facts alone. */
function warning({ clientName: name, provenance, redirect, fields }: Request): Html {
  const unproven = 'This client registered itself: nobody has checked that its name is true.';
  const known = provenance !== 'registered';
  if (redirect === '') {
    return html`<p class="notice">
      Allow it only if you have started <strong>${name}</strong> yourself and it shows you the code
      <strong>${fields['user_code']}</strong>. Whoever sent you this code or this link gets in with your account.
    </p>`;
  }
  if (isLoopbackRedirect(redirect)) {
    return html`<p class="notice">
      The answer goes to a program on this computer. Allow it only if you have just started
      <strong>${name}</strong> here yourself. ${known ? '' : unproven}
    </p>`;
  }
  if (!isWebRedirect(redirect)) {
    return html`<p class="notice">
      The answer opens a program on this computer that claims <strong>${receiver(redirect)}:</strong> addresses.
      ${known ? '' : unproven}
    </p>`;
  }
  return known
    ? html``
    : html`<p class="notice">
        ${unproven} Go by the address that the answer goes to: <strong>${receiver(redirect)}</strong>.
      </p>`;
}

/** A form's answer is a page: a redirect would be held to the form's `form-action` by Chromium. */
export function onwardPage(view: { title: string; text: string; url: string; link: string }): Page {
  return {
    title: view.title,
    refresh: { url: view.url, seconds: 0 },
    body: html`<h1>${view.title}</h1>
      <p>${view.text}</p>
      <p><a class="button" href="${view.url}">${view.link}</a></p>`,
  };
}

/** Where a person types in the code that a device shows (RFC 8628 §3.3). */
export function devicePage(view: { email: string; csrf: string; code: string; problem?: string; done?: string }): Page {
  return {
    title: 'Sign a device in',
    signedInAs: view.email,
    body: html`<h1>Sign a device in</h1>
      ${view.done === undefined ? '' : html`<p class="notice done">${view.done}</p>`}
      <form method="post" action="/device">
        <input type="hidden" name="csrf" value="${view.csrf}" />
        ${formField(
          {
            name: 'user_code',
            label: 'Code',
            type: 'text',
            autocomplete: 'off',
            value: view.code,
            hint: 'The device or program that you want to use shows it, like BCDF-GHJK.',
          },
          {
            problem: view.problem === undefined ? undefined : { field: 'user_code', message: view.problem },
            focus: true,
          },
        )}
        <div class="actions"><button type="submit">Continue</button></div>
      </form>`,
  };
}

/** For a refusal that a client on the web is to hear of, when nobody has allowed it anything yet. */
export function refusalPage(view: {
  name: string;
  host: string;
  error: string;
  description: string;
  url: string;
}): Page {
  return {
    title: 'The client asked for something that cannot be given',
    body: html`<h1>${view.name} asked for something that cannot be given</h1>
      <p>${view.description}</p>
      <p class="notice">
        ${view.name} is not known to you or to us. Go on only if you came from <strong>${view.host}</strong>.
      </p>
      <p><a class="button quiet" rel="noreferrer" href="${view.url}">Return to ${view.host}</a></p>
      <dl class="facts">
        <dt>Code</dt>
        <dd><code>${view.error}</code></dd>
      </dl>`,
  };
}

export function clientsPage(view: { email: string; csrf: string; consents: StoredConsent[]; revoked: boolean }): Page {
  return {
    title: 'My clients',
    signedInAs: view.email,
    body: html`<h1>My clients</h1>
      ${view.revoked ? html`<p class="notice done" role="status">Revoked. What the client held has stopped working.</p>` : ''}
      ${
        view.consents.length === 0
          ? html`<p>No client may use anything in your name.</p>`
          : html`<p>These clients may call tools in your name.</p>
              <ul class="rows">
                ${view.consents.map(
                  (consent) =>
                    html`<li>
                      <div>
                        <strong>${consent.client_name}</strong>
                        <p class="soft">
                          Allowed ${day(consent.last_used_at)}, answer goes to ${receiver(consent.redirect_uri)}
                        </p>
                        <p><code>${consent.resource}</code></p>
                      </div>
                      <form method="post" action="/clients">
                        <input type="hidden" name="csrf" value="${view.csrf}" />
                        <input type="hidden" name="client" value="${consent.client_id}" />
                        <button type="submit" class="quiet" aria-label="Revoke ${consent.client_name}">Revoke</button>
                      </form>
                    </li>`,
                )}
              </ul>`
      }
      <p class="soft"><a href="/connections">My connections</a> · <a href="/account">My account</a></p>`,
  };
}

function day(ms: number): string {
  return rfc3339(ms).slice(0, 10);
}
