import { z } from 'zod';
import { nearest } from '../nearest.ts';

/** An object that refuses unknown members; the message's second line names the nearest known one. */
export function strict<Shape extends z.ZodRawShape>(shape: Shape): z.ZodObject<Shape, z.core.$strict> {
  const known = Object.keys(shape);
  return z.strictObject(shape, {
    error: (issue) => {
      if (issue.code !== 'unrecognized_keys') return undefined;
      const near = nearest(String(issue.keys?.[0]), known);
      const hint = near === undefined ? `The fields here are ${known.join(', ')}.` : `Did you mean ${near}?`;
      return `unknown field\n${hint}`;
    },
  });
}

/** Text for people and models: no control characters besides tab and line ends. */
export const text = (max: number): z.ZodString =>
  z
    .string()
    .max(max)
    .regex(/^(?:\P{Cc}|[\t\n\r])*$/u, 'must not hold control characters');

function urlProblem(value: string): string | undefined {
  if (!URL.canParse(value)) return 'must be an absolute URL';
  const url = new URL(value);
  if (url.protocol !== 'https:' && url.protocol !== 'http:') return 'must be an https URL';
  if (url.username !== '' || url.password !== '') return 'must not carry a user name or password';
  if (value.includes('#')) return 'must not have a fragment';
  return undefined;
}

/** An absolute http or https URL without user name and fragment. Whether it may be reached is judged elsewhere. */
export const httpUrl = z
  .string()
  .max(2_048)
  .superRefine((value, context) => {
    const problem = urlProblem(value);
    if (problem !== undefined) context.addIssue(problem);
  });

/** The same, with `{name}` standing for parameters; a placeholder may stand in for a host label or a path segment. */
export const httpUrlTemplate = z
  .string()
  .max(2_048)
  .superRefine((value, context) => {
    const problem = urlProblem(value.replaceAll(URL_PARAMETER, (_, _name, at) => (at === 0 ? 'https://x' : 'x')));
    if (problem !== undefined) context.addIssue(problem);
  });

export const URL_PARAMETER = /\{([A-Za-z][A-Za-z0-9]*)\}/g;

/** `***` stands for the value that is stored; plain values were taken out before the schema is applied. */
export const secretField = z.union([z.literal('***'), strict({ secret: z.string().min(1).max(128) })], {
  error: 'must be a text, or {secret: NAME}',
});
