import { rfc3339 } from '../clock.ts';
import type { FormProblem } from '../web/form.ts';
import { formField, problemSummary } from '../web/form.ts';
import { html, type Html, type Page } from '../web/page.ts';
import { PASSWORD_MIN } from './password.ts';
import type { User } from './principal.ts';
import type { SessionSummary, SignedIn } from './sessions.ts';

const PASSWORD_HINT = `At least ${PASSWORD_MIN} characters; four random words are easy to remember and hard to guess.`;

/** A page with a form: its title says when something went wrong, since that is what is read out first. */
function formPage(title: string, problem: FormProblem | undefined, body: Html, signedInAs?: string): Page {
  return { title: problem === undefined ? title : `Error: ${title}`, body, signedInAs };
}

export function signInPage(state: {
  csrf: string;
  email?: string | undefined;
  returnTo?: string | undefined;
  problem?: FormProblem | undefined;
  notice?: string | undefined;
}): Page {
  const { problem } = state;
  return formPage(
    'Sign in',
    problem,
    html`<h1>Sign in</h1>
      ${state.notice === undefined ? '' : html`<p class="notice done" role="status">${state.notice}</p>`}
      ${problemSummary(problem)}
      <form method="post" action="/sign-in">
        <input type="hidden" name="csrf" value="${state.csrf}" />
        ${state.returnTo === undefined ? '' : html`<input type="hidden" name="return_to" value="${state.returnTo}" />`}
        ${formField(
          { name: 'email', label: 'E-mail address', type: 'email', autocomplete: 'username', value: state.email },
          { problem, focus: true },
        )}
        ${formField(
          { name: 'password', label: 'Password', type: 'password', autocomplete: 'current-password' },
          { problem },
        )}
        <div class="actions"><button type="submit">Sign in</button></div>
      </form>`,
  );
}

export function setUpPage(state: {
  path: string;
  csrf: string;
  email?: string | undefined;
  name?: string | undefined;
  problem?: FormProblem | undefined;
}): Page {
  const { problem } = state;
  return formPage(
    'Set up Valetkey',
    problem,
    html`<h1>Set up Valetkey</h1>
      <p>Make the first account. It owns this gateway: it adds connectors and invites people.</p>
      ${problemSummary(problem)}
      <form method="post" action="${state.path}">
        <input type="hidden" name="csrf" value="${state.csrf}" />
        ${formField(
          { name: 'email', label: 'E-mail address', type: 'email', autocomplete: 'username', value: state.email },
          { problem, focus: true },
        )}
        ${formField(
          { name: 'name', label: 'Your name', type: 'text', autocomplete: 'name', value: state.name },
          { problem },
        )}
        ${formField(
          { name: 'password', label: 'Password', type: 'password', autocomplete: 'new-password', hint: PASSWORD_HINT },
          { problem },
        )}
        <div class="actions"><button type="submit">Create the owner account</button></div>
      </form>`,
  );
}

export function invitationPage(state: {
  path: string;
  csrf: string;
  user: User;
  name?: string | undefined;
  problem?: FormProblem | undefined;
}): Page {
  const { problem, user } = state;
  return formPage(
    'Accept your invitation',
    problem,
    html`<h1>Accept your invitation</h1>
      <p>
        You have been invited to this Valetkey. Choose a password; the account is for <strong>${user.email}</strong>.
      </p>
      ${problemSummary(problem)}
      <form method="post" action="${state.path}">
        <input type="hidden" name="csrf" value="${state.csrf}" />
        <input type="email" autocomplete="username" value="${user.email}" readonly hidden />
        ${formField(
          { name: 'name', label: 'Your name', type: 'text', autocomplete: 'name', value: state.name ?? user.name },
          { problem },
        )}
        ${formField(
          { name: 'password', label: 'Password', type: 'password', autocomplete: 'new-password', hint: PASSWORD_HINT },
          { problem, focus: true },
        )}
        <div class="actions"><button type="submit">Set the password and sign in</button></div>
      </form>`,
  );
}

/** The browser goes on by itself, as a navigation of its own: see `Page.refresh`. */
export function onwardPage(to: string, email: string): Page {
  return {
    title: 'Signed in',
    refresh: { url: to, seconds: 0 },
    signedInAs: email,
    body: html`<h1>You are signed in</h1>
      <p><a href="${to}">Continue</a></p>`,
  };
}

export function notSetUpPage(): Page {
  return {
    title: 'Not set up yet',
    body: html`<h1>Valetkey is running, and has no owner yet</h1>
      <p>
        At its start it printed a link that begins with <code>/setup/</code>, to the terminal or the log that it was
        started with. Open that link to make the first account.
      </p>
      <p class="hint">
        Each start prints a new link, which is good for 24 hours and replaces the one before: if you cannot find it,
        start Valetkey again.
      </p>
      <p><a href="/sign-in">Sign in with an existing account</a></p>`,
  };
}

export function accountPage(state: {
  signedIn: SignedIn;
  sessions: readonly SessionSummary[];
  csrf: (transaction: string) => string;
  problem?: FormProblem | undefined;
  notice?: string | undefined;
}): Page {
  const { user, session } = state.signedIn;
  const { problem } = state;
  const others = state.sessions.filter(({ id }) => id !== session.id);
  return formPage(
    'Your account',
    problem,
    html`<h1>Your account</h1>
      ${state.notice === undefined ? '' : html`<p class="notice done" role="status">${state.notice}</p>`}
      ${problemSummary(problem)}
      <dl class="facts">
        <dt>Name</dt>
        <dd>${user.name}</dd>
        <dt>E-mail address</dt>
        <dd>${user.email}</dd>
        <dt>Role</dt>
        <dd>${user.role}</dd>
      </dl>
      <p><a href="/connections">Your connections</a> · <a href="/clients">Your clients</a></p>
      <form method="post" action="/sign-out">
        <input type="hidden" name="csrf" value="${state.csrf('sign-out')}" />
        <div class="actions"><button type="submit" class="quiet">Sign out</button></div>
      </form>
      <h2>Change your password</h2>
      <form method="post" action="/account/password">
        <input type="hidden" name="csrf" value="${state.csrf('password')}" />
        <input type="email" autocomplete="username" value="${user.email}" readonly hidden />
        ${formField(
          { name: 'current', label: 'Current password', type: 'password', autocomplete: 'current-password' },
          { problem },
        )}
        ${formField(
          {
            name: 'password',
            label: 'New password',
            type: 'password',
            autocomplete: 'new-password',
            hint: PASSWORD_HINT,
          },
          { problem },
        )}
        <p class="soft">Everywhere else you will be signed out.</p>
        <div class="actions"><button type="submit">Change the password</button></div>
      </form>
      <h2>Where you are signed in</h2>
      <ul class="rows">
        ${state.sessions.map(
          (item) =>
            html`<li>
              <div>
                <strong>${browserName(item.userAgent)}</strong>${item.id === session.id ? ' (this browser)' : ''}
                <p class="soft">Signed in ${moment(item.createdAt)}<br />Last seen ${moment(item.lastSeenAt)}</p>
              </div>
              ${
                item.id === session.id
                  ? ''
                  : html`<form method="post" action="/account/sessions/end">
                      <input type="hidden" name="csrf" value="${state.csrf('sessions')}" />
                      <input type="hidden" name="session" value="${item.id}" />
                      <button
                        type="submit"
                        class="quiet"
                        aria-label="End the session of ${browserName(item.userAgent)}"
                      >
                        End
                      </button>
                    </form>`
              }
            </li>`,
        )}
      </ul>
      ${
        others.length === 0
          ? ''
          : html`<form method="post" action="/account/sessions/end">
              <input type="hidden" name="csrf" value="${state.csrf('sessions')}" />
              <button type="submit" class="quiet">End all other sessions</button>
            </form>`
      }`,
    user.email,
  );
}

function moment(ms: number): Html {
  const iso = rfc3339(ms);
  return html`<time datetime="${iso}">${iso.slice(0, 10)} ${iso.slice(11, 16)} UTC</time>`;
}

/** Enough to tell one's own browsers apart. */
function browserName(userAgent: string): string {
  const browser = [
    ['Edg/', 'Edge'],
    ['OPR/', 'Opera'],
    ['Firefox/', 'Firefox'],
    ['Chrome/', 'Chrome'],
    ['Safari/', 'Safari'],
  ].find(([mark = '']) => userAgent.includes(mark))?.[1];
  const system = [
    ['Android', 'Android'],
    ['iPhone', 'iPhone'],
    ['iPad', 'iPad'],
    ['Windows', 'Windows'],
    ['Mac OS', 'macOS'],
    ['CrOS', 'ChromeOS'],
    ['Linux', 'Linux'],
  ].find(([mark = '']) => userAgent.includes(mark))?.[1];
  if (browser === undefined) return userAgent === '' ? 'A browser' : userAgent.slice(0, 60);
  return system === undefined ? browser : `${browser} on ${system}`;
}
