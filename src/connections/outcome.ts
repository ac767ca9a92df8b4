import { fail, type ErrorCode } from '../errors.ts';
import type { ConnectionId, FlowId, UserId } from '../ids.ts';
import type { Account } from './account.ts';
import type { Registration } from './connect-store.ts';
import type { Owner, Terms } from './connection.ts';
import type { Tried } from './discovery.ts';
import type { RawAnswer } from './token-answer.ts';

/** What a callback led to; kept, so that a second hit of the same callback shows the same. */
export type Outcome =
  | {
      kind: 'connected';
      connection: ConnectionId;
      account: Account;
      /** Another account than before, when the connection changed hands. */
      previousAccount: string | null;
      granted: string[];
      refused: string[];
      renewable: boolean;
      /** When a connection that cannot be renewed ends, as far as the service says. */
      endsAt?: number | null;
      /** What to do about it, where it could have been otherwise. */
      hint?: string | null;
      returnTo: string | null;
    }
  | {
      kind: 'failed';
      code: ErrorCode;
      message: string;
      hint: string;
      /** The URI that the provider has to allow. */
      redirectUri?: string;
      tried?: readonly Tried[];
      returnTo: string | null;
    };

/** Sealed in the pending row. */
export type Asked = {
  verifier: string | null;
  issuer: string;
  typed: boolean;
  issPromised: boolean;
  scopes: string[];
  returnTo: string | null;
  owner: Owner;
  /** Of the connector as it stood when the person was asked; see `boundOf`. */
  bound?: string | undefined;
  terms: Omit<Terms, 'grantedKnown'>;
};

/** Sealed and committed with the raw answer of a code exchange. */
export type StagedConnect = {
  kind: 'connect';
  raw: RawAnswer;
  asked: Asked;
  registration: Registration['id'];
  user: UserId;
  flow: FlowId;
};

type Failed = Extract<Outcome, { kind: 'failed' }>;

export function failed(code: ErrorCode, returnTo: string | null, more: Partial<Failed> = {}): Failed {
  const { message, hint } = fail(code);
  return { kind: 'failed', code, message, hint, returnTo, ...more };
}
