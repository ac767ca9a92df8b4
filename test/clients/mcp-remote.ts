import { join } from 'node:path';
import { Client } from '@modelcontextprotocol/client';
import { StdioClientTransport } from '@modelcontextprotocol/client/stdio';
import type { Scratch } from './scratch.ts';

const program = join(import.meta.dirname, '../../node_modules/mcp-remote/dist/proxy.js');

export interface McpRemote {
  client: Client;
  /** What mcp-remote said on its standard error. */
  log(): string;
  close(): Promise<void>;
}

/** Starts mcp-remote the way a desktop client does, and talks to it over its standard input and output. */
export async function connectMcpRemote(url: string, browser: string, scratch: Scratch): Promise<McpRemote> {
  const transport = new StdioClientTransport({
    command: process.execPath,
    args: [program, url],
    env: scratch.environment({ BROWSER: browser }),
    cwd: scratch.home,
    stderr: 'pipe',
  });
  let log = '';
  transport.stderr?.on('data', (chunk: Buffer) => {
    log += chunk.toString('utf8');
  });
  const client = new Client({ name: 'desktop', version: '1.0.0' });
  try {
    await client.connect(transport, { timeout: 40_000 });
  } catch (error) {
    await transport.close();
    throw new Error(`mcp-remote did not connect:\n${log}`, { cause: error });
  }
  return { client, log: () => log, close: () => client.close() };
}
