import { explore, type Result } from './explore.ts';
import type { Guard } from './guards.ts';
import type { Setup } from './protocol.ts';
import type { Budget, ProviderKind } from './state.ts';

export type Scenario = { workers: number; exclusive: boolean; budget: Budget };

const TWICE = { crashes: 2, lostAnswers: 2, unprocessed: 2, databaseCuts: 2, holdUps: 1 };
const NOBODY = { disconnects: 0, reconnects: 0, revocations: 0 };
const ANYBODY = { disconnects: 1, reconnects: 1, revocations: 1 };

/** `faults` bounds all of them together. The first three run with every test, the last one by command. */
export const SCENARIOS = {
  'three processes, three faults': {
    workers: 3,
    exclusive: false,
    budget: { ...TWICE, ...ANYBODY, faults: 3, expiries: 1 },
  },
  'three processes, two refreshes in a row': {
    workers: 3,
    exclusive: false,
    budget: { ...TWICE, ...NOBODY, faults: 2, expiries: 2 },
  },
  'one process that owns the store': {
    workers: 1,
    exclusive: true,
    budget: { ...TWICE, ...ANYBODY, faults: 4, expiries: 2 },
  },
  'three processes, four faults, two refreshes': {
    workers: 3,
    exclusive: false,
    budget: { ...TWICE, ...NOBODY, faults: 4, expiries: 2 },
  },
} as const satisfies Record<string, Scenario>;

export type ScenarioName = keyof typeof SCENARIOS;
export const EVERY_TEST: readonly ScenarioName[] = [
  'three processes, three faults',
  'three processes, two refreshes in a row',
  'one process that owns the store',
];

export function play(name: ScenarioName, kind: ProviderKind, dropped: readonly Guard[] = [], noLoss = false): Result {
  const { workers, exclusive, budget } = SCENARIOS[name];
  const setup: Setup = { kind, dropped: new Set(dropped), exclusive, noLoss };
  return explore(setup, workers, budget);
}

/** The broken promise and the steps that lead there, one per line. */
export function readable(counterexample: NonNullable<Result['counterexample']>): string {
  const steps = counterexample.trace.map((step, index) => `  ${String(index + 1).padStart(2)}  ${step}`);
  return [`${counterexample.promise}:`, ...steps].join('\n');
}
