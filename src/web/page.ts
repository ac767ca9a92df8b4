import { html, raw } from 'hono/html';
import type { HtmlEscapedString } from 'hono/utils/html';
import { ValetkeyError, ERRORS } from '../errors.ts';
import { PAGE_HEADERS } from './security-headers.ts';
import { ICON_PATH, MARK_PATH, STYLE_PATH } from './style.ts';

export { html };
export type Html = HtmlEscapedString | Promise<HtmlEscapedString>;

export type Page = {
  title: string;
  body: Html;
  /** Next to the wordmark: who is signed in. */
  signedInAs?: string | undefined;
  /**
   * Takes the browser on by itself after `seconds`. A redirect that answers a form post is subject to the page's
   * `form-action` in Chromium; a refresh is a new navigation. The body has to hold a link to the same place.
   */
  refresh?: { url: string; seconds: number } | undefined;
};

const MARK = raw(
  `<svg class="mark" viewBox="0 0 24 24" width="24" height="24" aria-hidden="true"><path d="${MARK_PATH}" fill="currentColor"/></svg>`,
);

/** A whole document: one column, no script. Everything interpolated by `html` is escaped. */
export async function renderPage(page: Page): Promise<string> {
  const refresh =
    page.refresh === undefined
      ? ''
      : html`<meta http-equiv="refresh" content="${page.refresh.seconds};url=${page.refresh.url}" />`;
  const who =
    page.signedInAs === undefined
      ? ''
      : html`<p class="who">
          Signed in as <a href="/account"><strong>${page.signedInAs}</strong></a>
        </p>`;
  return String(
    await html`<!doctype html>
      <html lang="en">
        <head>
          <meta charset="utf-8" />
          <meta name="viewport" content="width=device-width, initial-scale=1" />
          <meta name="color-scheme" content="light dark" />
          <meta name="robots" content="noindex" />
          ${refresh}
          <title>${page.title} · Valetkey</title>
          <link rel="stylesheet" href="${STYLE_PATH}" />
          <link rel="icon" type="image/svg+xml" href="${ICON_PATH}" />
        </head>
        <body>
          <header class="top">
            <a href="/" class="brand">${MARK}<span>Valetkey</span></a
            >${who}
          </header>
          <main id="main">${page.body}</main>
        </body>
      </html>`,
  );
}

export async function pageResponse(
  page: Page,
  init: { status?: number; headers?: Record<string, string> } = {},
): Promise<Response> {
  return new Response(await renderPage(page), {
    status: init.status ?? 200,
    headers: { 'content-type': 'text/html; charset=utf-8', ...PAGE_HEADERS, ...init.headers },
  });
}

/** The page of an error: what was wrong, what to do next, and what to quote to the operator. */
export async function errorPage(error: ValetkeyError, extra?: Html): Promise<Response> {
  const entry = ERRORS[error.code];
  return await pageResponse(
    {
      title: entry.message.replace(/\.$/, ''),
      body: html`<h1>${entry.message}</h1>
        ${error.message === entry.message ? '' : html`<p>${error.message}</p>`}
        <p class="hint">${error.hint}</p>
        ${extra ?? html`<div class="actions"><a class="button quiet" href="/">Start page</a></div>`}
        <dl class="facts">
          <dt>Code</dt>
          <dd><code>${error.code}</code></dd>
          ${
            error.flow === undefined
              ? ''
              : html`<dt>Flow</dt>
                  <dd><code>${error.flow}</code></dd>`
          }
        </dl>`,
    },
    { status: error.status },
  );
}
