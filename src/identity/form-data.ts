import { z } from 'zod';
import { fail } from '../errors.ts';
import { Secret } from '../secret.ts';

const MAX_BYTES = 16 * 1024;

/**
 * The fields of a posted form.
 * @throws ValetkeyError unsupported_media_type, payload_too_large, invalid_request
 */
export async function readForm<T extends z.ZodType>(request: Request, schema: T): Promise<z.output<T>> {
  const type = request.headers.get('content-type')?.split(';')[0]?.trim().toLowerCase();
  if (type !== 'application/x-www-form-urlencoded') throw fail('unsupported_media_type');
  const fields: Record<string, string> = Object.create(null) as Record<string, string>;
  for (const [name, value] of new URLSearchParams(await readText(request))) {
    if (name in fields)
      throw fail('invalid_request', { message: `The field ${name.slice(0, 40)} stands there twice.` });
    fields[name] = value;
  }
  const parsed = schema.safeParse(fields);
  if (!parsed.success) {
    throw fail('invalid_request', {
      message: `The field ${String(parsed.error.issues[0]?.path[0])} is missing or malformed.`,
    });
  }
  return parsed.data;
}

async function readText(request: Request): Promise<string> {
  const chunks: Uint8Array[] = [];
  let size = 0;
  for await (const chunk of request.body ?? []) {
    size += chunk.byteLength;
    if (size > MAX_BYTES) throw fail('payload_too_large');
    chunks.push(chunk);
  }
  return Buffer.concat(chunks).toString('utf8');
}

const secret = z
  .string()
  .max(1_000)
  .transform((value) => new Secret(value));
const text = z.string().max(1_000);
const csrf = text.optional();

export const signInForm = z.object({
  email: text,
  password: secret,
  csrf,
  return_to: z.string().max(8_192).optional(),
});
export const setUpForm = z.object({ email: text, name: text, password: secret, csrf });
export const invitationForm = z.object({ name: text.default(''), password: secret, csrf });
export const passwordForm = z.object({ current: secret, password: secret, csrf });
export const endSessionForm = z.object({ session: text.optional(), csrf });
export const bareForm = z.object({ csrf });
