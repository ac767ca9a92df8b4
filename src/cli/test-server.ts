import { InvalidArgumentError, Option, type Command } from 'commander';
import { z } from 'zod';
import { PERSONA_NAMES, type PersonaName } from '../test-server/personas.ts';
import type { TestServer } from '../test-server/test-server.ts';
import { MODES, ROTATIONS, type Mode, type Rotation } from '../test-server/options.ts';
import type { GlobalOptions } from './gateway.ts';
import { untilAsked } from './running.ts';
import { CliFailure, type Terminal } from './terminal.ts';

type Options = {
  mode: Mode;
  port: number;
  host: string;
  accessTokenTtl?: number;
  refreshTokenTtl?: number;
  rotation?: Rotation;
  persona: PersonaName[];
  personas?: true;
  latency?: number;
  control?: true;
  ledgerFile?: string;
};

const number = (text: string): number => {
  const value = Number(text);
  if (text.trim() === '' || !Number.isFinite(value)) throw new InvalidArgumentError('Give a number.');
  return value;
};

export function testServerCommand(program: Command, terminal: Terminal): void {
  program
    .command('test-server')
    .description('run the practice service: REST API, MCP endpoint and authorization server, no account needed')
    .addOption(new Option('--mode <mode>', 'how callers sign in').choices(MODES).default('oauth-dcr'))
    .option('--port <port>', 'where it listens', number, 3456)
    .option('--host <host>', 'address that it listens on', '127.0.0.1')
    .option('--access-token-ttl <seconds>', 'life of access tokens', number)
    .option('--refresh-token-ttl <seconds>', 'life of refresh tokens', number)
    .addOption(new Option('--rotation <kind>', 'what becomes of a used refresh token').choices(ROTATIONS))
    .addOption(new Option('--persona <names...>', 'quirks of services to take on').choices(PERSONA_NAMES).default([]))
    .option('--personas', 'list the personas and end')
    .option('--latency <ms>', 'time added to each answer', number)
    .option('--control', 'serve POST /control/… to anyone who reaches the port')
    .option('--ledger-file <path>', 'append each event to this file')
    .action(async (_, command: Command) => {
      const { json, ...options } = command.optsWithGlobals<GlobalOptions & Options>();
      if (options.personas === true) {
        const { describePersonas } = await import('../test-server/describe.ts');
        for (const line of describePersonas()) terminal.out(line);
        return;
      }
      const server = await start(options);
      const { mode, url, mcpUrl, credentials } = server;
      if (json === true) terminal.out(JSON.stringify({ mode, url, mcpUrl, credentials }));
      else {
        const { describeTestServer } = await import('../test-server/describe.ts');
        for (const line of describeTestServer(server)) terminal.out(line);
      }
      await untilAsked();
      await server.close();
    });
}

async function start(options: Options): Promise<TestServer> {
  const { mode, port, host, accessTokenTtl, refreshTokenTtl, rotation, latency, control, ledgerFile } = options;
  const { createTestServer } = await import('../test-server/test-server.ts');
  try {
    return await createTestServer({
      mode,
      port,
      host,
      personas: options.persona,
      ...(accessTokenTtl === undefined ? {} : { accessTokenTtl }),
      ...(refreshTokenTtl === undefined ? {} : { refreshTokenTtl }),
      ...(rotation === undefined ? {} : { rotation }),
      ...(latency === undefined ? {} : { latencyMs: latency }),
      ...(control === undefined ? {} : { control }),
      ...(ledgerFile === undefined ? {} : { ledgerFile }),
    });
  } catch (cause) {
    if (cause instanceof z.ZodError) {
      const [issue] = cause.issues;
      throw new CliFailure(`${issue?.path.join('.') ?? ''}: ${issue?.message ?? 'is not valid'}.`, 'See --help.', {
        exitCode: 2,
      });
    }
    if ((cause as NodeJS.ErrnoException).code !== 'EADDRINUSE') throw cause;
    throw new CliFailure(`Port ${port} on ${host} is taken.`, 'Give --port another one, or 0 for any.', { cause });
  }
}
