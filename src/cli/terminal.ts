/** What a command sees of the world. */
export type Terminal = {
  env: Readonly<Record<string, string | undefined>>;
  cwd: string;
  /** Whether a person looks at it. */
  interactive: boolean;
  /** One line or several; the line end is added. */
  out(text: string): void;
  err(text: string): void;
  stdin(): Promise<string>;
  /** A line that is typed and not shown; undefined when no person is at the keyboard. */
  hidden(prompt: string): Promise<string | undefined>;
};

/** What ends a command: `error: message`, `hint: hint`, exit code 1, or 2 for a wrong use. */
export class CliFailure extends Error {
  override readonly name = 'CliFailure';
  readonly hint: string;
  readonly exitCode: 1 | 2;

  constructor(message: string, hint: string, options: { exitCode?: 1 | 2; cause?: unknown } = {}) {
    super(message, options.cause === undefined ? undefined : { cause: options.cause });
    this.hint = hint;
    this.exitCode = options.exitCode ?? 1;
  }
}

/** Columns as wide as they need to be; empty cells are shown as -. */
export function table(head: readonly string[], rows: readonly (readonly (string | null)[])[]): string {
  const shown = [head, ...rows.map((row) => row.map((cell) => (cell === null || cell === '' ? '-' : plain(cell))))];
  const widths = head.map((_, column) => Math.max(...shown.map((row) => row[column]?.length ?? 0)));
  return shown
    .map((row) =>
      row
        .map((cell, column) => cell.padEnd(widths[column] ?? 0))
        .join('  ')
        .trimEnd(),
    )
    .join('\n');
}

/** What came from elsewhere must not drive the terminal. */
export function plain(text: string): string {
  return text.replaceAll(/[\p{Cc}\p{Cf}]+/gu, ' ');
}
