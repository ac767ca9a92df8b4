import type { Connector } from '../connectors/connector.ts';
import type { Credential } from '../connectors/credential.ts';
import { encodeHeader } from './envelope.ts';
import { isObject, type Json } from './era-messages.ts';

/** Paths of annotated arguments and the header that each travels in. */
type Annotated = readonly { path: readonly string[]; header: string }[];

/** Which arguments of which tools 2026-07-28 wants in headers as well (SEP-2243), learnt from lists of tools. */
export type ParamHeaders = {
  learn(connector: Connector, credential: Credential | null, tools: readonly unknown[]): void;
  /** Flat; empty for tools without annotations and for tools that are not known. */
  of(connector: Connector, credential: Credential | null, params: Json): string[];
};

const MAX_TOOLS = 5_000;
const MAX_DEPTH = 20;

export function createParamHeaders(): ParamHeaders {
  const known = new WeakMap<Connector, Map<string, Annotated>>();
  const keyOf = (credential: Credential | null, tool: unknown): string => `${credential?.key ?? ''}\n${String(tool)}`;

  return {
    learn(connector, credential, tools) {
      let held = known.get(connector);
      if (held === undefined) known.set(connector, (held = new Map()));
      for (const tool of tools) {
        if (!isObject(tool)) continue;
        const key = keyOf(credential, tool['name']);
        const annotated: { path: string[]; header: string }[] = [];
        collect(tool['inputSchema'], [], annotated);
        if (annotated.length === 0) held.delete(key);
        else if (held.size < MAX_TOOLS) held.set(key, annotated);
      }
    },
    of(connector, credential, params) {
      const annotated = known.get(connector)?.get(keyOf(credential, params['name'])) ?? [];
      const flat: string[] = [];
      for (const { path, header } of annotated) {
        let value: unknown = params['arguments'];
        for (const step of path) value = isObject(value) && Object.hasOwn(value, step) ? value[step] : undefined;
        if (typeof value === 'string' || typeof value === 'boolean' || typeof value === 'number') {
          flat.push(`mcp-param-${header.toLowerCase()}`, encodeHeader(String(value)));
        }
      }
      return flat;
    },
  };
}

function collect(schema: unknown, path: string[], into: { path: string[]; header: string }[]): void {
  const properties = isObject(schema) ? schema['properties'] : undefined;
  if (!isObject(properties) || path.length > MAX_DEPTH) return;
  for (const [name, property] of Object.entries(properties)) {
    if (!isObject(property)) continue;
    const header = property['x-mcp-header'];
    // RFC 9110 §5.6.2: what is no token is no name of a header.
    if (typeof header === 'string' && /^[!#$%&'*+.^_`|~0-9A-Za-z-]{1,64}$/.test(header)) {
      into.push({ path: [...path, name], header });
    }
    collect(property, [...path, name], into);
  }
}
