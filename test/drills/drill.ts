/** `npm run drill [kills]`: every kill point against every kind of rotation, then so many random kills (default 1,000). */
import { table, type Result } from './judge.ts';
import { CONNECT_STEPS, killAtConnect, killAtStep, randomKills, REFRESH_STEPS, type Rotation } from './kills.ts';

const kills = Number(process.argv[2] ?? 1_000);
const results: Result[] = [];
for (const rotation of ['none', 'soft', 'grace', 'until_used', 'strict'] satisfies Rotation[]) {
  for (const step of REFRESH_STEPS) results.push(await killAtStep(step, rotation));
}
for (const step of CONNECT_STEPS) results.push(await killAtConnect(step));
results.push(await randomKills(kills, 'grace'));
process.stdout.write(`${table(results)}\n`);
process.exit(results.some(({ verdict }) => verdict.broken.length > 0) ? 1 : 0);
