import { good, transitions, violated, type Setup } from './protocol.ts';
import { initial, keyOf, type Budget, type State } from './state.ts';

export type Result = {
  states: number;
  transitions: number;
  /** Steps of the longest shortest path. */
  depth: number;
  counterexample: { promise: string; trace: string[] } | undefined;
};

/** Visits every state that can be reached, nearest first, so that a counterexample is a shortest one. */
export function explore(setup: Setup, workers: number, budget: Budget): Result {
  const known = new Map<string, number>();
  const states: State[] = [];
  const parents: number[] = [];
  const steps: string[] = [];
  const depths: number[] = [];
  /** Steps that are no fault, backwards: liveness must not depend on something breaking. */
  const before: number[][] = [];
  let count = 0;

  function add(state: State, parent: number, step: string): number {
    const key = keyOf(state);
    const old = known.get(key);
    if (old !== undefined) return old;
    const id = states.push(state) - 1;
    known.set(key, id);
    parents.push(parent);
    steps.push(step);
    depths.push(parent < 0 ? 0 : depths[parent]! + 1);
    before.push([]);
    return id;
  }
  function trace(id: number): string[] {
    const lines: string[] = [];
    for (let at = id; parents[at]! >= 0; at = parents[at]!) lines.unshift(steps[at]!);
    return lines;
  }
  const result = (counterexample?: Result['counterexample']): Result => ({
    states: states.length,
    transitions: count,
    depth: depths.at(-1) ?? 0,
    counterexample,
  });

  add(initial(workers, budget), -1, '');
  for (let id = 0; id < states.length; id += 1) {
    const state = states[id]!;
    const promise = violated(state, setup);
    if (promise !== undefined) return result({ promise, trace: trace(id) });
    for (const { name, worker, fault, next, broken } of transitions(state, setup)) {
      count += 1;
      const step = worker === null ? `-  ${name}` : `${'ABC'[worker]}  ${name}`;
      if (broken !== undefined) return result({ promise: broken, trace: [...trace(id), step] });
      const to = add(next, id, step);
      if (!fault && to !== id) before[to]!.push(id);
    }
  }

  const reaches = new Uint8Array(states.length);
  const queue: number[] = [];
  for (const [id, state] of states.entries()) {
    if (!good(state, setup)) continue;
    reaches[id] = 1;
    queue.push(id);
  }
  for (let id = queue.pop(); id !== undefined; id = queue.pop()) {
    for (const from of before[id]!) {
      if (reaches[from] === 1) continue;
      reaches[from] = 1;
      queue.push(from);
    }
  }
  const stuck = reaches.indexOf(0);
  return stuck < 0 ? result() : result({ promise: 'from here no good end can be reached', trace: trace(stuck) });
}
