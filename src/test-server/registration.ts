import { cleanName, parseRegistration, registrationAnswer, type Clients } from './clients.ts';
import { isForm, readForm, readJson, Refusal, sendJson, type Exchange, type Route } from './http.ts';
import type { Ledger } from './ledger.ts';
import { applicationsPage, sendPage } from './pages.ts';

/** RFC 7591 at `/auth/register` where `dynamic`; applications made by hand at `/auth/clients`, as page and as JSON. */
export function registrationRoutes(options: { clients: Clients; ledger: Ledger; dynamic: boolean }): Route[] {
  const { clients, ledger } = options;

  function create(document: unknown, origin: 'dynamic' | 'by_hand') {
    const client = clients.add({ ...parseRegistration(document), origin });
    ledger.record({ type: 'register', clientId: client.clientId, authMethod: client.authMethod });
    return client;
  }

  async function register({ req, res }: Exchange): Promise<void> {
    sendJson(res, 201, registrationAnswer(create(await readJson(req), 'dynamic')));
  }

  function list({ req, res }: Exchange): void {
    const applications = clients.list();
    if (/\btext\/html\b/.test(req.headers.accept ?? '')) return sendPage(res, 200, applicationsPage({ applications }));
    sendJson(res, 200, {
      items: applications.map((client) => ({
        ...registrationAnswer({ ...client, clientSecret: null }),
        origin: client.origin,
      })),
    });
  }

  async function createByHand({ req, res }: Exchange): Promise<void> {
    if (!isForm(req)) return sendJson(res, 201, registrationAnswer(create(await readJson(req), 'by_hand')));
    // A page elsewhere must not make applications here; browsers say where a form comes from.
    if (req.headers['sec-fetch-site'] !== undefined && req.headers['sec-fetch-site'] !== 'same-origin') {
      throw new Refusal(403, { error: 'access_denied' });
    }
    const form = await readForm(req);
    try {
      const created = create(
        {
          client_name: cleanName(form.get('client_name') ?? ''),
          redirect_uris: [form.get('redirect_uri') ?? ''],
          token_endpoint_auth_method: form.get('token_endpoint_auth_method') ?? undefined,
        },
        'by_hand',
      );
      sendPage(res, 201, applicationsPage({ applications: clients.list(), created }));
    } catch (error) {
      if (!(error instanceof Refusal)) throw error;
      const problem = String(error.body.error_description ?? error.body.error);
      sendPage(res, error.status, applicationsPage({ applications: clients.list(), problem }));
    }
  }

  return [
    ...(options.dynamic ? [{ method: 'POST', path: '/auth/register', handle: register }] : []),
    { method: 'GET', path: '/auth/clients', handle: list },
    { method: 'POST', path: '/auth/clients', handle: createByHand },
  ];
}
