import { readFileSync } from 'node:fs';
import { resolve } from 'node:path';
import type { Command } from 'commander';
import { openGateway, type Gateway, type GlobalOptions } from './gateway.ts';
import { CliFailure, plain, table, type Terminal } from './terminal.ts';

type SecretOptions = { clientSecret?: string; clientSecretFile?: string };
type SetOptions = SecretOptions & { service: string; clientId: string; clientAuth?: string; public?: true };

/** Client ids and secrets of connectors at their services. */
export function authCommands(program: Command, terminal: Terminal): void {
  const group = program.command('auth').description('the client of a connector at its service');
  const at = (service: string): string => `/connectors/${encodeURIComponent(service)}/credential`;
  const open = (command: Command): { gateway: Gateway; json: boolean } => {
    const options = command.optsWithGlobals<GlobalOptions>();
    return { gateway: openGateway(options, terminal), json: options.json === true };
  };
  const show = (item: Record<string, unknown>, json: boolean): void => {
    if (json) return terminal.out(JSON.stringify(item, null, 2));
    const text = (name: string): string | null => (typeof item[name] === 'string' ? (item[name] as string) : null);
    terminal.out(
      table(
        ['CONNECTOR', 'CLIENT ID', 'SECRET', 'AUTHENTICATION'],
        [[text('connector'), text('clientId'), text('clientSecret'), text('clientAuth') ?? 'as the service says']],
      ),
    );
    terminal.out(`callback URL to allow at the service: ${plain(text('callbackUrl') ?? '')}`);
  };
  const withSecret = (command: Command): Command =>
    command
      .requiredOption('--service <connector>', 'the connector')
      .option('--client-secret <value>', 'the secret itself; can be seen by others on this machine')
      .option('--client-secret-file <path>', 'a file that holds the secret; - is the standard input');

  withSecret(group.command('set'))
    .requiredOption('--client-id <id>', 'of the application that is registered at the service')
    .option('--client-auth <method>', 'client_secret_basic, client_secret_post or none')
    .option('--public', 'the application has no secret')
    .description('set client id and secret; the secret is asked for, or read from the standard input')
    .action(async (_, command: Command) => {
      const { gateway, json } = open(command);
      const options = command.opts<SetOptions>();
      const clientSecret = options.public === true ? undefined : await readSecret(options, terminal);
      show(
        await gateway.call('PUT', at(options.service), {
          clientId: options.clientId,
          ...(clientSecret === undefined ? {} : { clientSecret }),
          ...(options.clientAuth === undefined ? {} : { clientAuth: options.clientAuth }),
        }),
        json,
      );
    });

  withSecret(group.command('rotate'))
    .option('--unproved', 'also when the service cannot be asked whether it takes the new one')
    .description('replace the client secret once the service has taken the new one')
    .action(async (_, command: Command) => {
      const { gateway, json } = open(command);
      const options = command.opts<SetOptions & { unproved?: true }>();
      const clientSecret = await readSecret(options, terminal);
      const body = { clientSecret, unproved: options.unproved === true };
      const done = await gateway.call('POST', `${at(options.service)}/rotate`, body);
      show(done, json);
      if (!json && done['proof'] === 'accepted') terminal.out('The service has taken the new secret.');
    });

  group
    .command('list')
    .requiredOption('--service <connector>', 'the connector')
    .description('the client id, and whether there is a secret')
    .action(async (_, command: Command) => {
      const { gateway, json } = open(command);
      show(await gateway.call('GET', at(command.opts<SetOptions>().service)), json);
    });

  group
    .command('remove')
    .requiredOption('--service <connector>', 'the connector')
    .description('forget client id and secret; connections made with them have to be made again')
    .action(async (_, command: Command) => {
      const { gateway } = open(command);
      const { service } = command.opts<SetOptions>();
      await gateway.call('DELETE', at(service));
      terminal.out(`client of ${service} removed`);
    });
}

async function readSecret(options: SecretOptions, terminal: Terminal): Promise<string> {
  const secret = (await given(options, terminal)).replace(/\r?\n$/, '');
  if (secret !== '') return secret;
  throw new CliFailure('The client secret is empty.', 'Type it, pipe it in, or give --client-secret-file.', {
    exitCode: 2,
  });
}

async function given(options: SecretOptions, terminal: Terminal): Promise<string> {
  if (options.clientSecret !== undefined) {
    terminal.err(
      'warning: --client-secret can be seen in the process list and the shell history; --client-secret-file cannot.',
    );
    return options.clientSecret;
  }
  if (options.clientSecretFile === undefined) {
    return (await terminal.hidden('Client secret (not shown): ')) ?? (await terminal.stdin());
  }
  if (options.clientSecretFile === '-') return await terminal.stdin();
  try {
    return readFileSync(resolve(terminal.cwd, options.clientSecretFile), 'utf8');
  } catch (cause) {
    throw new CliFailure(`${options.clientSecretFile} cannot be read.`, 'Check the path.', { cause });
  }
}
