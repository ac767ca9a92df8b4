import type { Command } from 'commander';
import { openGateway, type GlobalOptions } from './gateway.ts';
import { plain, type Terminal } from './terminal.ts';

type Check = {
  check: string;
  state: 'ok' | 'warning' | 'failed' | 'skipped';
  message: string;
  hint: string | null;
  tried?: { url: string; result: string }[];
  last?: { at: number; status: number; contentType: string; error: string | null; members: string[] };
};

const SIGN: Record<Check['state'], string> = { ok: 'ok  ', warning: 'note', failed: 'FAIL', skipped: '-   ' };

export function doctorCommand(program: Command, terminal: Terminal, fail: () => void): void {
  program
    .command('doctor')
    .argument('[connector or URL]')
    .description('find out what keeps a connect from working')
    .action(async (subject: string | undefined, _, command: Command) => {
      const options = command.optsWithGlobals<GlobalOptions>();
      const asked =
        subject === undefined ? {} : /^https?:\/\//.test(subject) ? { url: subject } : { connector: subject };
      const report = await openGateway(options, terminal).call('POST', '/doctor', asked);
      if (report['ok'] !== true) fail();
      if (options.json === true) return terminal.out(JSON.stringify(report, null, 2));
      for (const found of report['checks'] as Check[]) {
        terminal.out(`${SIGN[found.state]}  ${found.check.replace('_', ' ').padEnd(14)}  ${plain(found.message)}`);
        const more = [
          ...(found.tried ?? []).map(({ url, result }) => `${url}: ${result}`),
          ...(found.last === undefined ? [] : [`members: ${found.last.members.join(', ') || 'none'}`]),
          ...(found.hint === null ? [] : [`hint: ${found.hint}`]),
        ];
        for (const line of more) terminal.out(`${' '.repeat(22)}${plain(line)}`);
      }
    });
}
