import type { Command } from 'commander';
import { openBrowser } from './browser.ts';
import { openGateway, type GlobalOptions } from './gateway.ts';
import { plain, table, type Terminal } from './terminal.ts';

const UPSTREAM: Record<string, string> = {
  revoked: 'The service has ended it as well.',
  pending: 'The service could not be told yet; it is tried again for a day.',
  unsupported: 'The service has no way to end it from here: its own settings page does.',
  shared: 'At the service it stays, since another connection uses the same grant.',
  nothing_to_revoke: 'There was nothing to end at the service.',
};

/** Why a connection is not healthy and what to do, and what will not last. */
function explain(item: Record<string, unknown>, terminal: Terminal): void {
  const id = String(item['id']);
  const step = item['nextStep'];
  if (item['health'] !== 'healthy' && typeof step === 'string' && item['status'] !== 'revoked') {
    terminal.err(`note: ${id}: ${plain(`${String(item['healthReason'])} ${step}`)}`);
  }
  for (const { message, hint } of item['warnings'] as { message: string; hint: string }[]) {
    terminal.err(`note: ${id}: ${plain(`${message} ${hint}`)}`);
  }
}

export function connectionCommands(program: Command, terminal: Terminal): void {
  program
    .command('connect')
    .argument('<connector>')
    .option('--scope <scope...>', 'further scopes to ask for')
    .option('--no-open', 'print the address only')
    .description('connect your account at the service behind a connector, in the browser')
    .action(async (name: string, _, command: Command) => {
      const options = command.optsWithGlobals<GlobalOptions & { open: boolean; scope?: string[] }>();
      const gateway = openGateway(options, terminal);
      const asked = options.scope === undefined ? {} : { scopes: options.scope };
      const link = await gateway.call('POST', `/connectors/${encodeURIComponent(name)}/connect`, asked);
      const url = String(link['url']);
      if (options.json === true) return terminal.out(JSON.stringify(link, null, 2));
      terminal.out(`Open this address, signed in as yourself, before ${String(link['expiresAt'])}:\n\n  ${url}\n`);
      openBrowser(url, terminal, options.open);
    });

  const group = program.command('connections').description("people's accounts at services");

  group
    .command('list')
    .option('--all', "everybody's, for an owner")
    .option('--connector <name>', 'of one connector')
    .description('your connections')
    .action(async (_, command: Command) => {
      const options = command.optsWithGlobals<GlobalOptions & { all?: true; connector?: string }>();
      const gateway = openGateway(options, terminal);
      const path =
        options.connector === undefined
          ? `/connections${options.all === true ? '?all=true' : ''}`
          : `/connectors/${encodeURIComponent(options.connector)}/connections`;
      const items = await gateway.list(path);
      if (options.json === true) return terminal.out(JSON.stringify(items, null, 2));
      const rows = items.map((item) => {
        const owner = item['owner'] as { type: string; email: string | null; id: string };
        const account = item['account'] as { label: string | null; subject: string | null };
        return [
          String(item['id']),
          String(item['connector']),
          owner.type === 'tenant' ? 'shared' : (owner.email ?? owner.id),
          account.label ?? account.subject,
          String(item['status']),
          String(item['health']),
          item['expiresAt'] as string | null,
        ];
      });
      terminal.out(table(['ID', 'CONNECTOR', 'OF', 'ACCOUNT', 'STATUS', 'HEALTH', 'EXPIRES'], rows));
      for (const item of items) explain(item, terminal);
    });

  group
    .command('revoke')
    .argument('<id>')
    .description('end a connection here and at the service')
    .action(async (id: string, _, command: Command) => {
      const options = command.optsWithGlobals<GlobalOptions>();
      const result = await openGateway(options, terminal).call('DELETE', `/connections/${encodeURIComponent(id)}`);
      if (options.json === true) return terminal.out(JSON.stringify(result, null, 2));
      terminal.out(`${id} revoked. ${UPSTREAM[String(result['upstream'])] ?? ''}`.trimEnd());
      if (typeof result['link'] === 'string') terminal.out(result['link']);
    });
}
