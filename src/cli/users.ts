import type { Command } from 'commander';
import { openGateway, type Gateway, type GlobalOptions } from './gateway.ts';
import { CliFailure, table, type Terminal } from './terminal.ts';

export function userCommands(program: Command, terminal: Terminal): void {
  const group = program.command('users').description('the people of the tenant');

  group
    .command('list')
    .description('everybody')
    .action(async (_, command: Command) => {
      const options = command.optsWithGlobals<GlobalOptions>();
      const items = await openGateway(options, terminal).list('/users');
      if (options.json === true) return terminal.out(JSON.stringify(items, null, 2));
      const rows = items.map((item) => [
        String(item['id']),
        String(item['email']),
        String(item['name']),
        String(item['role']),
        item['disabledAt'] !== null ? 'disabled' : item['pending'] === true ? 'invited' : 'active',
      ]);
      terminal.out(table(['ID', 'EMAIL', 'NAME', 'ROLE', 'STATE'], rows));
    });

  group
    .command('invite')
    .argument('<email>')
    .option('--name <name>', 'how the person is called', '')
    .option('--role <role>', 'owner or member', 'member')
    .description('print a link where the person sets a password')
    .action(async (email: string, _, command: Command) => {
      const options = command.optsWithGlobals<GlobalOptions & { name: string; role: string }>();
      const { name, role } = options;
      const invited = await openGateway(options, terminal).call('POST', '/users', { email, name, role });
      if (options.json === true) return terminal.out(JSON.stringify(invited, null, 2));
      terminal.out(`Give this link to ${email}; it works once, for 7 days:\n\n  ${String(invited['invitationUrl'])}\n`);
    });

  for (const [verb, disabled, what] of [
    ['disable', true, 'sign a person out everywhere and keep them out'],
    ['enable', false, 'let a disabled person back in'],
  ] as const) {
    group
      .command(verb)
      .argument('<user>', 'id or e-mail address')
      .description(what)
      .action(async (user: string, _, command: Command) => {
        const gateway = openGateway(command.optsWithGlobals<GlobalOptions>(), terminal);
        await gateway.call('PATCH', `/users/${encodeURIComponent(await idOf(gateway, user))}`, { disabled });
        terminal.out(`${user} ${verb}d`);
      });
  }
}

async function idOf(gateway: Gateway, user: string): Promise<string> {
  if (!user.includes('@')) return user;
  const found = (await gateway.list('/users')).find((item) => item['email'] === user.trim().toLowerCase());
  if (found === undefined) throw new CliFailure(`There is no user ${user}.`, 'valetkey users list shows everybody.');
  return String(found['id']);
}
