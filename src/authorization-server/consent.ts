import type { Client, Interaction, Provider } from 'oidc-provider';
import type { Audit } from '../audit/audit.ts';
import type { Clock } from '../clock.ts';
import { fail } from '../errors.ts';
import { hashToken, newId, type FlowId } from '../ids.ts';
import { displayName, fingerprint } from './client-metadata.ts';
import type { SignedIn } from '../identity/identity.ts';
import { accountOf, type ConnectStep } from './people.ts';
import { CLI_CLIENT, INTERACTION_SECONDS } from './provider.ts';
import { isWebRedirect, redirectKey } from './redirects.ts';
import { USED_CLIENT_MS } from './registration.ts';
import type { Resource, Targets } from './resources.ts';
import type { Store } from './store.ts';

/** An authorization request that waits for a person's answer. */
export type Request = {
  /** What the form of its page is bound to, and where that form goes. */
  transaction: string;
  path: string;
  /** Form fields that name the request again. */
  fields: Record<string, string>;
  /** Where the browser goes once the person has answered. */
  after: string;
  /** Hands the answer to whoever waits for it. */
  settle(answer: Answer): Promise<void>;
  client: Client;
  clientName: string;
  /** `document`: named by its address; `registered`: registered itself, nobody vouches for it; `own`: ours. */
  provenance: 'document' | 'registered' | 'own';
  /** Empty for a device, which fetches its answer itself. */
  redirect: string;
  resource: Resource;
  scopes: string[];
  prompts: Set<string>;
  startedAt: number;
};

export type Answer = { account: string; grant: string } | 'denied';

export type ConsentOptions = {
  provider: Provider;
  store: Store;
  clock: Clock;
  targets: Targets;
  audit: Audit;
  connectStep: ConnectStep;
};

export type Consent = ReturnType<typeof createConsent>;

export function createConsent(options: ConsentOptions) {
  const { provider, store, clock, targets, audit } = options;

  const keyOf = (request: Request, { user }: SignedIn) => ({
    tenant: user.tenant,
    user: user.id,
    client: request.client.clientId,
    redirect: redirectKey(request.redirect),
    resource: request.resource.uri,
  });

  async function answer(interaction: Interaction, given: Answer): Promise<void> {
    interaction.result =
      given === 'denied'
        ? { error: 'access_denied', error_description: 'The person did not allow it.' }
        : { login: { accountId: given.account, remember: false }, consent: { grantId: given.grant } };
    await interaction.persist();
  }

  return {
    /** @throws ValetkeyError authorization_expired */
    async load(uid: string): Promise<Request> {
      const record = await store.find('Interaction', hashToken(uid), clock.now());
      const interaction = await provider.Interaction.find(uid);
      const clientId = interaction?.params['client_id'];
      const client = typeof clientId === 'string' ? await provider.Client.find(clientId) : undefined;
      const resource = targets.find(String(interaction?.params['resource']));
      if (interaction === undefined || client === undefined || resource === undefined) {
        throw fail('authorization_expired');
      }
      const text = (name: string): string => {
        const value = interaction.params[name];
        return typeof value === 'string' ? value : '';
      };
      return {
        transaction: `consent:${uid}`,
        path: `/consent/${uid}`,
        fields: {},
        after: `/oauth/authorize/${uid}`,
        settle: async (given) => await answer(interaction, given),
        client,
        clientName: displayName(client.clientName),
        provenance: provenanceOf(client.clientId),
        redirect: text('redirect_uri'),
        resource,
        scopes: text('scope').split(' ').filter(Boolean),
        prompts: new Set(text('prompt').split(' ').filter(Boolean)),
        startedAt: (record?.expires_at ?? Number.POSITIVE_INFINITY) - INTERACTION_SECONDS * 1_000,
      };
    },

    /** What the person answered before to the very same request. */
    async remembered(request: Request, signedIn: SignedIn): Promise<'identical' | 'changed' | undefined> {
      const known = await store.findConsent(keyOf(request, signedIn));
      if (known === undefined) return undefined;
      const had = new Set(known.scopes.split(' '));
      const same = known.client_fingerprint === fingerprint(request.client) && request.scopes.every((s) => had.has(s));
      return same ? 'identical' : 'changed';
    },

    /**
     * Whether a remembered answer may be given again without asking. The redirect has to prove who receives the code:
     * a site on the web does, any program on the machine can listen on loopback or claim a scheme.
     */
    mayRepeat: (request: Request): boolean => isWebRedirect(request.redirect) && request.prompts.size === 0,

    /** Records the person's yes. Answers the path to go to next. */
    async allow(request: Request, signedIn: SignedIn): Promise<{ next: string; connects: boolean }> {
      const { user } = signedIn;
      if (user.tenant !== request.resource.tenant) throw fail('resource_foreign');
      const { clientId } = request.client;
      const account = accountOf(user.tenant, user.id);
      const flow = newId<FlowId>('flw');
      const grant = new provider.Grant({ accountId: account, clientId });
      grant.addResourceScope(request.resource.uri, request.scopes.join(' '));
      const grantId = await grant.save();
      const now = clock.now();
      await store.saveConsent({
        tenant: user.tenant,
        user_id: user.id,
        client_id: clientId,
        redirect_uri: redirectKey(request.redirect),
        resource: request.resource.uri,
        scopes: request.scopes.join(' '),
        client_fingerprint: fingerprint(request.client),
        client_name: request.clientName,
        created_at: now,
        last_used_at: now,
      });
      await store.keepClient(hashToken(clientId), now + USED_CLIENT_MS);
      await audit.record({
        tenant: user.tenant,
        action: 'consent.given',
        actor: `user:${user.id}`,
        client: clientId,
        object: `grant:${grantId}`,
        outcome: 'success',
        flow,
        detail: {
          resource: request.resource.uri,
          scopes: request.scopes,
          redirect: redirectKey(request.redirect),
          name: request.clientName,
        },
      });
      await request.settle({ account, grant: grantId });
      const returnTo = request.after;
      const step =
        request.resource.connector === null
          ? null
          : await options.connectStep({
              tenant: user.tenant,
              user: user.id,
              resource: request.resource.uri,
              flow,
              returnTo,
            });
      return { next: step ?? returnTo, connects: step !== null };
    },

    async deny(request: Request): Promise<string> {
      await request.settle('denied');
      return request.after;
    },
  };
}

export function provenanceOf(clientId: string): Request['provenance'] {
  if (clientId === CLI_CLIENT) return 'own';
  return clientId.includes('://') ? 'document' : 'registered';
}
