import type { ServerResponse } from 'node:http';
import { createHash } from 'node:crypto';
import { send } from './http.ts';

/** Text that is already safe HTML; anything else put into `html` is escaped. */
class Html {
  readonly text: string;
  constructor(text: string) {
    this.text = text;
  }
}

type Part = Html | string | number | boolean | null | undefined | readonly Part[];

function escape(value: Part): string {
  if (value instanceof Html) return value.text;
  if (typeof value === 'object' && value !== null) return value.map(escape).join('');
  if (value === undefined || value === null || value === false) return '';
  return String(value).replaceAll(/[&<>"']/g, (char) => `&#${char.charCodeAt(0)};`);
}

function html(strings: TemplateStringsArray, ...values: Part[]): Html {
  return new Html(String.raw({ raw: strings }, ...values.map(escape)));
}

const STYLE = `
:root{color-scheme:light dark;--ink:#1b1b1f;--soft:#5a5a66;--paper:#f4f4f6;--card:#fff;--line:#8a8a96;--accent:#1d4ed8;--on:#fff;--warn:#b42318}
@media (prefers-color-scheme:dark){:root{--ink:#ececf1;--soft:#b0b0bd;--paper:#16161a;--card:#222228;--line:#7c7c8a;--accent:#8fb0ff;--on:#10131c;--warn:#ff9a8f}}
*{box-sizing:border-box}
body{margin:0;font:1rem/1.5 system-ui,sans-serif;background:var(--paper);color:var(--ink)}
main{max-width:28rem;margin:2rem auto;padding:1.5rem;background:var(--card);border-radius:.75rem}
h1{font-size:1.35rem;line-height:1.25;margin:0 0 .75rem}
p,ul,dl{margin:0 0 1rem}
a{color:var(--accent)}.soft{color:var(--soft)}.warn{color:var(--warn)}
label{display:block;margin:0 0 .75rem}
input[type=text],input[type=password],input[type=url],select{display:block;width:100%;margin-top:.25rem;padding:.6rem;font:inherit;color:inherit;background:var(--card);border:1px solid var(--line);border-radius:.4rem}
input[type=checkbox]{width:1.15rem;height:1.15rem;margin-right:.5rem;vertical-align:-.2rem;accent-color:var(--accent)}
fieldset{border:1px solid var(--line);border-radius:.4rem;margin:0 0 1rem;padding:.75rem 1rem}
fieldset label{margin:.25rem 0}
button{font:inherit;padding:.65rem 1.1rem;border-radius:.4rem;border:1px solid var(--accent);background:var(--accent);color:var(--on);cursor:pointer;margin:0 .5rem .5rem 0}
button.quiet{background:transparent;color:var(--accent)}
:focus-visible{outline:3px solid var(--accent);outline-offset:2px}
code{overflow-wrap:anywhere}
dt{color:var(--soft)}dd{margin:0 0 .5rem}
@media (max-width:32rem){main{margin:0;border-radius:0;min-height:100vh}button{width:100%}}
`;

// Whole, since a formatter that reaches into the templates would change what the hash is of.
const STYLE_TAG = new Html(`<style>${STYLE}</style>`);
const STYLE_HASH = createHash('sha256').update(STYLE).digest('base64');

/**
 * No `form-action`: Chromium applies it to the redirects after the form as well, and those go to the client's
 * callback and from there wherever the client sends the browser.
 */
const CSP = `default-src 'none'; style-src 'sha256-${STYLE_HASH}'; base-uri 'none'; frame-ancestors 'none'`;

export function sendPage(res: ServerResponse, status: number, page: { title: string; body: Html }): void {
  const document = html`<!doctype html>
    <html lang="en">
      <head>
        <meta charset="utf-8" />
        <meta name="viewport" content="width=device-width, initial-scale=1" />
        <title>${page.title} · Practice service</title>
        ${STYLE_TAG}
      </head>
      <body>
        <main>
          <p class="soft">Practice service</p>
          <h1>${page.title}</h1>
          ${page.body}
        </main>
      </body>
    </html> `;
  send(res, status, document.text, {
    'content-type': 'text/html; charset=utf-8',
    'content-security-policy': CSP,
    'cache-control': 'no-store',
    'referrer-policy': 'no-referrer',
    'x-frame-options': 'DENY',
    'cross-origin-opener-policy': 'same-origin',
  });
}

export function signInPage(view: {
  transaction: string;
  username: string;
  clientName: string;
  failed: boolean;
  accounts: readonly string[];
}) {
  return {
    title: 'Sign in',
    body: html`<p>to continue to <strong>${view.clientName}</strong></p>
      ${view.failed && html`<p class="warn" role="alert" id="problem">This username and password do not go together.</p>`}
      <form method="post" action="/auth/authorize/login">
        <input type="hidden" name="transaction" value="${view.transaction}" />
        <label
          >Username<input
            type="text"
            name="username"
            value="${view.username}"
            autocomplete="username"
            autocapitalize="none"
            spellcheck="false"
            required${view.username === '' && new Html(' autofocus')}${view.failed && new Html(' aria-describedby="problem"')}
        /></label>
        <label
          >Password<input
            type="password"
            name="password"
            autocomplete="current-password"
            required${view.username !== '' && new Html(' autofocus')}
        /></label>
        <button type="submit">Sign in</button>
      </form>
      <p class="soft">
        Accounts: ${view.accounts.join(', ')}. Their password stands in the terminal that started this service.
      </p>`,
  };
}

const SCOPE_WORDS: Record<string, string> = {
  'items:read': 'See your items',
  'items:write': 'Create, change and delete your items',
  profile: 'See your name',
};

export function consentPage(view: {
  transaction: string;
  clientName: string;
  clientId: string;
  redirectHost: string;
  loopback: boolean;
  unverified: boolean;
  resource: string | null;
  scopes: readonly string[];
  signedInAs: string;
}) {
  return {
    title: `Allow ${view.clientName}?`,
    body: html`<p>You are signed in as <strong>${view.signedInAs}</strong>.</p>
      <form method="post" action="/auth/authorize/consent">
        <input type="hidden" name="transaction" value="${view.transaction}" />
        <fieldset>
          <legend>It may</legend>
          ${view.scopes.map((scope) => html`<label><input type="checkbox" name="scope:${scope}" value="on" checked />${SCOPE_WORDS[scope] ?? scope} <code class="soft">${scope}</code></label>`)}
        </fieldset>
        <dl>
          <dt>Application</dt>
          <dd><code>${view.clientId}</code></dd>
          <dt>You will be sent to</dt>
          <dd><code>${view.redirectHost}</code>${view.loopback && ' (a program on this computer)'}</dd>
          ${
            view.resource !== null &&
            html`<dt>For use at</dt>
              <dd><code>${view.resource}</code></dd>`
          }
        </dl>
        ${view.unverified && html`<p class="warn">This application registered itself; nobody has checked its name.</p>`}
        <button type="submit" name="decision" value="allow">Allow</button>
        <button type="submit" name="decision" value="deny" class="quiet">Deny</button>
        <button type="submit" name="decision" value="switch" class="quiet">Use another account</button>
      </form>`,
  };
}

export function problemPage(view: { title: string; text: string; facts?: Record<string, string> }) {
  return {
    title: view.title,
    body: html`<p role="alert">${view.text}</p>
      <dl>
        ${Object.entries(view.facts ?? {}).map(
          ([name, value]) =>
            html`<dt>${name}</dt>
              <dd><code>${value}</code></dd>`,
        )}
      </dl>`,
  };
}

export function applicationsPage(view: {
  applications: readonly { name: string; clientId: string; authMethod: string; redirectUris: readonly string[] }[];
  created?: { clientId: string; clientSecret: string | null };
  problem?: string;
}) {
  return {
    title: 'Applications',
    body: html`${
        view.created &&
        html`<div role="status">
          <p>Created. The secret is shown this once.</p>
          <dl>
            <dt>Client id</dt>
            <dd><code>${view.created.clientId}</code></dd>
            <dt>Client secret</dt>
            <dd><code>${view.created.clientSecret ?? 'none: a public client'}</code></dd>
          </dl>
        </div>`
      }
      ${view.problem !== undefined && html`<p class="warn" role="alert">${view.problem}</p>`}
      <form method="post" action="/auth/clients">
        <label>Name<input type="text" name="client_name" maxlength="64" required /></label>
        <label>Callback URL<input type="url" name="redirect_uri" required /></label>
        <label
          >Client authentication<select name="token_endpoint_auth_method">
            <option value="client_secret_basic">Secret in the Authorization header</option>
            <option value="client_secret_post">Secret in the body</option>
            <option value="none">No secret (public client)</option>
          </select></label
        >
        <button type="submit">Create</button>
      </form>
      <ul>
        ${view.applications.map(
          (application) =>
            html`<li>
              ${application.name}: <code>${application.clientId}</code>
              <span class="soft"
                >${application.authMethod}${application.redirectUris.map((uri) => html` <code>${uri}</code>`)}</span
              >
            </li>`,
        )}
      </ul>`,
  };
}

export function frontPage(view: { mode: string; mcpUrl: string; oauth: boolean }) {
  return {
    title: 'The practice service runs',
    body: html`<dl>
        <dt>Mode</dt>
        <dd><code>${view.mode}</code></dd>
        <dt>MCP endpoint</dt>
        <dd><code>${view.mcpUrl}</code></dd>
      </dl>
      <ul>
        <li><a href="/openapi.json">OpenAPI document</a></li>
        ${view.oauth && html`<li><a href="/auth/clients">Applications</a></li>`}
      </ul>
      <p class="soft">The credentials stand in the terminal that started it.</p>`,
  };
}
