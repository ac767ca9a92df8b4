import { formsOf, refreshTarget, unescape, viewOf } from './page.ts';
import type { Surface } from './walk.ts';

/* A browser without screen or script: cookies, redirects, forms and refreshes. Our pages need no more. */

export interface PlainBrowser extends Surface {
  /** Opens a URL, following redirects until a page, or until `stopAt` names a URL (which is then not fetched). */
  open(url: string): Promise<void>;
  html(): string;
  status(): number;
  /** Every URL visited, in order. */
  visited: string[];
}

export function createPlainBrowser(stopAt: (url: string) => boolean = () => false): PlainBrowser {
  // Cookies are kept by host name: like in any browser, ports do not part them.
  const jar = new Map<string, Map<string, string>>();
  const visited: string[] = [];
  let here = { url: 'about:blank', html: '', status: 0 };

  function remember(url: URL, response: Response) {
    const cookies = jar.get(url.hostname) ?? new Map<string, string>();
    jar.set(url.hostname, cookies);
    for (const line of response.headers.getSetCookie()) {
      const [pair = '', ...attributes] = line.split(';');
      const at = pair.indexOf('=');
      const name = pair.slice(0, at).trim();
      const gone = attributes.some((text) => /^\s*max-age=0\s*$/i.test(text) || /^\s*expires=.*1970/i.test(text));
      if (gone) cookies.delete(name);
      else cookies.set(name, pair.slice(at + 1).trim());
    }
  }

  async function go(start: string, init: RequestInit = {}): Promise<void> {
    let url = new URL(start);
    let request = init;
    for (let hops = 0; hops < 20; hops += 1) {
      visited.push(url.href);
      if (stopAt(url.href)) {
        here = { url: url.href, html: '', status: 0 };
        return;
      }
      const headers = new Headers(request.headers);
      headers.set('accept', 'text/html,*/*;q=0.8');
      const cookies = jar.get(url.hostname);
      if (cookies?.size) headers.set('cookie', [...cookies].map(([name, value]) => `${name}=${value}`).join('; '));
      const response = await fetch(url, { ...request, headers, redirect: 'manual' });
      remember(url, response);
      const location = response.headers.get('location');
      if (location === null || response.status < 300 || response.status > 399) {
        here = { url: url.href, html: await response.text(), status: response.status };
        return;
      }
      await response.body?.cancel();
      url = new URL(location, url);
      if (response.status !== 307 && response.status !== 308) request = {};
    }
    throw new Error(`More than 20 redirects from ${start}`);
  }

  return {
    visited,
    open: (url) => go(url),
    html: () => here.html,
    status: () => here.status,
    view: async () => viewOf(here.url, here.html),
    async awaitRefresh() {
      const target = refreshTarget(here.html);
      if (target !== undefined) await go(new URL(target, here.url).href);
    },
    async submit(form, values, button) {
      const parsed = formsOf(here.html)[form.index];
      if (!parsed) throw new Error(`No form ${form.index} on ${here.url}`);
      const body = new URLSearchParams(parsed.hidden);
      for (const [name, value] of Object.entries(values)) body.set(name, value);
      const pressed = parsed.submits.find((submit) => submit.label === button);
      if (pressed?.name !== undefined) body.set(pressed.name, pressed.value);
      const action = new URL(unescape(parsed.action) || here.url, here.url);
      if (parsed.method === 'get') {
        action.search = body.toString();
        return go(action.href);
      }
      return go(action.href, {
        method: 'POST',
        body: body.toString(),
        headers: { 'content-type': 'application/x-www-form-urlencoded', origin: new URL(here.url).origin },
      });
    },
  };
}
