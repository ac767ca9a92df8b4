import type { Command } from 'commander';
import { Secret } from '../secret.ts';
import type { GlobalOptions } from './gateway.ts';
import { CliFailure, table, type Terminal } from './terminal.ts';

export function configCommands(program: Command, terminal: Terminal): void {
  const group = program.command('config').description('the settings of a gateway started here');

  group
    .command('show')
    .description('the effective settings and where each comes from; secrets hidden')
    .action(async (_, command: Command) => {
      const { loadConfig, SETTINGS } = await import('../config.ts');
      const config = loadConfig(terminal.env, terminal.cwd);
      const values: Record<string, unknown> = { ...config, accessTokenTtl: config.accessTokenTtlSeconds };
      const rows = SETTINGS.filter(({ key }) => key !== 'config').map(({ variable, key }) => ({
        variable,
        key,
        value: shown(values[key]),
        source: config.sources[key] ?? 'default',
      }));
      if (command.optsWithGlobals<GlobalOptions>().json === true) return terminal.out(JSON.stringify(rows, null, 2));
      terminal.out(
        table(
          ['SETTING', 'VALUE', 'FROM'],
          rows.map(({ variable, value, source }) => [variable, value, source]),
        ),
      );
    });

  group
    .command('check')
    .description('check the settings and the declared connectors without starting anything')
    .action(async () => {
      const { loadConfig } = await import('../config.ts');
      const { parseDocument } = await import('../connectors/document.ts');
      const { fillInUrl, loadProviders, resolveOAuth } = await import('../connectors/provider.ts');
      const { createAddressGuard } = await import('../egress/address-guard.ts');
      const config = loadConfig(terminal.env, terminal.cwd);
      const guard = createAddressGuard(config.allowPrivateNetwork);
      const checkUrl = (url: string): void => guard.checkUrl(new URL(url));
      const providers = loadProviders();
      const names = new Set<string>();
      for (const [index, input] of config.connectors.entries()) {
        try {
          const { document } = parseDocument(fillInUrl(input, providers), checkUrl);
          if (document.auth.type === 'oauth2') resolveOAuth(document.auth, providers, checkUrl, document.url);
          if (names.has(document.name)) throw new CliFailure(`${document.name} is declared twice.`, 'Keep one.');
          names.add(document.name);
        } catch (error) {
          if (error instanceof Error) error.message = `connectors[${index}]: ${error.message}`;
          throw error;
        }
      }
      terminal.out(`The settings are valid, and so are ${names.size} declared connectors.`);
    });
}

function shown(value: unknown): string | null {
  if (value instanceof Secret) return '***';
  if (Array.isArray(value)) return value.join(',') || 'none';
  return typeof value === 'string' || typeof value === 'number' ? String(value) : null;
}
