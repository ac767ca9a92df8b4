/** The calls that are measured and the answers that they must get, byte for byte. */

export const PATH = '/mcp';

/** What the upstream takes from nginx and from direct calls; the gateway has to get tokens of its own. */
export const STATIC_TOKEN = 'static-token-of-the-bench';

const VERSION = '2026-07-28';

export type Size = 'small' | 'large';

function callOf(tool: string, args: Record<string, unknown>, meta: Record<string, unknown> = {}): string {
  return JSON.stringify({
    jsonrpc: '2.0',
    id: 1,
    method: 'tools/call',
    params: {
      name: tool,
      arguments: args,
      _meta: {
        'io.modelcontextprotocol/protocolVersion': VERSION,
        'io.modelcontextprotocol/clientInfo': { name: 'bench', version: '1.0.0' },
        'io.modelcontextprotocol/clientCapabilities': {},
        ...meta,
      },
    },
  });
}

function answerOf(bytes: number): string {
  const around = JSON.stringify(resultOf(''));
  return JSON.stringify(resultOf('marker '.repeat(Math.ceil(bytes / 7)).slice(0, bytes - around.length)));
}

function resultOf(text: string): Record<string, unknown> {
  const result = { resultType: 'complete', content: [{ type: 'text', text }], isError: false };
  return { jsonrpc: '2.0', id: 1, result };
}

export const CALLS: Record<Size, { body: string; answer: string }> = {
  small: { body: callOf('small', { text: 'hello' }), answer: answerOf(200) },
  large: { body: callOf('large', { text: 'hello' }), answer: answerOf(1024 * 1024) },
};

/** A stream of `count` events, one every `everyMs`, each carrying the time at which it was written. */
export function streamCall(count: number, everyMs: number): string {
  return callOf('ticks', { count, everyMs }, { progressToken: 'ticks' });
}

/** What a client of the newest revision sends along with a call of `tool`. */
export function headersOf(tool: string, token: string): Record<string, string> {
  return {
    'content-type': 'application/json',
    accept: 'application/json, text/event-stream',
    authorization: `Bearer ${token}`,
    'mcp-protocol-version': VERSION,
    'mcp-method': 'tools/call',
    'mcp-name': tool,
  };
}

/** Nanoseconds of the machine's monotonic clock, the same in every process. */
export function monotonicNanoseconds(): bigint {
  return process.hrtime.bigint();
}
