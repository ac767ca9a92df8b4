import { z } from 'zod';
import { systemClock, type Clock } from '../clock.ts';
import { PERSONA_NAMES, policyOf } from './personas.ts';
import { quirksSchema } from './quirks.ts';

export const MODES = ['none', 'bearer', 'apikey', 'jwt', 'oauth', 'oauth-dcr'] as const;
export type Mode = (typeof MODES)[number];

export const SCOPES = ['items:read', 'items:write', 'profile'] as const;

/**
 * What a token endpoint does with a refresh token that was used.
 * `none`: it stays good and is not sent again; `soft`: it is dead, its successor lives; `grace`: within
 * `graceSeconds` it answers with the same successor, later it ends the grant; `until_used`: it answers with a new successor
 * until one has been used; `strict`: it ends the grant at once.
 */
export const ROTATIONS = ['none', 'soft', 'grace', 'until_used', 'strict'] as const;
export type Rotation = (typeof ROTATIONS)[number];

export const policySchema = z.strictObject({
  rotation: z.enum(ROTATIONS).default('strict'),
  graceSeconds: z.number().min(0).default(30),
  /** Seconds. */
  accessTokenTtl: z.number().positive().default(300),
  /** Seconds since the refresh token was issued. */
  refreshTokenTtl: z
    .number()
    .positive()
    .default(30 * 86_400),
  /** False: no refresh token is handed out. */
  refreshTokens: z.boolean().default(true),
  /** False: `expires_in` is left out, so that only a 401 tells. */
  sendExpiresIn: z.boolean().default(true),
  /** True: a refresh kills the access tokens that went before. */
  refreshKillsAccessTokens: z.boolean().default(false),
  ...quirksSchema.shape,
});
/** How the authorization server treats a grant; settable for the server and over it for one client. */
export type Policy = z.infer<typeof policySchema>;

const optionsSchema = z.strictObject({
  mode: z.enum(MODES),
  port: z.number().int().min(0).max(65_535).default(3456),
  host: z.string().default('127.0.0.1'),
  /** The base of every URL it states about itself; `http://HOST:PORT` when left out. No trailing slash. */
  publicUrl: z.url().optional(),
  ...policySchema.shape,
  /** Quirks of services, by name; an option that is given as well wins. */
  personas: z.array(z.enum(PERSONA_NAMES)).default([]),
  /** Milliseconds added before each REST, MCP and token answer. */
  latencyMs: z.number().min(0).default(0),
  users: z
    .array(
      z.strictObject({
        username: z.string().regex(/^[a-z0-9._@-]{1,40}$/i),
        password: z.string().min(1).default('practice'),
        name: z.string().optional(),
      }),
    )
    .min(1)
    .default([
      { username: 'alice', password: 'practice', name: 'Alice Ahlgren' },
      { username: 'bob', password: 'practice', name: 'Bob Bakker' },
    ]),
  /** Mode `oauth`: the application registered in advance; drawn at random when left out. */
  client: z.strictObject({ clientId: z.string().min(1), clientSecret: z.string().min(1) }).optional(),
  /** PEM public key of who may sign assertions (RFC 7523); none are taken without it. */
  assertionKey: z.string().optional(),
  /** Named in the 401 challenge and granted when a client asks for no scope. */
  defaultScopes: z.array(z.enum(SCOPES)).default([...SCOPES]),
  /** Approves every authorization request without a page, as `login_hint` or else the first user. */
  unsafeAutoApprove: z.boolean().default(false),
  /** Serves `POST /control/…` to anyone who reaches the port. */
  control: z.boolean().default(false),
  /** Appends each ledger event to this file as a line of JSON. */
  ledgerFile: z.string().optional(),
});

export type TestServerOptions = z.input<typeof optionsSchema> & { clock?: Clock };
export type Settings = z.output<typeof optionsSchema> & { clock: Clock };

/** @throws {z.ZodError} naming the option that is wrong */
export function parseOptions(options: TestServerOptions): Settings {
  const { clock = systemClock, ...rest } = options;
  const { personas } = optionsSchema.pick({ personas: true }).parse({ personas: rest.personas });
  return { ...optionsSchema.parse({ ...policyOf(personas), ...rest }), clock };
}
