import { spawn } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { parse } from 'yaml';
import { z } from 'zod';

export interface ScenarioResult {
  passed: number;
  failed: number;
  /** Checks of a SHOULD that was not followed. */
  warnings: number;
}

export interface SuiteRun {
  /** 0 when every scored scenario passed and the expected-failures file told no lie. */
  exitCode: number;
  scenarios: Map<string, ScenarioResult>;
  output: string;
}

const root = join(import.meta.dirname, '../..');
const suite = '@modelcontextprotocol/conformance';
const entry = join(root, 'node_modules', suite, 'dist/index.js');

/** Scenarios that we know to fail. Empty: nothing is excused. */
export const expectedFailures = join(import.meta.dirname, 'expected-failures.yml');

/**
 * Runs the official conformance suite.
 * @param onOutput sees everything printed so far, each time something is printed
 */
export async function runSuite(
  args: string[],
  options: {
    env?: Record<string, string>;
    timeoutMs?: number;
    signal?: AbortSignal;
    onOutput?: (soFar: string) => void;
  } = {},
): Promise<SuiteRun> {
  const child = spawn(process.execPath, [entry, ...args], {
    cwd: root,
    env: { PATH: process.env['PATH'] ?? '', ...options.env },
    stdio: ['ignore', 'pipe', 'pipe'],
    timeout: options.timeoutMs ?? 90_000,
    ...(options.signal && { signal: options.signal }),
  });
  let output = '';
  for (const stream of [child.stdout, child.stderr]) {
    stream.setEncoding('utf8');
    stream.on('data', (chunk: string) => {
      output += chunk;
      options.onOutput?.(output);
    });
  }
  const exitCode = await new Promise<number>((resolve, reject) => {
    child.once('error', reject);
    child.once('close', (code) => resolve(code ?? -1));
  });
  return { exitCode, output, scenarios: parseSummary(output) };
}

/** Reads the lines `✓ name: n passed, m failed`, with `, k warnings` where there are any. */
export function parseSummary(output: string): Map<string, ScenarioResult> {
  const summary = output.slice(Math.max(0, output.search(/=== (?:SUITE )?SUMMARY/)));
  const lines = summary.matchAll(/^\s*[✓✗] (\S+): (\d+) passed, (\d+) failed(?:, (\d+) warnings)?/gm);
  return new Map(
    [...lines].map(([, name, passed, failed, warnings]) => [
      name!,
      { passed: Number(passed), failed: Number(failed), warnings: Number(warnings ?? 0) },
    ]),
  );
}

const requirementsSchema = z.object({ server: z.array(z.string()), client: z.array(z.string()) });

/** The scenarios that a revision requires, from the suite's own frozen list. */
export function required(revision: string, role: 'server' | 'client'): string[] {
  const file = readFileSync(join(root, 'node_modules', suite, `requirements/${revision}.yaml`), 'utf8');
  return requirementsSchema.parse(parse(file))[role];
}

/** What each scenario of `names` lacks: it did not run, broke a rule, or checked nothing and so proved nothing. */
export function shortcomings(names: string[], scenarios: Map<string, ScenarioResult>): string[] {
  return names.flatMap((name) => {
    const result = scenarios.get(name);
    if (!result) return [`${name}: did not run`];
    const { passed, failed, warnings } = result;
    if (failed === 0 && warnings === 0 && passed > 0) return [];
    return [`${name}: ${passed} passed, ${failed} failed, ${warnings} warnings`];
  });
}
