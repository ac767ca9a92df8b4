import { join } from 'node:path';
import type { Command } from 'commander';
import { systemClock } from '../clock.ts';
import type { Config } from '../config.ts';
import type { RunningServer } from '../server.ts';
import type { TestServer } from '../test-server/test-server.ts';
import { untilAsked } from './running.ts';
import { CliFailure, type Terminal } from './terminal.ts';

/** How many ports are tried before giving up, where nobody asked for a particular one. */
const TRIES = 20;

export function demoCommand(program: Command, terminal: Terminal): void {
  program
    .command('demo')
    .description('run a gateway and a practice service with one connector between them')
    .action(async () => {
      const { createTestServer } = await import('../test-server/test-server.ts');
      const practice = await nextFree(3456, (port) => createTestServer({ mode: 'oauth-dcr', port }));
      try {
        const server = await startGateway(practice, terminal);
        for (const line of introduction(server, practice)) terminal.out(line);
        await untilAsked();
        await server.close(2_000);
      } finally {
        await practice.close();
      }
    });
}

async function startGateway(practice: TestServer, terminal: Terminal): Promise<RunningServer> {
  const { startServer } = await import('../server.ts');
  const { loadConfig } = await import('../config.ts');
  const { createLog } = await import('../log.ts');
  const asked = loadConfig(terminal.env, terminal.cwd);
  const level = asked.sources['logLevel'] === 'default' ? 'warn' : asked.logLevel;
  const log = createLog({ level });
  const start = async (port: number): Promise<RunningServer> => {
    const config = loadConfig({ ...terminal.env, VALETKEY_PORT: String(port) }, terminal.cwd);
    return await startServer({ config: withPractice(config, asked, practice), log, clock: systemClock });
  };
  return asked.sources['port'] === 'default' ? await nextFree(asked.port, start) : await start(asked.port);
}

function withPractice(config: Config, asked: Config, practice: TestServer): Config {
  const connector = {
    name: 'practice',
    title: 'Practice service',
    description: 'A service on this machine to try things out with.',
    url: practice.mcpUrl,
    auth: { type: 'oauth2' },
  };
  // A demo leaves the gateway that may live in the same folder alone.
  const dataDir = asked.sources['dataDir'] === 'default' ? join(config.dataDir, 'demo') : config.dataDir;
  return { ...config, dataDir, connectors: [...config.connectors, connector] };
}

async function nextFree<T>(first: number, start: (port: number) => Promise<T>): Promise<T> {
  for (let port = first; port < first + TRIES; port++) {
    try {
      return await start(port);
    } catch (error) {
      if (!isTaken(error)) throw error;
    }
  }
  throw new CliFailure(`The ports ${first} to ${first + TRIES - 1} are taken.`, 'Set VALETKEY_PORT to a free one.');
}

function isTaken(error: unknown): boolean {
  for (let cause = error; cause instanceof Error; cause = cause.cause) {
    if ((cause as NodeJS.ErrnoException).code === 'EADDRINUSE') return true;
  }
  return false;
}

function introduction(server: RunningServer, practice: TestServer): string[] {
  const mcpUrl = `${server.url}/mcp/default/practice`;
  const accounts = practice.credentials.users.map(({ username, password }) => `${username} / ${password}`);
  return [
    `Valetkey is at ${server.url}, the practice service at ${practice.url}`,
    '',
    ...(server.setUpLink === null
      ? ['1. Sign in:', `     ${server.url}/sign-in`]
      : ["1. Make the owner's account (the link works once):", `     ${server.setUpLink}`]),
    '',
    '2. Add the connector to an MCP client:',
    `     ${mcpUrl}`,
    '',
    `     claude mcp add --transport http practice ${mcpUrl} && claude mcp login practice`,
    `     codex mcp add practice --url ${mcpUrl}`,
    `     code --add-mcp '${JSON.stringify({ name: 'practice', type: 'http', url: mcpUrl })}'`,
    `     ${JSON.stringify({ mcpServers: { practice: { url: mcpUrl } } })}`,
    '',
    '3. The client opens a browser: sign in to Valetkey, then to the practice service with one of its accounts:',
    ...accounts.map((account) => `     ${account}`),
    '',
    'Ctrl-C stops both.',
  ];
}
