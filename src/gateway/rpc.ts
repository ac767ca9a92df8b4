import { type ErrorCode, type ValetkeyError } from '../errors.ts';

/** JSON-RPC 2.0 §5.1 and MCP 2026-07-28 "Error Codes". */
export const RPC = {
  parse: -32700,
  invalidRequest: -32600,
  methodNotFound: -32601,
  invalidParams: -32602,
  internal: -32603,
  /** Ours, in the range left to implementations; `data.code` says which of docs/errors.md it is. */
  gateway: -32000,
  headerMismatch: -32020,
  missingCapability: -32021,
  unsupportedVersion: -32022,
} as const;

export type RpcId = string | number | null;

/** A request that is answered by the gateway itself with a JSON-RPC error. */
export type RpcRefusal = {
  status: number;
  code: number;
  message: string;
  id: RpcId;
  data?: Record<string, unknown>;
};

export function rpcError(refusal: Omit<RpcRefusal, 'status'>): string {
  const { id, code, message, data } = refusal;
  return JSON.stringify({
    jsonrpc: '2.0',
    id,
    error: data === undefined ? { code, message } : { code, message, data },
  });
}

export function rpcResult(id: RpcId, result: unknown): string {
  return JSON.stringify({ jsonrpc: '2.0', id, result });
}

/** One of our errors for an MCP client: message and hint in the text, since that is what people and models see. */
export function rpcFailure(
  error: ValetkeyError,
  id: RpcId,
  status: number,
  more: Record<string, unknown> = {},
): RpcRefusal {
  const code: ErrorCode = error.code;
  return {
    status,
    code: RPC.gateway,
    message: `${error.message} ${error.hint}`,
    id,
    data: { code, hint: error.hint, ...(error.flow === undefined ? {} : { flow: error.flow }), ...more },
  };
}
