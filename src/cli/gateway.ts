import { z } from 'zod';
import { systemClock } from '../clock.ts';
import { requestToken } from './oauth.ts';
import { CliFailure, type Terminal } from './terminal.ts';
import { createTokenFile } from './token-file.ts';

export type GlobalOptions = { url?: string; token?: string; json?: boolean };

export type Page = { items: Record<string, unknown>[]; next: string | null };

/** The admin API of one gateway, as the caller. */
export type Gateway = {
  readonly url: string;
  /** @throws CliFailure what the API refused, with its hint */
  call(method: string, path: string, body?: unknown): Promise<Record<string, unknown>>;
  /** Every page of a list. */
  list(path: string): Promise<Record<string, unknown>[]>;
};

const DEFAULT_URL = 'http://localhost:8787';
const problemSchema = z.object({
  code: z.string(),
  detail: z.string(),
  hint: z.string(),
  flow: z.string().optional(),
});

/** `--url`, VALETKEY_URL, the gateway that was signed in to last, or the default. */
export function gatewayUrl(options: GlobalOptions, terminal: Terminal): string {
  const url = options.url ?? terminal.env['VALETKEY_URL'] ?? createTokenFile(terminal).current() ?? DEFAULT_URL;
  if (!URL.canParse(url) || !/^https?:$/.test(new URL(url).protocol)) {
    throw new CliFailure(`${url} is not the address of a gateway.`, 'Give --url https://host.', { exitCode: 2 });
  }
  return url.replace(/\/+$/, '');
}

export function openGateway(options: GlobalOptions, terminal: Terminal): Gateway {
  const url = gatewayUrl(options, terminal);

  async function bearer(): Promise<string> {
    if (options.token !== undefined) {
      terminal.err('warning: --token can be seen in the process list and the shell history; VALETKEY_TOKEN cannot.');
      return options.token;
    }
    const fromEnvironment = terminal.env['VALETKEY_TOKEN'];
    if (fromEnvironment !== undefined && fromEnvironment !== '') return fromEnvironment;
    const file = createTokenFile(terminal);
    const held = file.read(url);
    if (held === undefined) {
      throw new CliFailure(`Not signed in to ${url}.`, 'Run valetkey login, or set VALETKEY_TOKEN.');
    }
    if (held.expiresAt > systemClock.now() + 10_000 || held.refreshToken === null) return held.accessToken;
    const renewed = await requestToken(held.tokenEndpoint, {
      grant_type: 'refresh_token',
      refresh_token: held.refreshToken,
      resource: `${url}/api/v1`,
    });
    if (renewed === undefined) {
      file.remove(url);
      throw new CliFailure(`The sign-in to ${url} has ended.`, 'Run valetkey login.');
    }
    file.write(url, { ...held, ...renewed, refreshToken: renewed.refreshToken ?? held.refreshToken });
    return renewed.accessToken;
  }

  async function call(method: string, path: string, body?: unknown): Promise<Record<string, unknown>> {
    const authorization = `Bearer ${await bearer()}`;
    const response = await reach(`${url}/api/v1${path}`, {
      method,
      redirect: 'error',
      headers: {
        authorization,
        accept: 'application/json',
        ...(body === undefined ? {} : { 'content-type': 'application/json' }),
      },
      ...(body === undefined ? {} : { body: JSON.stringify(body) }),
    });
    const text = await response.text();
    const parsed = parseJson(text);
    if (response.ok) return (parsed ?? {}) as Record<string, unknown>;
    const problem = problemSchema.safeParse(parsed);
    if (!problem.success) {
      throw new CliFailure(
        `${url} answered ${response.status} without saying why.`,
        'Is this the address of a Valetkey gateway?',
      );
    }
    const { code, detail, hint, flow } = problem.data;
    throw new CliFailure(`${detail} (${code}${flow === undefined ? '' : `, flow ${flow}`})`, hint);
  }

  return {
    url,
    call,
    async list(path) {
      const items: Record<string, unknown>[] = [];
      let cursor: string | null = null;
      do {
        const separator = path.includes('?') ? '&' : '?';
        const page = (await call(
          'GET',
          cursor === null ? path : `${path}${separator}cursor=${encodeURIComponent(cursor)}`,
        )) as Page;
        items.push(...page.items);
        cursor = page.next;
      } while (cursor !== null);
      return items;
    },
  };
}

/** `fetch`, with a refusal that a person can act on. */
export async function reach(address: string, init: RequestInit = {}): Promise<Response> {
  try {
    return await fetch(address, { signal: AbortSignal.timeout(120_000), ...init });
  } catch (cause) {
    const { origin } = new URL(address);
    throw new CliFailure(`${origin} could not be reached.`, 'Is the gateway running? valetkey serve starts it.', {
      cause,
    });
  }
}

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}
