import type { Connector } from '../connectors/connector.ts';
import type { User } from '../identity/principal.ts';
import { html, type Html, type Page } from '../web/page.ts';
import type { Outcome } from './outcome.ts';
import type { ConnectionView } from './view.ts';

export type EntryState = {
  connector: Connector;
  user: User;
  connected: ConnectionView | undefined;
  csrf: string;
  ticket: string | undefined;
  returnTo: string | null;
  /** What the last try came to. */
  refused?: Extract<Outcome, { kind: 'failed' }> | undefined;
};

/** Where a person enters what the service has given them, or sends the gateway for a token. Never shows what is stored. */
export function entryPage(state: EntryState): Page {
  const { connector, connected, refused } = state;
  const { title, url } = connector.document;
  const asks = connector.connection?.asks ?? [];
  const shared = connector.connection?.owner === 'tenant';
  const again = connected !== undefined && connected.status !== 'revoked' && connected.status !== 'pending';
  const { host } = new URL(loginUrl(connector) ?? url);
  return {
    title: `${refused === undefined ? '' : 'Error: '}${again ? 'Reconnect' : 'Connect'} ${title}`,
    signedInAs: state.user.email,
    body: html`<h1>${again ? 'Reconnect' : 'Connect'} ${title}</h1>
      ${refused === undefined ? '' : html`<p class="notice bad" role="alert">${refused.message} ${refused.hint}</p>`}
      ${
        asks.length === 0
          ? html`<p>The gateway gets the token from <strong>${host}</strong> by itself.</p>`
          : html`<p>
              Enter what <strong>${host}</strong> has given you. The gateway sends it there with
              ${shared ? 'calls of everyone who may use this connector' : 'your own calls'}.
            </p>`
      }
      ${guide(connector.connection?.guide ?? '')}
      ${
        again && connected.account.label !== null
          ? html`<p>Connected now: <strong>${connected.account.label}</strong>.</p>`
          : ''
      }
      <form method="post" action="/connect/${connector.tenant}/${connector.name}/begin">
        <input type="hidden" name="csrf" value="${state.csrf}" />
        ${state.ticket === undefined ? '' : html`<input type="hidden" name="ticket" value="${state.ticket}" />`}
        ${asks.map(
          ({ name, label, secret }) =>
            html`<label for="${name}">${label}</label>
              <input
                id="${name}"
                name="${name}"
                type="${secret ? 'password' : 'text'}"
                autocomplete="off"
                autocapitalize="none"
                spellcheck="false"
                maxlength="8192"
                required
              />`,
        )}
        <div class="actions">
          <button type="submit">Connect</button>
          <a class="button quiet" href="${state.returnTo ?? '/connections'}">Not now</a>
        </div>
      </form>
      ${
        asks.length === 0
          ? ''
          : html`<p class="soft">
              It is tried once, then kept encrypted by this gateway. It is never shown again, not even to you, and your
              applications never see it.
            </p>`
      }`,
  };
}

function guide(text: string): Html {
  const paragraphs = text.split(/\n\s*\n/).filter((paragraph) => paragraph.trim() !== '');
  return html`${paragraphs.map((paragraph) => html`<p>${paragraph}</p>`)}`;
}

function loginUrl({ document }: Connector): string | undefined {
  const { auth } = document;
  if (auth.type === 'login') return auth.loginUrl;
  return auth.type === 'oauth2' ? auth.tokenUrl?.replace(/^\{\w+\}/, 'https://service') : undefined;
}
