import { createInterface } from 'node:readline/promises';
import { Writable } from 'node:stream';

/** A line that is typed and not shown; undefined when no person is at the keyboard. */
export async function hiddenInput(prompt: string): Promise<string | undefined> {
  if (!process.stdin.isTTY) return undefined;
  process.stderr.write(prompt);
  const nowhere = new Writable({ write: (_chunk, _encoding, done) => done() });
  const lines = createInterface({ input: process.stdin, output: nowhere, terminal: true });
  try {
    return await lines.question('');
  } finally {
    lines.close();
    process.stderr.write('\n');
  }
}
