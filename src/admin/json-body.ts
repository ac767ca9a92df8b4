import type { z } from 'zod';
import { fail } from '../errors.ts';

export const MAX_BODY = 1024 * 1024;

/** Whether a body is left out, and its media type with it. */
export function isEmpty({ headers }: Request): boolean {
  return Number(headers.get('content-length') ?? 0) === 0 && !headers.has('transfer-encoding');
}

/** Whether every member of a body may be left out, and so the body. */
export const mayBeEmpty = (schema: z.ZodType): boolean => schema.safeParse({}).success;

/** The JSON body of a request. @throws ValetkeyError unsupported_media_type, payload_too_large, invalid_request */
export async function readJson(request: Request): Promise<unknown> {
  const [type = ''] = (request.headers.get('content-type') ?? '').split(';');
  if (!['application/json', 'application/merge-patch+json'].includes(type.trim().toLowerCase())) {
    throw fail('unsupported_media_type', { hint: 'Send Content-Type: application/json.' });
  }
  if (Number(request.headers.get('content-length') ?? 0) > MAX_BODY) throw tooLarge();
  const chunks: Uint8Array[] = [];
  let size = 0;
  for await (const chunk of request.body ?? []) {
    size += chunk.byteLength;
    if (size > MAX_BODY) throw tooLarge();
    chunks.push(chunk);
  }
  try {
    return JSON.parse(
      new TextDecoder('utf-8', { fatal: true }).decode(Buffer.concat(chunks)),
      (name, value: unknown) => {
        // As a member it would become the prototype of whatever it is merged into.
        if (name === '__proto__') throw new SyntaxError('__proto__ is not a field');
        return value;
      },
    );
  } catch (cause) {
    throw fail('invalid_request', { message: 'The body is not JSON in UTF-8.', cause });
  }
}

const tooLarge = (): Error => fail('payload_too_large', { message: `The body exceeds ${MAX_BODY} bytes.` });
