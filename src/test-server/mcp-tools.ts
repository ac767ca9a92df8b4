import {
  Server,
  type AuthInfo,
  type CallToolResult,
  type ServerContext,
  type Tool,
} from '@modelcontextprotocol/server';
import { z } from 'zod';
import type { Clock } from '../clock.ts';
import { describeCaller } from './api.ts';
import type { Caller } from './caller.ts';
import { Refusal } from './http.ts';
import { itemQuerySchema, newItemSchema, type Items } from './items.ts';
import type { Ledger } from './ledger.ts';

/** Tools that a token without this scope may not call: refused with HTTP 403 before the call is looked at. */
export const TOOL_SCOPES: Readonly<Record<string, string>> = {
  list_items: 'items:read',
  create_item: 'items:write',
  need_scope: 'items:write',
};

const echoSchema = z.strictObject({ text: z.string() });
const slowSchema = z.strictObject({
  ms: z.number().int().min(0).max(120_000).default(1_000),
  steps: z.number().int().min(1).max(100).default(5),
});
const nothing = { type: 'object' as const, properties: {}, additionalProperties: false };
const input = (schema: z.ZodType) => z.toJSONSchema(schema, { io: 'input' }) as Tool['inputSchema'];

const TOOLS: Tool[] = [
  {
    name: 'whoami',
    description: 'Who the credential of this call belongs to, what it may do, and how often it was refreshed.',
    inputSchema: nothing,
    annotations: { readOnlyHint: true },
  },
  {
    name: 'list_items',
    description: 'Lists items, newest last.',
    inputSchema: input(itemQuerySchema.omit({ cursor: true, limit: true })),
    annotations: { readOnlyHint: true },
  },
  { name: 'create_item', description: 'Creates an item. Needs items:write.', inputSchema: input(newItemSchema) },
  {
    name: 'echo',
    description: 'Answers with the text it was given.',
    inputSchema: input(echoSchema),
    annotations: { readOnlyHint: true },
  },
  {
    name: 'slow',
    description: 'Takes `ms` milliseconds and reports progress in `steps`.',
    inputSchema: input(slowSchema),
  },
  { name: 'fail', description: 'Fails, as a tool error.', inputSchema: nothing },
  {
    name: 'need_scope',
    description: 'Refused with insufficient_scope unless the token has items:write.',
    inputSchema: nothing,
  },
];

/** How the caller travels through the SDK; the token itself does not. */
export function authInfoOf(caller: Caller): AuthInfo {
  return { token: '', clientId: caller.clientId ?? '', scopes: caller.scopes, extra: { caller } };
}

/** One SDK server: for one request in the modern era, for one session in the legacy one. */
export function createToolServer(options: { clock: Clock; items: Items; ledger: Ledger }): Server {
  const { clock, items, ledger } = options;
  const server = new Server(
    { name: 'practice-service', title: 'Practice service', version: '1.0.0' },
    {
      capabilities: { tools: { listChanged: true } },
      instructions: 'Items to practise with. `whoami` says whose credential a call carried.',
      cacheHints: {
        'tools/list': { ttlMs: 60_000, cacheScope: 'public' },
        'server/discover': { ttlMs: 60_000, cacheScope: 'public' },
      },
    },
  );

  server.setRequestHandler('tools/list', () => ({ tools: TOOLS }));
  server.setRequestHandler('tools/call', async ({ params }, context) => {
    const caller = context.http?.authInfo?.extra?.caller as Caller;
    const run = tools[params.name];
    if (run === undefined) return failure(`There is no tool ${JSON.stringify(params.name.slice(0, 80))}.`);
    try {
      return await run(params.arguments ?? {}, caller, context);
    } catch (error) {
      if (error instanceof z.ZodError) {
        const issue = error.issues[0]!;
        return failure(`${issue.path.join('.') || 'arguments'}: ${issue.message}`);
      }
      if (error instanceof Refusal) return failure(String(error.body.error_description));
      throw error;
    }
  });

  const tools: Record<
    string,
    (args: unknown, caller: Caller, context: ServerContext) => CallToolResult | Promise<CallToolResult>
  > = {
    whoami: (_args, caller) => structured(describeCaller(caller)),
    list_items: (args) => structured(items.list(itemQuerySchema.parse(args))),
    create_item: (args, caller) => structured({ ...items.create(newItemSchema.parse(args), caller.subject) }),
    echo: (args) => text(echoSchema.parse(args).text),
    fail: () => failure('This tool always fails.'),
    need_scope: (_args, caller) => text(`The token has ${caller.scopes.join(' ')}.`),
    async slow(args, { subject, generation }, { mcpReq }) {
      const { ms, steps } = slowSchema.parse(args);
      const onAbort = () => ledger.record({ type: 'mcp_cancelled', name: 'slow', subject, generation });
      mcpReq.signal.addEventListener('abort', onAbort, { once: true });
      const progressToken = mcpReq._meta?.progressToken;
      for (let step = 1; step <= steps; step += 1) {
        if (progressToken !== undefined) {
          const params = { progressToken, progress: step, total: steps, message: `step ${step} of ${steps}` };
          await mcpReq.notify({ method: 'notifications/progress', params });
        }
        // After the notification: clients drop progress that arrives in one piece with the result.
        await clock.sleep(ms / steps, mcpReq.signal);
      }
      mcpReq.signal.removeEventListener('abort', onAbort);
      return text(`Took ${ms} ms in ${steps} steps.`);
    },
  };
  return server;
}

function text(value: string): CallToolResult {
  return { content: [{ type: 'text', text: value }] };
}

function structured(value: Record<string, unknown>): CallToolResult {
  return { content: [{ type: 'text', text: JSON.stringify(value) }], structuredContent: value };
}

function failure(value: string): CallToolResult {
  return { ...text(value), isError: true };
}
