import { PostgresDialect, type Dialect } from 'kysely';
import pg from 'pg';
import { fail } from '../errors.ts';
import type { Log } from '../log.ts';

const CHANNEL = 'valetkey_changes';

export type Notices = {
  send(payload: string): Promise<void>;
  close(): Promise<void>;
};

export function openPostgres(url: string, log: Log): { dialect: Dialect; pool: pg.Pool } {
  pg.types.setTypeParser(pg.types.builtins.INT8, Number);
  const pool = new pg.Pool({ connectionString: url, max: 10, connectionTimeoutMillis: 5_000 });
  // Without a listener the error of an idle connection ends the process.
  pool.on('error', (error) => log.warn({ err: error }, 'a database connection was lost'));
  return { dialect: new PostgresDialect({ pool }), pool };
}

/**
 * LISTEN on a connection of its own. A lost connection is opened again; `onGap` then says that notices may have been
 * missed, so that listeners look for themselves.
 */
export async function listen(
  options: { url: string; log: Log; pool: pg.Pool; retryMs?: number },
  onNotice: (payload: string) => void,
  onGap: () => void,
): Promise<Notices> {
  let closed = false;
  let client: pg.Client | undefined;
  let timer: NodeJS.Timeout | undefined;

  async function connect(): Promise<void> {
    const next = new pg.Client({ connectionString: options.url, connectionTimeoutMillis: 5_000, keepAlive: true });
    next.on('notification', (message) => onNotice(message.payload ?? ''));
    next.on('error', (error) => {
      options.log.warn({ err: error }, 'the listening database connection was lost');
    });
    next.on('end', () => {
      if (client !== next) return;
      client = undefined;
      again();
    });
    await next.connect();
    await next.query(`listen ${CHANNEL}`);
    if (closed) return await next.end();
    client = next;
  }
  function again(): void {
    if (closed) return;
    timer = setTimeout(() => {
      connect().then(onGap, again);
    }, options.retryMs ?? 500);
    timer.unref();
  }

  try {
    await connect();
  } catch (cause) {
    throw fail('database_unreachable', { cause });
  }
  return {
    async send(payload) {
      await options.pool.query('select pg_notify($1, $2)', [CHANNEL, payload]);
    },
    async close() {
      closed = true;
      clearTimeout(timer);
      const current = client;
      client = undefined;
      await current?.end();
    },
  };
}
