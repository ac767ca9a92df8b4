import { spawn } from 'node:child_process';
import { fileURLToPath } from 'node:url';

const MAIN = fileURLToPath(new URL('../../src/main.ts', import.meta.url));

export type Ended = { code: number | null; stdout: string; stderr: string };

export type Started = {
  /** What was written so far. */
  stdout(): string;
  stderr(): string;
  /** Resolves with the first match of `pattern` in the standard output; rejects when the process ends before. */
  says(pattern: RegExp): Promise<RegExpExecArray>;
  signal(name: NodeJS.Signals): void;
  readonly ended: Promise<Ended>;
};

/** Starts the real program. Only what is given stands in its environment. */
export function start(
  args: readonly string[],
  options: { cwd: string; env?: Record<string, string>; stdin?: string },
): Started {
  const child = spawn(process.execPath, [MAIN, ...args], {
    cwd: options.cwd,
    env: { PATH: process.env['PATH'] ?? '', HOME: options.cwd, ...options.env },
  });
  let stdout = '';
  let stderr = '';
  const waiting = new Set<() => void>();
  const wake = (): void => {
    for (const look of waiting) look();
  };
  child.stdout.on('data', (chunk: Buffer) => {
    stdout += chunk.toString();
    wake();
  });
  child.stderr.on('data', (chunk: Buffer) => (stderr += chunk.toString()));
  child.stdin.end(options.stdin ?? '');
  const ended = new Promise<Ended>((resolve, reject) => {
    child.once('error', reject);
    child.once('close', (code) => {
      resolve({ code, stdout, stderr });
      wake();
    });
  });
  return {
    stdout: () => stdout,
    stderr: () => stderr,
    ended,
    signal: (name) => void child.kill(name),
    says: async (pattern) =>
      await new Promise((resolve, reject) => {
        const look = (): void => {
          const match = pattern.exec(stdout);
          if (match === null && child.exitCode === null) return;
          waiting.delete(look);
          if (match === null) reject(new Error(`It ended without saying ${String(pattern)}:\n${stdout}\n${stderr}`));
          else resolve(match);
        };
        waiting.add(look);
        look();
      }),
  };
}

export const run = async (
  args: readonly string[],
  options: { cwd: string; env?: Record<string, string>; stdin?: string },
): Promise<Ended> => await start(args, options).ended;
