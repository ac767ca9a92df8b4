import type { IncomingMessage, ServerResponse } from 'node:http';
import type { Clock } from '../clock.ts';
import type { Connector } from '../connectors/connector.ts';
import type { Connectors } from '../connectors/connectors.ts';
import { createMcpKind } from '../connectors/kinds/mcp/mcp.ts';
import { listTools, probe, type Probe } from '../connectors/kinds/mcp/probe.ts';
import type { UpstreamTool } from '../connectors/tools.ts';
import type { Database } from '../database/database.ts';
import type { Egress } from '../egress/egress.ts';
import { fail } from '../errors.ts';
import type { Principal } from '../identity/principal.ts';
import type { TenantId } from '../ids.ts';
import type { Log } from '../log.ts';
import type { ProtectedResource } from '../protected-resource/protected-resource.ts';
import { answerDocument, mountMetadata } from '../protected-resource/routes.ts';
import type { Web } from '../web/web.ts';
import { Call } from './call.ts';
import { createPrompts } from './connect-prompt.ts';
import { createCredentials, isCredentialRefusal, type ConnectionSource } from './credentials.ts';
import { createEraBridge } from './era-bridge.ts';
import type { Doors, Inbound } from './inbound.ts';
import type { ListSeen } from './lists.ts';
import { Output } from './output.ts';
import { createRate } from './rate.ts';
import { createRenewal } from './renewal.ts';
import { rpcError, rpcFailure } from './rpc.ts';
import { createSessions, type Box } from './session.ts';
import { createStore } from './store.ts';
import { SessionRequest } from './stream.ts';
import { createTraffic } from './traffic.ts';

export type Gateway = {
  /**
   * What the upstream lists for this principal, or for anyone when the principal has no credential.
   * @throws ValetkeyError upstream_unauthorized, upstream_failed, upstream_invalid, egress_*
   */
  listTools(connector: Connector, principal: Principal): Promise<UpstreamTool[]>;
  /** What the upstream is and whether it lets this principal in; what goes wrong is in the answer. */
  probe(connector: Connector, principal: Principal): Promise<Probe>;
  /** A second has passed for every open request; the clock calls it, and tests do. */
  tick(): void;
  /** Writes what was recorded so far. */
  flush(): Promise<void>;
  /** Ends open streams, waits for the calls that `web.close` lets finish or cuts, and writes what is recorded. */
  stop(): Promise<void>;
};

const PATH = /^\/mcp\/([a-z0-9-]{1,64})\/([a-z0-9-]{1,64})(\/\.well-known\/[a-z-]+)?$/;

export function createGateway(options: {
  web: Pick<Web, 'mount'>;
  protectedResource: ProtectedResource;
  connectors: Pick<Connectors, 'find' | 'staticCredential' | 'onChanged' | 'catalogue' | 'missing'>;
  connections: ConnectionSource;
  vault: { box(tenant: TenantId, purpose: string): Promise<Box> };
  egress: Egress;
  clock: Clock;
  log: Log;
  database: Pick<Database, 'query'>;
  /** The document of our authorization server, for clients that look for it below the resource. */
  authorizationServerMetadata: () => unknown;
}): Gateway {
  const { connectors, connections, clock, log, protectedResource } = options;
  const { origins } = protectedResource;
  const kind = createMcpKind({ egress: options.egress, clock });
  const bridge = createEraBridge({ kind, clock });
  const renewal = createRenewal({ kind: bridge });
  const rate = createRate();
  const traffic = createTraffic({ store: createStore(options.database), clock, log });
  const open = new Set<Inbound>();
  let idle: (() => void) | undefined;
  const doors: Doors = {
    protectedResource,
    connectors,
    connections,
    credentials: createCredentials(connectors, connections),
    kind: bridge,
    sessions: createSessions(options.vault),
    renewal,
    listSeen: recordLists(connectors, clock, log),
    prompts: createPrompts(connections, connectors),
    rate,
    traffic,
    clock,
    log,
    closed(inbound) {
      open.delete(inbound);
      if (open.size === 0) idle?.();
    },
  };

  function handle(request: IncomingMessage, response: ServerResponse, path: string): void {
    const { origin } = request.headers;
    if (origin !== undefined && !origins.allows(origin)) {
      const error = { id: null, code: -32000, message: 'Pages of this origin may not call.' };
      return new Output(response, BASE).answer(403, rpcError(error));
    }
    if (request.method === 'OPTIONS') {
      response.writeHead(
        204,
        origin === undefined ? [...BASE] : [...BASE, ...origins.preflight(origin, request.headers)],
      );
      response.end();
      return;
    }
    const base = origin === undefined ? BASE : [...BASE, ...origins.headers(origin)];
    const output = new Output(response, base);
    const [, tenant, name, document] = PATH.exec(path) ?? [];
    const connector = tenant === undefined ? undefined : connectors.find(tenant as TenantId, name as string);
    // Before authentication: there is no resource that a challenge could name, and its metadata says 404 as well.
    if (connector === undefined) {
      return output.answer(404, rpcError(rpcFailure(fail('not_found'), null, 404)));
    }
    if (document !== undefined) return serveDocument(request, response, connector, document);
    const call =
      request.method === 'POST'
        ? new Call(doors, request, response, connector, output)
        : new SessionRequest(doors, request, response, connector, output);
    open.add(call);
    call.begin();
  }

  function serveDocument(
    request: IncomingMessage,
    response: ServerResponse,
    connector: Connector,
    document: string,
  ): void {
    const metadata = protectedResource.metadata(connector);
    const name = document.slice('/.well-known/'.length);
    if (name === 'oauth-protected-resource') return answerDocument(request, response, metadata);
    const known = name === 'oauth-authorization-server' || name === 'openid-configuration';
    const answer = known && metadata !== undefined ? options.authorizationServerMetadata() : undefined;
    answerDocument(request, response, answer);
  }

  options.web.mount('/mcp', handle);
  mountMetadata(options.web, protectedResource);
  const tick = (): void => {
    for (const call of open) call.tick();
  };
  const stopWatch = clock.every(1_000, tick);
  const stopListening = connections.onChanged((key) => {
    for (const call of open) if (call.concerns(key)) call.connectionChanged();
  });
  const stopSweep = clock.every(60_000, () => rate.sweep(clock.now()));

  async function upstreamFor(connector: Connector, principal: Principal): Promise<Parameters<typeof probe>[0]> {
    const answer = await doors.credentials.get(connector, principal);
    return {
      kind,
      connector,
      credential: isCredentialRefusal(answer) ? null : answer,
      signal: AbortSignal.timeout(connector.document.limits.timeoutSeconds * 1000),
    };
  }

  return {
    async listTools(connector, principal) {
      const upstream = await upstreamFor(connector, principal);
      const tools = await listTools(upstream);
      doors.listSeen(connector, principal, upstream.credential, tools);
      return tools;
    },
    probe: async (connector, principal) => await probe(await upstreamFor(connector, principal)),
    flush: async () => await traffic.flush(),
    tick,
    async stop() {
      for (const call of open) call.stop();
      await new Promise<void>((resolve) => {
        if (open.size === 0) resolve();
        else idle = resolve;
      });
      stopWatch();
      stopSweep();
      stopListening();
      bridge.close();
      kind.close();
      await traffic.stop();
    },
  };
}

/** On every answer of this endpoint; flat. */
const BASE: readonly string[] = ['x-content-type-options', 'nosniff'];

const LIST_KEPT_MS = 60_000;

/** Keeps what upstreams list, at most once a minute for each audience, for showing tools when nobody is connected. */
function recordLists(connectors: Pick<Connectors, 'catalogue'>, clock: Clock, log: Log): ListSeen {
  const recorded = new Map<string, number>();
  return (connector, principal, credential, tools) => {
    const shared = connector.connection?.owner !== 'user';
    const audience = credential === null ? 'anonymous' : shared ? 'tenant' : (principal.user ?? 'tenant');
    const key = `${connector.id}\n${connector.revision}\n${audience}`;
    const now = clock.now();
    if (now - (recorded.get(key) ?? 0) < LIST_KEPT_MS) return;
    if (recorded.size > 10_000) recorded.clear();
    recorded.set(key, now);
    connectors.catalogue.record(connector, audience, tools).catch((error: unknown) => {
      log.warn({ err: error, connector: connector.id }, 'a list of tools could not be kept');
    });
  };
}
