import { rfc3339 } from '../clock.ts';
import type { Connector } from '../connectors/connector.ts';
import type { Connectors } from '../connectors/connectors.ts';
import type { FlowId } from '../ids.ts';
import { newId } from '../ids.ts';
import type { Principal } from '../identity/principal.ts';
import type { ConnectionSource, CredentialRefusal } from './credentials.ts';
import type { Envelope, Message } from './envelope.ts';
import { RPC, rpcError, rpcResult } from './rpc.ts';

/** What a person has to do before the call can be made, in words that a model can pass on. */
export type Prompt = { text: string; data: Record<string, unknown>; code: string; flow: FlowId };

export type Prompts = {
  /** `refusal` null: the connector itself lacks its credential, which no user can give. */
  make(connector: Connector, principal: Principal, refusal: CredentialRefusal | null): Promise<Prompt>;
};

export function createPrompts(connections: ConnectionSource, connectors: Pick<Connectors, 'missing'>): Prompts {
  return {
    async make(connector, principal, refusal) {
      const flow = newId<FlowId>('flw');
      const title = connector.document.title === '' ? connector.name : connector.document.title;
      if (refusal === null) {
        const [missing] = await connectors.missing(connector);
        const text =
          connector.document.auth.type === 'none'
            ? `${title} asks for authorization, and none is set up for it here. Its owner has to add auth to the connector.`
            : missing === undefined
              ? `${title} did not accept the credential that this gateway holds for it. Its owner has to set a new one.`
              : `${title} is not set up yet: ${missing.message} ${missing.hint}`;
        return { text, data: { flow }, code: 'upstream_unauthorized', flow };
      }
      if (refusal.refusal === 'temporarily_unavailable') {
        const { told, retryAfterMs = 1_000 } = refusal;
        const why = told === undefined ? 'Try again in a moment.' : `${told.message} ${told.hint}`;
        const text = `The sign-in at ${title} could not be renewed just now. ${why}`;
        const data = { flow, retryAfterMs, ...(told === undefined ? {} : { cause: told.code }) };
        return { text, data, code: refusal.refusal, flow };
      }
      const { scopes, exhausted } = refusal;
      if (exhausted === true) {
        const text = `${title} asks for permissions that the connected account does not give: ${scopes?.join(' ')}. Ask its administrator.`;
        return { text, data: { flow, scopes }, code: refusal.refusal, flow };
      }
      const { url, expiresAt } = await connections.connectUrl(connector, principal, {
        flow,
        ...(scopes === undefined ? {} : { scopes }),
      });
      return {
        text: `${REASONS[refusal.refusal](title)} Open this link in a browser, then try again: ${url}`,
        data: { flow, url, expiresAt: rfc3339(expiresAt), ...(scopes === undefined ? {} : { scopes }) },
        code: refusal.refusal,
        flow,
      };
    },
  };
}

const REASONS = {
  connection_required: (title: string) => `Your ${title} account is not connected yet.`,
  needs_reconnect: (title: string) => `Your connection to ${title} has ended and must be made again.`,
  missing_scopes: (title: string) => `${title} asks for more permissions before it does this.`,
};

/** The prompt as the answer to a request: a tool's result where a model reads it, else an error. */
export function promptAnswer(envelope: Envelope, prompt: Prompt): string {
  if (envelope.batch === undefined) return answerOne(envelope, envelope.era, prompt);
  const requests = envelope.batch.filter((message) => message.kind === 'request');
  return `[${requests.map((message) => answerOne(message, 'legacy', prompt)).join(',')}]`;
}

function answerOne(message: Message, era: Envelope['era'], prompt: Prompt): string {
  if (message.method !== 'tools/call') {
    const data = { code: prompt.code, ...prompt.data };
    return rpcError({ id: message.id, code: RPC.gateway, message: prompt.text, data });
  }
  return rpcResult(message.id, {
    ...(era === 'modern' ? { resultType: 'complete' } : {}),
    content: [{ type: 'text', text: prompt.text }],
    isError: true,
  });
}
