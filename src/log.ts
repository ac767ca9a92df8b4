import { pino, type DestinationStream } from 'pino';
import { Secret } from './secret.ts';
import { ValetkeyError } from './errors.ts';

export type LogLevel = 'silent' | 'fatal' | 'error' | 'warn' | 'info' | 'debug' | 'trace';

export type Log = {
  debug(fields: Record<string, unknown>, message: string): void;
  info(fields: Record<string, unknown>, message: string): void;
  warn(fields: Record<string, unknown>, message: string): void;
  error(fields: Record<string, unknown>, message: string): void;
  child(bindings: Record<string, unknown>): Log;
};

/** Field names whose values never reach a log, whoever passes them (lower case, separators dropped). */
const SENSITIVE =
  /^(authorization|proxyauthorization|cookie|setcookie|password|passwd|secret|clientsecret|accesstoken|refreshtoken|idtoken|token|code|codeverifier|apikey|xapikey|assertion|state|key|privatekey|requesturi|ticket)$/;

const MAX_DEPTH = 8;

function redact(value: unknown, depth: number): unknown {
  if (typeof value === 'string') return value.length > 2_000 ? `${value.slice(0, 2_000)}…` : value;
  if (value === null || typeof value !== 'object') return typeof value === 'bigint' ? value.toString() : value;
  if (value instanceof Secret) return '[secret]';
  if (depth >= MAX_DEPTH) return '[deep]';
  if (value instanceof ValetkeyError) {
    return {
      code: value.code,
      message: value.message,
      flow: value.flow,
      detail: redact(value.detail, depth + 1),
      cause: redact(value.cause, depth + 1),
      stack: value.stack,
    };
  }
  if (value instanceof Error) {
    return { type: value.name, message: value.message, stack: value.stack, cause: redact(value.cause, depth + 1) };
  }
  if (Array.isArray(value)) return value.slice(0, 100).map((item) => redact(item, depth + 1));
  if (value instanceof Uint8Array) return `[${value.byteLength} bytes]`;
  const result: Record<string, unknown> = {};
  for (const [name, item] of Object.entries(value)) {
    result[name] = SENSITIVE.test(name.toLowerCase().replaceAll(/[-_]/g, '')) ? '[secret]' : redact(item, depth + 1);
  }
  return result;
}

/** JSON lines. Everything logged passes a recursive redaction by name and by type, since pino's own is not deep. */
export function createLog(options: { level: LogLevel; destination?: DestinationStream }): Log {
  return pino(
    {
      level: options.level,
      base: null,
      timestamp: pino.stdTimeFunctions.isoTime,
      formatters: {
        level: (label) => ({ level: label }),
        log: (fields) => redact(fields, 0) as Record<string, unknown>,
      },
      serializers: { err: (value: unknown) => value, error: (value: unknown) => value },
    },
    options.destination ?? pino.destination({ fd: 2, sync: false }),
  );
}
