import type { Command } from 'commander';
import { systemClock } from '../clock.ts';
import { untilAsked } from './running.ts';
import type { Terminal } from './terminal.ts';

export function serveCommand(program: Command, terminal: Terminal): void {
  program
    .command('serve')
    .description('run the gateway')
    .action(async () => {
      const { loadConfig } = await import('../config.ts');
      const { createLog } = await import('../log.ts');
      const config = loadConfig(terminal.env, terminal.cwd);
      const { startServer } = await import('../server.ts');
      const log = createLog({ level: config.logLevel });
      const server = await startServer({ config, log, clock: systemClock });
      terminal.out(`Valetkey is at ${server.url}`);
      if (server.setUpLink !== null) {
        terminal.out(`\nNobody has an account yet. This link makes the owner's, once:\n\n  ${server.setUpLink}\n`);
      }
      await untilAsked();
      terminal.out('Stopping: calls in flight finish first.');
      await server.close();
    });
}
