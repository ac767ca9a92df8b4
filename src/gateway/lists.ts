import type { Connector } from '../connectors/connector.ts';
import type { Credential } from '../connectors/credential.ts';
import type { ToolEntry, UpstreamTool } from '../connectors/tools.ts';
import type { Principal } from '../identity/principal.ts';
import type { Envelope, Message } from './envelope.ts';
import type { Change } from './rewrite.ts';
import type { RpcId } from './rpc.ts';

/** Results that 2026-07-28 lets others cache (SEP-2549). */
export const CACHEABLE = new Set([
  'server/discover',
  'tools/list',
  'prompts/list',
  'resources/list',
  'resources/templates/list',
  'resources/read',
]);

/** Hears of a complete list of tools, as the upstream has it for this credential. */
export type ListSeen = (
  connector: Connector,
  principal: Principal,
  credential: Credential | null,
  tools: UpstreamTool[],
) => void;

type RpcResponse = { id?: RpcId; result?: Record<string, unknown> };

/**
 * What must be changed in the reply to this request, or undefined when it may pass unread: tools that are off leave
 * the list, renamed ones take their name, and what a person's credential obtained is never `public`, whatever the
 * upstream says of it.
 * @param seen hears of a complete list of tools, as the upstream has it
 */
export function changeOf(
  connector: Connector,
  envelope: Envelope,
  personal: boolean,
  seen: (tools: UpstreamTool[]) => void,
): Change | undefined {
  const requests: readonly Message[] = envelope.batch ?? [envelope];
  const lists = requests.filter((message) => message.method === 'tools/list' && message.kind === 'request');
  const caches = envelope.era === 'modern' && CACHEABLE.has(envelope.method);
  if (lists.length === 0 && !(caches && personal)) return undefined;
  const ids = new Set(lists.map((message) => message.id));
  const whole = lists.length === 1 && lists[0]?.params?.['cursor'] === undefined;

  return (message) => {
    const { id, result } = (message ?? {}) as RpcResponse;
    if (result === undefined || result === null || typeof result !== 'object') return undefined;
    let changed: Record<string, unknown> | undefined;
    if (id !== undefined && ids.has(id) && Array.isArray(result['tools'])) {
      const tools = result['tools'].filter(isTool);
      if (whole && result['nextCursor'] === undefined) seen(tools);
      if (!connector.tools.passAll) changed = { ...result, tools: visibleTools(connector, tools) };
    }
    if (caches && result['cacheScope'] === 'public' && (personal || changed !== undefined)) {
      changed = { ...(changed ?? result), cacheScope: 'private' };
    }
    return changed === undefined ? undefined : { ...(message as object), result: changed };
  };
}

export function visibleTools(connector: Connector, tools: readonly UpstreamTool[]): UpstreamTool[] {
  return connector.tools
    .view(tools)
    .filter((entry: ToolEntry) => entry.on)
    .map((entry: ToolEntry) =>
      entry.publicName === entry.name ? entry.tool : { ...entry.tool, name: entry.publicName },
    );
}

function isTool(tool: unknown): tool is UpstreamTool {
  return tool !== null && typeof tool === 'object' && typeof (tool as UpstreamTool).name === 'string';
}
