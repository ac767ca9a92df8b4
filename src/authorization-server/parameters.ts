import { scopesOf, type Targets } from './resources.ts';

/** What an authorization request of ours consists of; anything else is ignored (RFC 6749 §3.1). */
const KNOWN = [
  'response_type',
  'response_mode',
  'client_id',
  'redirect_uri',
  'state',
  'code_challenge',
  'code_challenge_method',
  'prompt',
  'request',
] as const;

/** Client authentication at the pushed authorization request endpoint passes untouched. */
const CREDENTIALS = ['client_secret'] as const;

function copy(from: URLSearchParams, to: URLSearchParams, names: readonly string[]): void {
  // A repeated parameter stays repeated, so that it is refused where it is judged.
  for (const name of names) for (const value of from.getAll(name)) if (value !== '') to.append(name, value);
}

/**
 * The authorization request as the engine takes it. Scopes that nobody knows are dropped, none left means the
 * resource's own; `offline_access` is dropped as well, since refresh tokens do not depend on it. `resource` turns into
 * its canonical spelling, or stays as it is for the engine to refuse.
 */
export function authorizationParameters(from: URLSearchParams, targets: Targets): URLSearchParams {
  const to = new URLSearchParams();
  const requestUris = from.getAll('request_uri').filter((value) => value !== '');
  if (requestUris.length > 0) {
    // RFC 9126 §4: what was pushed is the whole request.
    copy(from, to, ['client_id', 'request_uri']);
    return to;
  }
  copy(from, to, [...KNOWN, ...CREDENTIALS]);

  const prompts = from.getAll('prompt');
  if (prompts.length === 1 && prompts[0] !== '' && prompts[0]?.split(' ').includes('none') !== true) {
    const kept = ['login', 'consent'].filter((name) => prompts[0]?.split(' ').includes(name));
    if (kept.length > 0) to.set('prompt', kept.join(' '));
    else to.delete('prompt');
  }

  // The engine answers other types and modes outside the query, where nothing of ours would look at the answer.
  const types = to.getAll('response_type');
  if (types.length === 1 && types[0] !== 'code') to.set('response_type', 'unsupported');
  const modes = to.getAll('response_mode');
  if (modes.length === 1 && modes[0] !== 'query') to.set('response_mode', 'unsupported');

  const named = from.getAll('resource').filter((value) => value !== '');
  const target = named.length > 1 ? { kind: 'unknown' as const } : targets.meant(named[0]);
  if (target.kind === 'resource') to.set('resource', target.resource.uri);
  else if (target.kind === 'unknown') for (const value of named) to.append('resource', value);

  const scopes = from.getAll('scope').filter((value) => value !== '');
  if (scopes.length > 1) {
    for (const scope of scopes) to.append('scope', scope);
    return to;
  }
  const available = target.kind === 'resource' ? scopesOf(target.resource) : [];
  const asked = new Set((scopes[0] ?? '').split(' '));
  const granted = available.filter((scope) => asked.has(scope));
  const scope = (granted.length > 0 ? granted : available).join(' ');
  if (scope !== '') to.set('scope', scope);
  return to;
}
