import { Command, CommanderError } from 'commander';
import { packageVersion } from '../admin/version.ts';
import { asValetkeyError } from '../errors.ts';
import { authCommands } from './auth.ts';
import { configCommands } from './config.ts';
import { connectionCommands } from './connections.ts';
import { connectorCommands } from './connectors.ts';
import { demoCommand } from './demo.ts';
import { instanceCommands } from './instance.ts';
import { doctorCommand } from './doctor.ts';
import { loginCommands } from './login.ts';
import { serveCommand } from './serve.ts';
import { CliFailure, plain, type Terminal } from './terminal.ts';
import { testServerCommand } from './test-server.ts';
import { userCommands } from './users.ts';

/** Runs one command. @returns the exit code: 0 done, 1 failed, 2 wrong use */
export async function run(argv: readonly string[], terminal: Terminal): Promise<number> {
  const program = new Command('valetkey')
    .description('Self-hosted OAuth gateway for MCP')
    .version(packageVersion(), '--version')
    .option('--url <url>', 'the gateway to talk to (VALETKEY_URL)')
    .option('--token <token>', 'an API token; better in VALETKEY_TOKEN')
    .option('--json', 'print JSON')
    .exitOverride()
    .configureOutput({
      writeOut: (text) => terminal.out(text.trimEnd()),
      writeErr: (text) => terminal.err(text.trimEnd()),
      outputError: (text) => terminal.err(usageError(text)),
    });
  serveCommand(program, terminal);
  demoCommand(program, terminal);
  testServerCommand(program, terminal);
  loginCommands(program, terminal);
  connectorCommands(program, terminal);
  connectionCommands(program, terminal);
  authCommands(program, terminal);
  userCommands(program, terminal);
  let failed = false;
  doctorCommand(program, terminal, () => {
    failed = true;
  });
  instanceCommands(program, terminal);
  configCommands(program, terminal);
  inherit(program);

  try {
    await program.parseAsync([...argv], { from: 'user' });
    return failed ? 1 : 0;
  } catch (thrown) {
    if (thrown instanceof CommanderError) return thrown.exitCode === 0 ? 0 : 2;
    return report(thrown, terminal);
  }
}

/** Settings of the output reach only commands that are made afterwards by `createCommand`. */
function inherit(command: Command): void {
  for (const child of command.commands) {
    child.copyInheritedSettings(command);
    inherit(child);
  }
}

function report(thrown: unknown, terminal: Terminal): number {
  if (thrown instanceof CliFailure) {
    terminal.err(`error: ${plain(thrown.message)}\nhint: ${plain(thrown.hint)}`);
    return thrown.exitCode;
  }
  const error = asValetkeyError(thrown);
  terminal.err(`error: ${plain(error.message)} (${error.code})\nhint: ${plain(error.hint)}`);
  if (error.code === 'internal' && error.cause instanceof Error) terminal.err(error.cause.stack ?? error.cause.message);
  return 1;
}

/** Commander's sentence as ours: `error:`, then `hint:`. */
function usageError(text: string): string {
  const [first = '', ...rest] = text.trim().split('\n');
  const near = /Did you mean ([^?]*)\?/.exec(rest.join(' '))?.[1];
  return `${first}\nhint: ${near === undefined ? 'valetkey --help shows what there is.' : `Did you mean ${near}?`}`;
}
