import type { Command } from 'commander';
import { openGateway, type Gateway, type GlobalOptions } from './gateway.ts';
import { CliFailure, plain, table, type Terminal } from './terminal.ts';

type Item = Record<string, unknown>;

const list = (value: string, before: string[] = []): string[] => [...before, value];
const at = (name: string): string => `/connectors/${encodeURIComponent(name)}`;

/** Members of an answer that are not part of the document. */
const ABOUT = [
  'id',
  'revision',
  'source',
  'mcpUrl',
  'callbackUrl',
  'missing',
  'health',
  'healthDetail',
  'createdAt',
  'updatedAt',
];

export function connectorCommands(program: Command, terminal: Terminal): void {
  const group = program.command('connectors').description('what can be called');
  const open = (command: Command): { gateway: Gateway; json: boolean } => {
    const options = command.optsWithGlobals<GlobalOptions>();
    return { gateway: openGateway(options, terminal), json: options.json === true };
  };
  const json = (value: unknown): void => terminal.out(JSON.stringify(value, null, 2));

  group
    .command('list')
    .description('the connectors, and the address to give to MCP clients')
    .action(async (_, command: Command) => {
      const { gateway, json: wanted } = open(command);
      const items = await gateway.list('/connectors');
      if (wanted) return json(items);
      const rows = items.map((item) => [
        String(item['name']),
        item['active'] === true ? 'on' : 'off',
        (item['auth'] as { type: string }).type,
        String(item['health']),
        ((item['missing'] as { field: string }[] | undefined) ?? []).map(({ field }) => field).join(', '),
        String(item['mcpUrl']),
      ]);
      terminal.out(table(['NAME', 'ACTIVE', 'AUTH', 'HEALTH', 'MISSING', 'MCP URL'], rows));
    });

  group
    .command('get')
    .argument('<connector>')
    .description('a connector document as YAML, ready to be applied again')
    .action(async (name: string, _, command: Command) => {
      const { gateway, json: wanted } = open(command);
      const item = await gateway.call('GET', at(name));
      if (wanted) return json(item);
      const { stringify } = await import('yaml');
      terminal.out(
        stringify(Object.fromEntries(Object.entries(item).filter(([key]) => !ABOUT.includes(key)))).trimEnd(),
      );
      const callback = item['callbackUrl'];
      if (typeof callback === 'string') terminal.out(`# callback URL to allow at the service: ${callback}`);
    });

  group
    .command('apply')
    .requiredOption('-f, --file <path>', 'YAML or JSON, one or many documents; - is the standard input', list)
    .description('make connectors what the documents say; nothing is written unless all of them are valid')
    .action(async (_, command: Command) => {
      const { gateway, json: wanted } = open(command);
      const { file } = command.opts<{ file: string[] }>();
      const { readDocuments } = await import('./documents.ts');
      const documents = await readDocuments(file, terminal);
      for (const { name, document, where } of documents) {
        await named(where, gateway.call('PUT', `${at(name)}?dryRun=true`, document));
      }
      const done: Item[] = [];
      for (const { name, document, where } of documents) {
        const result = await named(where, gateway.call('PUT', at(name), document));
        done.push(result);
        if (wanted) continue;
        terminal.out(`${name} ${result['revision'] === 1 ? 'created' : 'applied'}: ${String(result['mcpUrl'])}`);
        for (const { message, hint } of (result['missing'] as { message: string; hint: string }[] | undefined) ?? []) {
          terminal.out(`  still missing: ${message} ${hint}`);
        }
      }
      if (wanted) json(done);
    });

  group
    .command('remove')
    .argument('<connector>')
    .description('remove a connector with everything that belongs to it')
    .action(async (name: string, _, command: Command) => {
      await open(command).gateway.call('DELETE', at(name));
      terminal.out(`${name} removed`);
    });

  group
    .command('test')
    .argument('<connector>')
    .description('reach the service behind a connector')
    .action(async (name: string, _, command: Command) => {
      const { gateway, json: wanted } = open(command);
      const found = await gateway.call('POST', `${at(name)}/test`);
      if (wanted) return json(found);
      const server = found['server'] as { name: string; version: string } | null;
      const error = found['error'] as { message: string; hint: string; code: string } | null;
      if (error !== null) throw new CliFailure(`${error.message} (${error.code})`, error.hint);
      terminal.out(`reachable   yes${server === null ? '' : `, ${plain(`${server.name} ${server.version}`)}`}`);
      terminal.out(`transport   ${textOf(found['transport'])}`);
      terminal.out(`speaks      ${(found['eras'] as string[]).join(', ') || 'unknown before it is signed in to'}`);
      terminal.out(`auth        ${AUTH[String(found['auth'])] ?? String(found['auth'])}`);
      for (const { message } of found['missing'] as { message: string }[]) terminal.out(`missing     ${message}`);
    });

  group
    .command('tools')
    .argument('<connector>')
    .option('--enable <tool>', 'switch on; may be repeated', list)
    .option('--disable <tool>', 'switch off; may be repeated', list)
    .option('--rename <tool=name>', 'show under another name; an empty name takes it back', list)
    .option('--new <policy>', 'what happens to tools that appear later: ask or enable')
    .description('list the tools of a connector, or change which are on and what they are called')
    .action(async (name: string, _, command: Command) => {
      const { gateway, json: wanted } = open(command);
      const options = command.opts<ToolOptions>();
      if (Object.values(options).some((value) => value !== undefined)) await changeTools(gateway, name, options);
      const first = await gateway.call('GET', `${at(name)}/tools?limit=1`);
      const items = await gateway.list(`${at(name)}/tools?limit=500`);
      if (wanted) return json({ ...first, items, next: null });
      const missing = first['missing'] as { message: string; hint: string } | null;
      if (items.length > 0) {
        terminal.out(
          table(
            ['TOOL', 'SHOWN AS', 'STATE', 'TITLE'],
            items.map((item) => [
              String(item['name']),
              String(item['publicName']),
              String(item['reason']).replaceAll('_', ' '),
              item['title'] as string | null,
            ]),
          ),
        );
      }
      if (first['source'] === 'catalogue') terminal.err(`note: as listed ${String(first['fetchedAt'])}`);
      if (missing !== null) terminal.err(`note: ${plain(missing.message)}\nhint: ${plain(missing.hint)}`);
    });
}

/** A member of an answer that may be a text. */
const textOf = (value: unknown): string => (typeof value === 'string' ? plain(value) : 'unknown');

const AUTH: Record<string, string> = {
  open: 'none needed',
  required: 'needed, and there is no credential yet',
  accepted: 'the credential is accepted',
  refused: 'the credential is refused',
};

type ToolOptions = { enable?: string[]; disable?: string[]; rename?: string[]; new?: string };

async function changeTools(gateway: Gateway, name: string, options: ToolOptions): Promise<void> {
  const connector = await gateway.call('GET', at(name));
  const tools = connector['tools'] as {
    new: string;
    enabled: string[];
    disabled: string[];
    rename: Record<string, string>;
  };
  const on = new Set(options.enable ?? []);
  const off = new Set(options.disable ?? []);
  const rename = { ...tools.rename };
  for (const pair of options.rename ?? []) {
    const [from = '', to] = pair.split('=');
    if (from === '' || to === undefined) {
      throw new CliFailure(`--rename ${pair}: give TOOL=NAME.`, 'For instance --rename search=find.', { exitCode: 2 });
    }
    if (to === '') delete rename[from];
    else rename[from] = to;
  }
  await gateway.call('PUT', `${at(name)}/tools`, {
    ...(options.new === undefined ? {} : { new: options.new }),
    enabled: [...new Set([...tools.enabled, ...on])].filter((tool) => !off.has(tool)),
    disabled: [...new Set([...tools.disabled, ...off])].filter((tool) => !on.has(tool)),
    rename,
  });
}

/** A refusal says which document it is about. */
async function named<T>(where: string, work: Promise<T>): Promise<T> {
  try {
    return await work;
  } catch (error) {
    if (!(error instanceof CliFailure)) throw error;
    throw new CliFailure(`${where}: ${error.message}`, error.hint, { cause: error });
  }
}
