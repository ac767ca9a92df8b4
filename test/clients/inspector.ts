import { spawn } from 'node:child_process';
import { join } from 'node:path';
import { freePort } from '../fixtures/free-port.ts';
import type { Scratch } from './scratch.ts';

const program = join(
  import.meta.dirname,
  '../../node_modules/@modelcontextprotocol/inspector/clients/launcher/build/index.js',
);

export interface InspectorRun {
  exitCode: number;
  stdout: string;
  stderr: string;
}

/** One run of the MCP inspector's command line against an HTTP endpoint, with a redirect URI of its own. */
export async function runInspector(
  url: string,
  args: string[],
  scratch: Scratch,
  browser: string,
): Promise<InspectorRun> {
  const callback = `http://127.0.0.1:${await freePort()}/oauth/callback`;
  const options = ['--transport', 'http', '--callback-url', callback, '--connect-timeout', '45000', '--format', 'json'];
  const child = spawn(process.execPath, [program, '--cli', url, ...options, ...args], {
    cwd: scratch.home,
    env: scratch.environment({
      BROWSER: browser,
      MCP_AUTO_OPEN_ENABLED: 'true',
      MCP_INSPECTOR_SECRET_STORE: 'file',
    }),
    stdio: ['ignore', 'pipe', 'pipe'],
    timeout: 60_000,
  });
  let stdout = '';
  let stderr = '';
  child.stdout.setEncoding('utf8').on('data', (chunk: string) => {
    stdout += chunk;
  });
  child.stderr.setEncoding('utf8').on('data', (chunk: string) => {
    stderr += chunk;
  });
  const exitCode = await new Promise<number>((resolve, reject) => {
    child.once('error', reject);
    child.once('close', (code) => resolve(code ?? -1));
  });
  return { exitCode, stdout, stderr };
}
