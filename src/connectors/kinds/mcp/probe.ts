import type { Connector } from '../../connector.ts';
import type { Credential } from '../../credential.ts';
import type { UpstreamTool } from '../../tools.ts';
import { asValetkeyError, fail, type ValetkeyError } from '../../../errors.ts';
import { headerText, type Kind } from '../kind.ts';
import { isBridged } from './sse.ts';
import { ask, type Answer } from './ask.ts';

/** What an upstream turned out to be. */
export type Probe = {
  reachable: boolean;
  /** The newest revision it speaks; null when it did not say. */
  protocolVersion: string | null;
  /** What its revisions begin with: `server/discover` (modern) or `initialize` (legacy). */
  eras: ('modern' | 'legacy')[];
  transport: 'streamable-http' | 'sse' | null;
  /** `open`: it answered without a credential; `accepted` and `refused`: with one. */
  auth: 'open' | 'required' | 'accepted' | 'refused' | 'unknown';
  server: { name: string; version: string } | null;
  /** How many it lists; null when it does not say. */
  tools: number | null;
  error: ValetkeyError | null;
};

const MODERN = '2026-07-28';
const LEGACY = '2025-11-25';
const CLIENT = { name: 'valetkey', version: '0.1.0' };
const SERVER_KEY = 'io.modelcontextprotocol/serverInfo';
const MAX_PAGES = 50;
const MAX_TOOLS = 5_000;

const META = {
  'io.modelcontextprotocol/protocolVersion': MODERN,
  'io.modelcontextprotocol/clientInfo': CLIENT,
  'io.modelcontextprotocol/clientCapabilities': {},
};

type Result = Record<string, unknown>;
type Upstream = { kind: Kind; connector: Connector; credential: Credential | null; signal: AbortSignal };

const resultOf = (answer: Answer): Result | undefined => {
  const result = answer.message?.['result'];
  return result !== null && typeof result === 'object' ? (result as Result) : undefined;
};

async function askModern(upstream: Upstream, method: string, params: Result): Promise<Answer> {
  const message = { id: 1, method, params: { ...params, _meta: META } };
  const headers = ['mcp-protocol-version', MODERN, 'mcp-method', method];
  return await ask(upstream.kind, upstream.connector, upstream.credential, message, headers, upstream.signal);
}

/** A 2025-era session of the gateway's own. */
async function begin(upstream: Upstream): Promise<{ answer: Answer; headers: string[] }> {
  const { kind, connector, credential, signal } = upstream;
  const params = { protocolVersion: LEGACY, capabilities: {}, clientInfo: CLIENT };
  const answer = await ask(kind, connector, credential, { id: 1, method: 'initialize', params }, [], signal);
  const version = resultOf(answer)?.['protocolVersion'];
  const headers = typeof version === 'string' ? ['mcp-protocol-version', version] : [];
  const session = answer.headers['mcp-session-id'];
  if (typeof session === 'string') headers.push('mcp-session-id', session);
  if (typeof version === 'string') {
    await ask(kind, connector, credential, { method: 'notifications/initialized' }, headers, signal);
  }
  return { answer, headers };
}

/** Best effort: an upstream that keeps sessions is told that this one is over. */
function finish({ kind, connector, credential }: Upstream, headers: string[]): void {
  if (!headers.includes('mcp-session-id')) return;
  const ignore = (): void => undefined;
  kind.exchange({ connector, method: 'DELETE', headers, body: null, opening: false, stream: false }, credential, {
    replyStart: (_status, _headers, exchange) => exchange.abort(),
    replyData: ignore,
    replyEnd: ignore,
    replyFailed: ignore,
  });
}

/** Says what an upstream is, whether or not it lets the gateway in. Never throws. */
export async function probe(upstream: Upstream): Promise<Probe> {
  const found: Probe = {
    reachable: false,
    protocolVersion: null,
    eras: [],
    transport: null,
    auth: 'unknown',
    server: null,
    tools: null,
    error: null,
  };
  try {
    const modern = await askModern(upstream, 'server/discover', {});
    found.reachable = true;
    const discovered = resultOf(modern);
    if (Array.isArray(discovered?.['supportedVersions'])) {
      note(found, upstream, 'modern', MODERN, (discovered['_meta'] as Result | undefined)?.[SERVER_KEY]);
    }
    const { answer, headers } = await begin(upstream);
    const begun = resultOf(answer);
    if (typeof begun?.['protocolVersion'] === 'string') {
      note(found, upstream, 'legacy', begun['protocolVersion'], begun['serverInfo']);
      if (isBridged(headerText(answer.headers, 'mcp-session-id'))) found.transport = 'sse';
    }
    finish(upstream, headers);
    if (found.eras.length === 0) judge(found, upstream, [modern.status, answer.status]);
    else found.tools = (await listTools(upstream)).length;
  } catch (thrown) {
    found.error = asValetkeyError(thrown);
  }
  return found;
}

function note(found: Probe, upstream: Upstream, era: 'modern' | 'legacy', version: string, server: unknown): void {
  found.transport = 'streamable-http';
  found.eras.push(era);
  found.protocolVersion ??= version;
  found.auth = upstream.credential === null ? 'open' : 'accepted';
  const { name, version: release } = (server ?? {}) as { name?: unknown; version?: unknown };
  if (typeof name === 'string') found.server = { name, version: typeof release === 'string' ? release : '' };
}

function judge(found: Probe, upstream: Upstream, statuses: number[]): void {
  if (statuses.some((status) => status === 401 || status === 403)) {
    found.transport = 'streamable-http';
    found.auth = upstream.credential === null ? 'required' : 'refused';
  } else if (statuses.some((status) => status >= 500)) {
    found.error = fail('upstream_failed', { detail: { statuses } });
  } else if (statuses.some((status) => status >= 300 && status < 400)) {
    found.error = fail('upstream_redirect', { detail: { statuses } });
  } else found.error = fail('upstream_invalid', { detail: { statuses } });
}

/**
 * Every tool that this credential sees, page by page.
 * @throws ValetkeyError upstream_unauthorized when the upstream wants another credential; upstream_failed,
 *   upstream_invalid, egress_*
 */
export async function listTools(upstream: Upstream): Promise<UpstreamTool[]> {
  const { answer, headers } = await begin(upstream);
  if (resultOf(answer) !== undefined) {
    try {
      return await pages(async (params) => {
        const { kind, connector, credential, signal } = upstream;
        return await ask(kind, connector, credential, { id: 2, method: 'tools/list', params }, headers, signal);
      });
    } finally {
      finish(upstream, headers);
    }
  }
  if (answer.status === 401 || answer.status === 403) throw fail('upstream_unauthorized');
  return await pages(async (params) => await askModern(upstream, 'tools/list', params));
}

async function pages(page: (params: Result) => Promise<Answer>): Promise<UpstreamTool[]> {
  const tools: UpstreamTool[] = [];
  let cursor: unknown;
  for (let count = 0; count < MAX_PAGES && tools.length < MAX_TOOLS; count++) {
    const answer = await page(cursor === undefined ? {} : { cursor });
    const result = resultOf(answer);
    if (answer.status === 401 || answer.status === 403) throw fail('upstream_unauthorized');
    if (answer.status >= 500) throw fail('upstream_failed', { detail: { status: answer.status } });
    if (!Array.isArray(result?.['tools'])) throw fail('upstream_invalid', { detail: { status: answer.status } });
    for (const tool of result['tools'] as unknown[]) {
      const named = tool !== null && typeof tool === 'object' && typeof (tool as UpstreamTool).name === 'string';
      if (named) tools.push(tool as UpstreamTool);
    }
    cursor = result['nextCursor'];
    if (typeof cursor !== 'string') break;
  }
  return tools.slice(0, MAX_TOOLS);
}
