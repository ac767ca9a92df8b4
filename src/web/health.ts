import type { Hono } from 'hono';
import { asValetkeyError } from '../errors.ts';

/** `/healthz`: the process answers. `/readyz`: what it depends on answers too; 503 names what does not. */
export function mountHealth(app: Hono, checks: Readonly<Record<string, () => Promise<void>>>): void {
  app.get('/healthz', (context) => context.json({ status: 'ok' }));
  app.get('/readyz', async (context) => {
    const results = await Promise.all(
      Object.entries(checks).map(async ([name, check]) => {
        try {
          await check();
          return [name, 'ok'] as const;
        } catch (thrown) {
          return [name, asValetkeyError(thrown).code] as const;
        }
      }),
    );
    const ready = results.every(([, outcome]) => outcome === 'ok');
    return context.json(
      { status: ready ? 'ok' : 'unavailable', checks: Object.fromEntries(results) },
      ready ? 200 : 503,
    );
  });
}
