import { mayUse, type Connector } from '../connectors/connector.ts';
import type { Principal } from '../identity/principal.ts';
import type { Envelope, Message } from './envelope.ts';
import { RPC, type RpcRefusal } from './rpc.ts';

export type Decision = {
  /** The upstream's name of the tool, when clients know it under another. */
  rename: string | undefined;
};

const AS_IT_IS: Decision = { rename: undefined };

/** The one decision on who may do what: what is refused here to a call is what is left out of a list. */
export function decide(principal: Principal, connector: Connector, envelope: Envelope): Decision | RpcRefusal {
  if (!mayUse(connector, principal)) {
    return {
      status: 403,
      code: RPC.gateway,
      message: 'You may not use this connector. Ask its owner to let you in.',
      id: envelope.id,
      data: { code: 'access_denied' },
    };
  }
  if (connector.tools.passAll) return AS_IT_IS;
  if (envelope.batch !== undefined) {
    for (const message of envelope.batch) {
      const decision = decideTool(connector, message);
      if ('status' in decision) return decision;
      if (decision.rename !== undefined) {
        return { status: 400, code: RPC.invalidRequest, message: 'Call this tool outside of a batch.', id: message.id };
      }
    }
    return AS_IT_IS;
  }
  return decideTool(connector, envelope);
}

function decideTool(connector: Connector, message: Message): Decision | RpcRefusal {
  if (message.method !== 'tools/call') return AS_IT_IS;
  const tool = message.name === undefined ? undefined : connector.tools.resolve(message.name);
  if (tool === undefined || !tool.on) {
    // What is switched off does not exist for the client: the answer that the specification has for unknown tools.
    return {
      status: 200,
      code: RPC.invalidParams,
      message: `Unknown tool: ${(message.name ?? '').slice(0, 128)}`,
      id: message.id,
    };
  }
  return tool.upstream === message.name ? AS_IT_IS : { rename: tool.upstream };
}
