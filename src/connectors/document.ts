import { z } from 'zod';
import { fail } from '../errors.ts';
import type { Secret } from '../secret.ts';
import type { ConnectorDocument } from './connector.ts';
import { authSchema } from './auth-document.ts';
import { httpUrl, strict, text } from './document-fields.ts';
import { credentialFields, headerProblem, templateProblem } from './injection.ts';
import { takeSecrets } from './plain-secrets.ts';
import { refuseUnsupported } from './unsupported.ts';

/** `[a-z0-9-]`, 1 to 63 characters: it stands in URLs and in the names of resources. */
export const CONNECTOR_NAME = /^[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?$/;

/** SEP-986: what clients take as a tool's name. */
const TOOL_NAME = /^[A-Za-z0-9_./-]{1,128}$/;

const toolList = z.array(z.string().min(1).max(256)).max(5_000).default([]);

const injectRule = strict({
  header: z.string().superRefine((name, context) => {
    const problem = headerProblem(name);
    if (problem !== undefined) context.addIssue(problem);
  }),
  value: z.string().max(8_192),
});

const tools = strict({
  new: z.enum(['ask', 'enable']).default('enable'),
  enabled: toolList,
  disabled: toolList,
  rename: z
    .record(z.string(), z.string().regex(TOOL_NAME, 'must be 1 to 128 of A-Z a-z 0-9 _ . / -'))
    .default({})
    .superRefine((rename, context) => {
      const seen = new Map<string, string>();
      for (const [from, to] of Object.entries(rename)) {
        const other = seen.get(to);
        if (other !== undefined) context.addIssue(`gives ${to} to both ${other} and ${from}`);
        seen.set(to, from);
      }
    }),
});

/** What a file, the API and the CLI take. Parse with `parseDocument`, which explains and takes the secrets out. */
export const documentSchema = strict({
  name: z.string().regex(CONNECTOR_NAME, 'must be 1 to 63 of a-z 0-9 and -, not beginning or ending with -'),
  title: text(100).optional(),
  description: text(2_000).default(''),
  instructions: text(20_000).default(''),
  category: text(100).default(''),
  icon: z.union([z.literal(''), httpUrl]).default(''),
  active: z.boolean().default(true),
  kind: z.literal('mcp').default('mcp'),
  url: httpUrl,
  transport: z.enum(['auto', 'streamable-http', 'sse']).default('auto'),
  access: strict({
    mode: z.enum(['oauth', 'public']).default('oauth'),
    allow: strict({
      roles: z.array(z.enum(['owner', 'member'])).default([]),
      users: z.array(z.string().trim().toLowerCase().min(1)).default([]),
    }).prefault({}),
  }).prefault({}),
  auth: authSchema.prefault({ type: 'none' }),
  inject: z.array(injectRule).max(32).default([]),
  tools: tools.prefault({}),
  limits: strict({
    callsPerMinute: z.int().min(1).max(1_000_000).default(600),
    timeoutSeconds: z.int().min(1).max(3_600).default(60),
    maxResultBytes: z.int().min(1_024).max(1_073_741_824).default(10_485_760),
  }).prefault({}),
}).superRefine((document, context) => {
  const fields = credentialFields(document.auth);
  document.inject.forEach((rule, index) => {
    const problem = templateProblem(rule.value, fields);
    if (problem !== undefined) context.addIssue({ code: 'custom', message: problem, path: ['inject', index, 'value'] });
  });
});

export type ParsedDocument = {
  document: ConnectorDocument;
  /** Plain secrets of the document by path (`auth.clientSecret`); the document has `***` in their place. */
  plain: Map<string, Secret>;
};

/**
 * @param checkUrl throws for an address that the gateway may not reach
 * @throws ValetkeyError connector_invalid, connector_unsupported; the message begins with the path of the field
 */
export function parseDocument(input: unknown, checkUrl: (url: string) => void): ParsedDocument {
  if (typeof input !== 'object' || input === null || Array.isArray(input)) {
    throw fail('connector_invalid', { message: 'A connector document is a mapping of fields.' });
  }
  refuseUnsupported(input as Record<string, unknown>);
  const { without, plain } = takeSecrets(input as Record<string, unknown>);
  const parsed = documentSchema.safeParse(without);
  if (!parsed.success) throw explain(parsed.error);
  const document: ConnectorDocument = { ...parsed.data, title: parsed.data.title ?? parsed.data.name };
  for (const [path, url] of addresses(document)) {
    try {
      checkUrl(url);
    } catch (cause) {
      const { message, hint } = cause as { message: string; hint?: string };
      throw fail('connector_invalid', {
        message: `${path}: ${message}`,
        ...(hint === undefined ? {} : { hint }),
        cause,
      });
    }
  }
  return { document, plain };
}

function addresses(document: ConnectorDocument): [string, string][] {
  const found: [string, string | undefined][] = [['url', document.url]];
  if (document.auth.type === 'oauth2') {
    const { registrationUrl, issuer, authorizationUrl, tokenUrl, revocationUrl } = document.auth;
    for (const [name, url] of Object.entries({ registrationUrl, issuer, authorizationUrl, tokenUrl, revocationUrl })) {
      found.push([`auth.${name}`, url]);
    }
  }
  if (document.auth.type === 'login') {
    found.push(['auth.loginUrl', document.auth.loginUrl], ['auth.refreshUrl', document.auth.refreshUrl]);
  }
  // An address with a placeholder is judged once the placeholder is filled in.
  return found.filter((pair): pair is [string, string] => pair[1] !== undefined && !pair[1].includes('{'));
}

/** The first issue as one of ours: path, what is wrong, and the nearest known name where a name is not known. */
function explain(error: z.ZodError): Error {
  const [issue] = error.issues;
  if (issue === undefined) return fail('connector_invalid', { cause: error });
  const path = issue.path.reduce<string>(
    (text, step) =>
      typeof step === 'number' ? `${text}[${step}]` : text === '' ? String(step) : `${text}.${String(step)}`,
    '',
  );
  if (issue.code === 'unrecognized_keys') {
    const [key = ''] = issue.keys;
    const [, hint] = issue.message.split('\n');
    return fail('connector_invalid', {
      message: `${path === '' ? key : `${path}.${key}`} is not a field of a connector document.`,
      ...(hint === undefined ? {} : { hint }),
    });
  }
  const missing = issue.code === 'invalid_type' && issue.message.endsWith('received undefined');
  const message = missing ? 'is missing' : issue.message.replace(/^Invalid (input|option): /, '');
  return fail('connector_invalid', { message: `${path === '' ? 'The document' : path}: ${message}.` });
}
