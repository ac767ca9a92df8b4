/** RFC 6265 cookies. Over https every cookie is `__Host-`: Secure, host-only, whole path, so no sibling host can plant one. */
export type CookieJar = {
  name(base: string): string;
  read(header: string | undefined | null, base: string): string | undefined;
  /** A Set-Cookie value; without `maxAgeSeconds` it ends with the browser session. */
  write(base: string, value: string, options?: { maxAgeSeconds?: number }): string;
  clear(base: string): string;
};

export function createCookieJar(publicUrl: string): CookieJar {
  const secure = publicUrl.startsWith('https:');
  const name = (base: string): string => (secure ? `__Host-${base}` : base);
  const attributes = `Path=/; HttpOnly; SameSite=Lax${secure ? '; Secure' : ''}`;
  return {
    name,
    read(header, base) {
      const wanted = name(base);
      for (const pair of (header ?? '').split(';')) {
        const at = pair.indexOf('=');
        if (at > 0 && pair.slice(0, at).trim() === wanted) return pair.slice(at + 1).trim();
      }
      return undefined;
    },
    write: (base, value, options = {}) =>
      `${name(base)}=${value}; ${attributes}${options.maxAgeSeconds === undefined ? '' : `; Max-Age=${options.maxAgeSeconds}`}`,
    clear: (base) => `${name(base)}=; ${attributes}; Max-Age=0`,
  };
}
