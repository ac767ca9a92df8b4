import type { Command } from 'commander';
import { existsSync } from 'node:fs';
import { enableCompileCache } from 'node:module';
import { join } from 'node:path';
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
      // From the second start on: a quarter less time. In the data folder, since what lies there runs as this process.
      if (existsSync(config.dataDir)) enableCompileCache(join(config.dataDir, 'compiled'));
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
