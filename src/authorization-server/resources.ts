import type { TenantId } from '../ids.ts';

/** A protected resource that tokens can be issued for. */
export type Resource = { tenant: TenantId; connector: string | null; title: string; uri: string };

/** What the composition root knows of the resources; `uri` is compared byte for byte. */
export type ResourceDirectory = {
  find(uri: string): Resource | undefined;
  /** The resource of a tenant that has exactly one. */
  only(tenant: TenantId): string | undefined;
};

export const CONNECTOR_SCOPE = 'mcp';
export const ADMIN_SCOPE = 'admin';

export function scopesOf(resource: Resource): readonly string[] {
  return [resource.connector === null ? ADMIN_SCOPE : CONNECTOR_SCOPE];
}

export type Target =
  /** The request names this resource, in its canonical spelling. */
  | { kind: 'resource'; resource: Resource }
  /** The request names no resource, or the origin alone, and none can be meant. */
  | { kind: 'absent' }
  | { kind: 'unknown' };

/**
 * Finds what a client means by `resource` (RFC 8707). Clients have been seen to append a slash, to send the origin
 * instead of the path, and to send nothing; each is taken where it can mean one thing only.
 */
export function createTargets(directory: ResourceDirectory, publicUrl: string, tenant: TenantId) {
  const admin = `${publicUrl}/api/v1`;
  const find = (uri: string): Resource | undefined =>
    uri === admin ? { tenant, connector: null, title: 'Valetkey administration', uri } : directory.find(uri);
  const wholeOrigin = new Set([publicUrl, `${publicUrl}/`, `${publicUrl}/mcp`, `${publicUrl}/mcp/`]);

  return {
    admin,
    find,
    /** What a presented value names by itself; the whole origin names nothing. */
    named(value: string | undefined): Target {
      if (value === undefined || value === '') return { kind: 'absent' };
      const exact = find(value) ?? (value.endsWith('/') ? find(value.slice(0, -1)) : undefined);
      if (exact !== undefined) return { kind: 'resource', resource: exact };
      return wholeOrigin.has(value) ? { kind: 'absent' } : { kind: 'unknown' };
    },
    /** The same, with the one resource that there is for a request that names none. */
    meant(value: string | undefined): Target {
      const target = this.named(value);
      if (target.kind !== 'absent') return target;
      const only = directory.only(tenant);
      const resource = only === undefined ? undefined : find(only);
      return resource === undefined ? target : { kind: 'resource', resource };
    },
  };
}

export type Targets = ReturnType<typeof createTargets>;
