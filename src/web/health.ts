import type { Hono } from 'hono';
import { asValetkeyError } from '../errors.ts';

/**
 * `/healthz`: the process answers. `/readyz`: what it depends on answers too; 503 names what does not.
 * @param notes what is told beside it and makes nobody unready: without it, most calls still work
 */
export function mountHealth(
  app: Hono,
  checks: Readonly<Record<string, () => Promise<void>>>,
  notes: Readonly<Record<string, () => void>> = {},
): void {
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
    const noted = Object.entries(notes).map(([name, note]) => {
      try {
        note();
        return [name, 'ok'] as const;
      } catch (thrown) {
        return [name, asValetkeyError(thrown).code] as const;
      }
    });
    const ready = results.every(([, outcome]) => outcome === 'ok');
    const whole = noted.every(([, outcome]) => outcome === 'ok');
    return context.json(
      {
        status: ready ? (whole ? 'ok' : 'degraded') : 'unavailable',
        checks: Object.fromEntries([...results, ...noted]),
      },
      ready ? 200 : 503,
    );
  });
}
