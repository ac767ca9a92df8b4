/** Interleaved rounds, and what is said about them: medians of ratios within a round, never of absolute numbers. */

export type Sample = {
  callsPerSecond: number;
  /** Latency in microseconds. */
  p50: number;
  p99: number;
  /** Processor time of the thing in between, in microseconds a call; 0 for a direct call. */
  cpuPerCall: number;
  /** The share of the machine, 0 to 1, that went to processes which are not part of the bench. */
  others: number;
};

/** One sample for each target, taken one after the other. */
export type Round = Record<string, Sample>;

export type Spread = { median: number; min: number; max: number };

/** Neighbours that took more than this share of the machine spoil a round. */
export const DISTURBED = 0.05;

export function isDisturbed(round: Round): boolean {
  return Object.values(round).some((sample) => sample.others > DISTURBED);
}

/**
 * Runs `targets` in turn, `wanted` times over. A disturbed round is repeated while `mayRepeat`, at most `wanted` times
 * in all; where that was not enough, the least disturbed ones fill up.
 */
export async function interleave(
  targets: readonly string[],
  wanted: number,
  measure: (target: string) => Promise<Sample>,
  mayRepeat: () => boolean = () => true,
): Promise<{ rounds: Round[]; disturbed: number; run: number }> {
  const clean: Round[] = [];
  const spoilt: Round[] = [];
  const run = (): number => clean.length + spoilt.length;
  while (run() < wanted || (clean.length < wanted && run() < 2 * wanted && mayRepeat())) {
    const round: Round = {};
    for (const target of targets) round[target] = await measure(target);
    (isDisturbed(round) ? spoilt : clean).push(round);
  }
  const worst = (round: Round): number => Math.max(...Object.values(round).map((sample) => sample.others));
  const filled = spoilt.toSorted((a, b) => worst(a) - worst(b)).slice(0, wanted - clean.length);
  return { rounds: [...clean, ...filled], disturbed: filled.length, run: run() };
}

export function spread(values: readonly number[]): Spread {
  const sorted = values.toSorted((a, b) => a - b);
  const middle = sorted.length >> 1;
  const upper = sorted[middle] ?? Number.NaN;
  const median = sorted.length % 2 === 1 ? upper : ((sorted[middle - 1] ?? Number.NaN) + upper) / 2;
  return { median, min: sorted[0] ?? Number.NaN, max: sorted.at(-1) ?? Number.NaN };
}

/** Of one target in one scenario: against the baseline of the same round, and above the direct call of that round. */
export type Summary = {
  callsPerSecond: Spread;
  callsRatio: Spread;
  cpuPerCall: Spread;
  cpuRatio: Spread | undefined;
  addedP50: Spread;
  addedP99: Spread;
};

export function summarise(rounds: readonly Round[], target: string, baseline: string, direct: string): Summary {
  const of = (value: (own: Sample, base: Sample, floor: Sample) => number): Spread =>
    spread(
      rounds.flatMap((round) => {
        const [own, base, floor] = [round[target], round[baseline], round[direct]];
        return own === undefined || base === undefined || floor === undefined ? [] : [value(own, base, floor)];
      }),
    );
  return {
    callsPerSecond: of((own) => own.callsPerSecond),
    callsRatio: of((own, base) => own.callsPerSecond / base.callsPerSecond),
    cpuPerCall: of((own) => own.cpuPerCall),
    cpuRatio: target === direct ? undefined : of((own, base) => own.cpuPerCall / base.cpuPerCall),
    addedP50: of((own, _, floor) => own.p50 - floor.p50),
    addedP99: of((own, _, floor) => own.p99 - floor.p99),
  };
}
