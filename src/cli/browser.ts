import { spawn } from 'node:child_process';
import type { Terminal } from './terminal.ts';

/** Prints the address, and opens it where a person looks on. Never through a shell: the address came over the network. */
export function openBrowser(address: string, terminal: Terminal, wanted: boolean): void {
  const { protocol, href } = new URL(address);
  if (!wanted || !terminal.interactive || !/^https?:$/.test(protocol)) return;
  const [command, ...before]: [string, ...string[]] =
    process.platform === 'darwin'
      ? ['open']
      : process.platform === 'win32'
        ? ['rundll32', 'url.dll,FileProtocolHandler']
        : ['xdg-open'];
  const child = spawn(command, [...before, href], { stdio: 'ignore', detached: true });
  // Without a browser the printed address is all there is.
  child.once('error', () => undefined);
  child.unref();
}
