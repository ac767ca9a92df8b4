import type { Command } from 'commander';
import { openGateway, type GlobalOptions } from './gateway.ts';
import type { Terminal } from './terminal.ts';

const WAS: Record<string, string> = {
  copied: 'It was taken for a copy of another one.',
  restored: 'It was taken for an older state of itself.',
};

export function instanceCommands(program: Command, terminal: Terminal): void {
  program
    .command('adopt')
    .description('say that a copied or restored database is the one that renews tokens from now on')
    .action(async (_, command: Command) => {
      const options = command.optsWithGlobals<GlobalOptions>();
      const gateway = openGateway(options, terminal);
      const result = await gateway.call('POST', '/instance/adopt');
      if (options.json === true) return terminal.out(JSON.stringify(result, null, 2));
      const was = WAS[String(result['was'])];
      if (was === undefined) return terminal.out('There was nothing to adopt: this database renews tokens already.');
      terminal.out(`Adopted, epoch ${String(result['epoch'])}. ${was} Nothing else may run on the original.`);
    });
}
