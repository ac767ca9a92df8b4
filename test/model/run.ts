/** `node test/model/run.ts [GUARD …]`: every scenario with these guards dropped; exits 1 when a promise breaks. */
import { GUARDS, type Guard } from './guards.ts';
import { play, readable, SCENARIOS, type ScenarioName } from './scenario.ts';
import { PROVIDERS } from './state.ts';

const dropped = process.argv.slice(2);
const unknown = dropped.find((name) => !Object.hasOwn(GUARDS, name));
if (unknown !== undefined) throw new Error(`${unknown} is none of ${Object.keys(GUARDS).join(', ')}`);

for (const scenario of Object.keys(SCENARIOS) as ScenarioName[]) {
  console.log(scenario);
  for (const kind of PROVIDERS) {
    const from = performance.now();
    const { states, transitions, depth, counterexample } = play(scenario, kind, dropped as Guard[]);
    const seconds = ((performance.now() - from) / 1_000).toFixed(1);
    console.log(`  ${kind.padEnd(6)}  ${states} states, ${transitions} transitions, depth ${depth}, ${seconds} s`);
    if (counterexample === undefined) continue;
    console.log(readable(counterexample).replaceAll(/^/gm, '    '));
    process.exitCode = 1;
  }
}
