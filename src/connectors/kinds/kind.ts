import type { IncomingHttpHeaders } from 'node:http';
import type { ValetkeyError } from '../../errors.ts';
import type { Principal } from '../../identity/principal.ts';
import type { Connector } from '../connector.ts';
import type { Credential } from '../credential.ts';

/** One message, or one stream, for the service behind a connector. */
export type UpstreamRequest = {
  connector: Connector;
  method: 'POST' | 'GET' | 'DELETE';
  /** Flat: the MCP protocol headers that cross. The kind adds what its transport and the credential need. */
  headers: string[];
  body: Buffer | null;
  /** The `initialize` of a 2025-era client. */
  opening: boolean;
  /** Answered by a stream that may stay open: it gets a connection that no call waits for. */
  stream: boolean;
  /** In the words of 2026-07-28; those of the revisions before it when absent. */
  modern?: boolean;
  /** For whom; absent for messages of the gateway's own. */
  principal?: Principal;
};

/** Takes the reply while it arrives. After `replyEnd` or `replyFailed` nothing follows. */
export type ReplySink = {
  replyStart(status: number, headers: IncomingHttpHeaders, exchange: Exchange): void;
  /** The bytes are the sink's own. */
  replyData(chunk: Buffer): void;
  replyEnd(): void;
  /** `error` is one of ours: what an upstream did never surfaces as it was. */
  replyFailed(error: ValetkeyError): void;
};

/** A request under way. */
export type Exchange = {
  pause(): void;
  resume(): void;
  /** Lets the upstream go; the sink hears nothing more. */
  abort(): void;
};

/** What a kind of connector must do; a new kind is one folder beside `mcp/`. */
export type Kind = {
  /** Never throws: what goes wrong reaches the sink. The client's credential is not known here, nor may it be. */
  exchange(request: UpstreamRequest, credential: Credential | null, sink: ReplySink): Exchange;
};

/** One header of a reply as text; a name that came twice, against what it is, is told apart by a comma. */
export function headerText(headers: IncomingHttpHeaders, name: string): string {
  const value = headers[name];
  return typeof value === 'string' ? value : (value ?? []).join(', ');
}
