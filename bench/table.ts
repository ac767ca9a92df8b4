import type { Round, Spread, Summary } from './rounds.ts';
import type { Scenario } from './scenarios.ts';

export type Result = {
  scenario: Scenario;
  /** Rounds that were run; `rounds` are those that count. */
  run: number;
  disturbed: number;
  rounds: Round[];
  summaries: Record<string, Summary>;
};

/** Bytes, and the time from the start of the process to its first answer. */
export type Memory = { startMs?: number; idle?: number; afterLoad: number; perStream: number };

/** One scenario as a table: medians, with the least and the most of the rounds. */
export function resultLines({ scenario, rounds, run, disturbed, summaries }: Result): string[] {
  const note = disturbed === 0 ? '' : `, ${disturbed} of them disturbed by other processes`;
  const head = ['', 'calls/s', 'against nginx', 'CPU µs/call', 'against nginx', 'added p50 µs', 'added p99 µs'];
  if (scenario.kind === 'stream') head[1] = 'events/s';
  const rows = Object.entries(summaries).map(([name, summary]) => [name, ...cellsOf(name, summary, scenario.kind)]);
  return [
    `\n${scenario.title} (${rounds.length} rounds of ${scenario.seconds} s, ${run} run${note})`,
    ...table([head, ...rows]),
  ];
}

function cellsOf(
  name: string,
  { callsPerSecond, callsRatio, cpuPerCall, cpuRatio, addedP50, addedP99 }: Summary,
  kind: Scenario['kind'],
): string[] {
  const isDirect = name === 'direct';
  return [
    Math.round(callsPerSecond.median).toLocaleString('en'),
    kind === 'closed' ? range(callsRatio, 2) : '',
    isDirect ? '' : cpuPerCall.median.toFixed(1),
    cpuRatio === undefined ? '' : range(cpuRatio, 2),
    isDirect ? '' : range(addedP50, 0),
    isDirect ? '' : range(addedP99, 0),
  ];
}

function range({ median, min, max }: Spread, digits: number): string {
  return `${median.toFixed(digits)} (${min.toFixed(digits)} to ${max.toFixed(digits)})`;
}

export function memoryLines(memory: Readonly<Record<string, Memory>>, streams: number): string[] {
  const megabytes = (bytes: number | undefined): string => (bytes === undefined ? '' : (bytes / 1e6).toFixed(0));
  const head = ['', 'start ms', 'idle MB', 'after load MB', 'kB per open stream'];
  const rows = Object.entries(memory).map(([name, { startMs, idle, afterLoad, perStream }]) => [
    name,
    startMs === undefined ? '' : startMs.toFixed(0),
    megabytes(idle),
    megabytes(afterLoad),
    (perStream / 1e3).toFixed(1),
  ]);
  return [`\nMemory (${streams} streams held)`, ...table([head, ...rows])];
}

function table(rows: readonly string[][]): string[] {
  const widths = (rows[0] ?? []).map((_, column) => Math.max(...rows.map((row) => row[column]?.length ?? 0)));
  return rows.map((row) =>
    row
      .map((cell, column) => cell.padEnd(widths[column] ?? 0))
      .join('  ')
      .trimEnd(),
  );
}
