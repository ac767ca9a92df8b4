export type WebhookTables = {
  /** Events that the receiver has not acknowledged; kept at most a day. */
  webhook_events: {
    tenant: string;
    /** Sent as `webhook-id`, the same with every try. */
    id: string;
    type: string;
    /** What is sent, as JSON; never a secret. */
    body: string;
    attempts: number;
    next_attempt_at: number;
    created_at: number;
    expires_at: number;
  };
};
