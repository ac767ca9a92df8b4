import { rfc3339 } from '../clock.ts';
import type { Connector } from '../connectors/connector.ts';
import type { User } from '../identity/principal.ts';
import { html, type Html, type Page } from '../web/page.ts';
import type { Outcome } from './outcome.ts';
import type { ConnectionStatus } from './connection.ts';
import type { Tried } from './discovery.ts';
import type { UpstreamRevocation } from './revoke.ts';
import type { ConnectionView } from './view.ts';

export function connectPage(state: {
  connector: Connector;
  user: User;
  host: string;
  scopes: readonly string[];
  /** Static registrations: what to register at the service when it does not know our callback. */
  callback: string | null;
  connected: ConnectionView | undefined;
  csrf: string;
  ticket: string | undefined;
  returnTo: string | null;
}): Page {
  const { connector, scopes, connected } = state;
  const { title } = connector.document;
  const shared = connector.connection?.owner === 'tenant';
  const again = connected !== undefined && connected.status !== 'revoked' && connected.status !== 'pending';
  return {
    title: `Connect ${title}`,
    signedInAs: state.user.email,
    body: html`<h1>${again ? 'Reconnect' : 'Connect'} ${title}</h1>
      <p>
        You go to <strong>${state.host}</strong>, sign in there, and allow this gateway to act
        ${shared ? 'for everyone who may use this connector' : 'for you'}.
      </p>
      ${
        again && connected.account.label !== null
          ? html`<p>Connected now: <strong>${connected.account.label}</strong>.</p>`
          : ''
      }
      <dl class="facts">
        <dt>Asks for</dt>
        <dd>
          ${
            scopes.length === 0
              ? 'What the service gives without being asked for anything in particular.'
              : html`<ul>
                  ${scopes.map((scope) => html`<li><code>${scope}</code></li>`)}
                </ul>`
          }
        </dd>
        <dt>Kept by</dt>
        <dd>This gateway, encrypted. Your applications never see the token.</dd>
        <dt>Used for</dt>
        <dd>${shared ? 'Calls of everyone who may use this connector.' : 'Your own calls only.'}</dd>
      </dl>
      <form method="post" action="/connect/${connector.tenant}/${connector.name}/begin">
        <input type="hidden" name="csrf" value="${state.csrf}" />
        ${state.ticket === undefined ? '' : html`<input type="hidden" name="ticket" value="${state.ticket}" />`}
        <div class="actions">
          <button type="submit">Continue to ${state.host}</button>
          <a class="button quiet" href="${state.returnTo ?? '/connections'}">Not now</a>
        </div>
      </form>
      ${
        state.callback === null
          ? ''
          : html`<p class="soft">
              If the service says that the callback is not allowed, this is the one to add to the application there:
              <code>${state.callback}</code>
            </p>`
      }`,
  };
}

/** The form's answer is a page and not a redirect: `form-action` would hold a redirect to another site back. */
export function onwardPage(state: { host: string; url: string; user: User }): Page {
  return {
    title: `On to ${state.host}`,
    signedInAs: state.user.email,
    refresh: { url: state.url, seconds: 0 },
    body: html`<h1>On to ${state.host}</h1>
      <p>You are being taken there.</p>
      <div class="actions"><a class="button" href="${state.url}">Continue</a></div>`,
  };
}

export function resultPage(state: { outcome: Outcome; connector: Connector | undefined; user: User }): Page {
  const { outcome, user } = state;
  const title = state.connector?.document.title ?? 'The service';
  if (outcome.kind === 'connected') {
    const account = outcome.account.label ?? outcome.account.subject;
    return {
      title: `${title} is connected`,
      signedInAs: user.email,
      ...(outcome.returnTo === null ? {} : { refresh: { url: outcome.returnTo, seconds: 2 } }),
      body: html`<h1 class="good">${title} is connected</h1>
        ${
          account === null
            ? html`<p>The service did not say which account it is.</p>`
            : html`<p>Account: <strong>${account}</strong></p>`
        }
        ${
          outcome.previousAccount === null
            ? ''
            : html`<p class="notice">
                Before, this connection belonged to another account: <strong>${outcome.previousAccount}</strong>. If
                that was not intended, connect again and choose the other one.
              </p>`
        }
        ${
          outcome.refused.length === 0
            ? ''
            : html`<p class="notice">Not given: ${outcome.refused.join(', ')}. Tools that need it will ask again.</p>`
        }
        ${
          outcome.renewable
            ? ''
            : html`<p class="notice">
                The service gave nothing to renew the token with: the connection ends
                ${outcome.endsAt == null ? 'when the token runs out' : html`at <strong>${rfc3339(outcome.endsAt)}</strong>`}.
                ${outcome.hint ?? 'Connect again then.'}
              </p>`
        }
        ${onward(outcome.returnTo)}`,
    };
  }
  return {
    title: `Error: ${title} is not connected`,
    signedInAs: user.email,
    body: html`<h1 class="bad">${title} is not connected</h1>
      <p>${outcome.message}</p>
      <p class="hint">${outcome.hint}</p>
      ${outcome.redirectUri === undefined ? '' : html`<pre>${outcome.redirectUri}</pre>`}
      ${triedList(outcome.tried ?? [])}
      <div class="actions">
        ${
          state.connector === undefined
            ? ''
            : html`<a class="button" href="/connect/${state.connector.tenant}/${state.connector.name}">Try again</a>`
        }
        <a class="button quiet" href="${outcome.returnTo ?? '/connections'}">
          ${outcome.returnTo === null ? 'My connections' : 'Go on without it'}
        </a>
      </div>
      <dl class="facts">
        <dt>Code</dt>
        <dd><code>${outcome.code}</code></dd>
      </dl>`,
  };
}

function onward(returnTo: string | null): Html {
  return returnTo === null
    ? html`<p>You can close this page and go back to your application: its tools work now.</p>
        <div class="actions"><a class="button" href="/connections">My connections</a></div>`
    : html`<div class="actions"><a class="button" href="${returnTo}">Continue</a></div>`;
}

/** Every address that discovery looked at, and what came back. */
export function triedList(tried: readonly Tried[]): Html {
  if (tried.length === 0) return html``;
  return html`<h2>What was tried</h2>
    <table>
      <thead>
        <tr>
          <th scope="col">Address</th>
          <th scope="col">Answer</th>
        </tr>
      </thead>
      <tbody>
        ${tried.map(
          ({ url, result }) =>
            html`<tr>
              <td><code>${url}</code></td>
              <td>${result}</td>
            </tr>`,
        )}
      </tbody>
    </table>`;
}

const STATUS: Record<ConnectionStatus | 'none' | 'not_needed', string> = {
  none: 'Not connected',
  not_needed: 'Needs no connection of yours',
  pending: 'Not connected',
  connected: 'Connected',
  suspect: 'Connected, but the service refused to renew it',
  needs_reconnect: 'Has to be connected again',
  revoked: 'Disconnected',
  quarantined: 'Held back for an owner to look at',
};

const HEALTH: Record<ConnectionView['health'], { word: string; kind: string }> = {
  healthy: { word: 'Healthy', kind: 'good' },
  unhealthy: { word: 'Unhealthy', kind: 'bad' },
  unknown: { word: 'Unknown', kind: '' },
};

/** Whether there is a grant that can be used, renewed or ended. */
export function isLinked(connection: ConnectionView | undefined): boolean {
  const { status } = connection ?? {};
  return status === 'connected' || status === 'suspect' || status === 'needs_reconnect';
}

export type ConnectionRow = {
  connector: Connector;
  connection: ConnectionView | undefined;
  url: string;
  mayConnect: boolean;
  csrf: string;
};

export function connectionsPage(state: {
  user: User;
  rows: readonly ConnectionRow[];
  notice: string | undefined;
}): Page {
  return {
    title: 'My connections',
    signedInAs: state.user.email,
    body: html`<h1>My connections</h1>
      ${state.notice === undefined ? '' : html`<p class="notice" role="status">${state.notice}</p>`}
      ${
        state.rows.length === 0
          ? html`<p>There is no connector yet. An owner adds the first one.</p>`
          : state.rows.map(connectionSection)
      }
      <p class="soft"><a href="/clients">My clients</a> · <a href="/account">My account</a></p>`,
  };
}

function connectionSection({ connector, connection, url, mayConnect, csrf }: ConnectionRow): Html {
  const status = connector.connection === null ? 'not_needed' : (connection?.status ?? 'none');
  const there = isLinked(connection);
  const { active } = connector.document;
  const href = `/connect/${connector.tenant}/${connector.name}`;
  return html`<section>
    <h2>${connector.document.title}</h2>
    ${connector.document.description === '' ? '' : html`<p>${connector.document.description}</p>`}
    <dl class="facts">
      <dt>Status</dt>
      <dd class="${status === 'connected' ? 'good' : there ? 'bad' : ''}">${STATUS[status]}</dd>
      ${
        there && connection !== undefined
          ? html`<dt>Health</dt>
              <dd class="${HEALTH[connection.health].kind}">
                ${HEALTH[connection.health].word}. ${connection.healthReason} ${connection.nextStep ?? ''}
              </dd>`
          : ''
      }
      ${
        there && connection !== undefined && connection.warnings.length > 0
          ? html`<dt>Take note</dt>
              <dd>${connection.warnings.map(({ message, hint }) => html`<p>${message} ${hint}</p>`)}</dd>`
          : ''
      }
      ${
        there && connection?.lastRefreshAt
          ? html`<dt>Renewed</dt>
              <dd>${connection.lastRefreshAt}</dd>`
          : ''
      }
      ${
        there && connection?.account.label
          ? html`<dt>Account</dt>
              <dd>${connection.account.label}</dd>`
          : ''
      }
      ${
        there && connection !== undefined && connection.scopes.granted.length > 0
          ? html`<dt>Allowed</dt>
              <dd>${connection.scopes.granted.join(', ')}</dd>`
          : ''
      }
      <dt>For your client</dt>
      <dd><code>${url}</code></dd>
    </dl>
    ${
      connector.connection === null
        ? ''
        : mayConnect
          ? html`<div class="actions">
              ${
                active
                  ? html`<a class="button ${there ? 'quiet' : ''}" href="${href}"
                      >${there ? 'Reconnect' : 'Connect'}</a
                    >`
                  : html`<p class="hint">An owner has switched this connector off.</p>`
              }
              ${
                there && connection !== undefined
                  ? html`<form method="post" action="/connections/${connection.id}/disconnect">
                      <input type="hidden" name="csrf" value="${csrf}" />
                      <button class="quiet" type="submit">Disconnect</button>
                    </form>`
                  : ''
              }
            </div>`
          : html`<p class="hint">Shared by everyone; an owner connects it.</p>`
    }
  </section>`;
}

/** Says what happened here, and what at the service. */
export const DISCONNECTED: Record<UpstreamRevocation, string> = {
  revoked: 'Disconnected: the tokens were deleted here and revoked at the service.',
  pending:
    'Disconnected: the tokens can no longer be used here. The service has not confirmed the revocation yet; it is tried for a day.',
  unsupported:
    'Disconnected: the tokens were deleted here. The service has no way to revoke them; remove the access in its own settings.',
  shared:
    'Disconnected: the tokens were deleted here. At the service the access stays, because another connection uses the same account.',
  nothing_to_revoke: 'Disconnected: there was nothing left to revoke.',
};
