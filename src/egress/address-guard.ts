import { lookup as dnsLookup, type LookupAddress } from 'node:dns';
import { BlockList, isIP, isIPv6, type LookupFunction } from 'node:net';
import { fail } from '../errors.ts';

/** Everything that is not a public unicast address (IANA special-purpose registries; RFC 6890, 4193, 4291, 6598). */
const SPECIAL: readonly (readonly [string, number, 'ipv4' | 'ipv6'])[] = [
  ['0.0.0.0', 8, 'ipv4'],
  ['10.0.0.0', 8, 'ipv4'],
  ['100.64.0.0', 10, 'ipv4'],
  ['127.0.0.0', 8, 'ipv4'],
  ['169.254.0.0', 16, 'ipv4'],
  ['172.16.0.0', 12, 'ipv4'],
  ['192.0.0.0', 24, 'ipv4'],
  ['192.0.2.0', 24, 'ipv4'],
  ['192.88.99.0', 24, 'ipv4'],
  ['192.168.0.0', 16, 'ipv4'],
  ['198.18.0.0', 15, 'ipv4'],
  ['198.51.100.0', 24, 'ipv4'],
  ['203.0.113.0', 24, 'ipv4'],
  ['224.0.0.0', 4, 'ipv4'],
  ['240.0.0.0', 4, 'ipv4'],
  // Blocks that embed IPv4 addresses (compatible, mapped, NAT64, 6to4, Teredo) could smuggle any of the above.
  ['::', 96, 'ipv6'],
  ['::ffff:0:0', 96, 'ipv6'],
  ['64:ff9b::', 96, 'ipv6'],
  ['64:ff9b:1::', 48, 'ipv6'],
  ['100::', 64, 'ipv6'],
  ['2001::', 23, 'ipv6'],
  ['2001:db8::', 32, 'ipv6'],
  ['2002::', 16, 'ipv6'],
  ['3fff::', 20, 'ipv6'],
  ['5f00::', 16, 'ipv6'],
  ['fc00::', 7, 'ipv6'],
  ['fe80::', 10, 'ipv6'],
  ['fec0::', 10, 'ipv6'],
  ['ff00::', 8, 'ipv6'],
];

export type AddressGuard = {
  /** Whether a host that the operator named, or one of its addresses, is allowed besides public ones. */
  allowsHost(hostname: string): boolean;
  /** Throws `egress_blocked` for an address that may not be reached. */
  checkAddress(address: string, hostname: string): void;
  /** Throws for a URL that can be refused without a look-up: scheme, userinfo, address literals. */
  checkUrl(url: URL): void;
  /** For `connect.lookup`: addresses are judged at connect time, so a name cannot be bound anew in between. */
  lookup: LookupFunction;
};

function strip(hostname: string): string {
  return hostname.startsWith('[') ? hostname.slice(1, -1) : hostname;
}

/**
 * @param allowed CIDRs, addresses and host names that may be reached besides public addresses; `loopback` stands for
 *   127.0.0.0/8, ::1 and `localhost`.
 */
export function createAddressGuard(allowed: readonly string[]): AddressGuard {
  // Apart by family: a list with ::ffff:0:0/96 in it would match every IPv4 address.
  const special = { ipv4: new BlockList(), ipv6: new BlockList() };
  for (const [net, prefix, family] of SPECIAL) special[family].addSubnet(net, prefix, family);
  const permitted = new BlockList();
  const hosts = new Set<string>();
  for (const item of allowed.flatMap((name) => (name === 'loopback' ? ['127.0.0.0/8', '::1', 'localhost'] : [name]))) {
    const [address = '', prefix] = item.split('/');
    const family = isIP(strip(address));
    if (family === 0) hosts.add(item.toLowerCase());
    else if (prefix === undefined) permitted.addAddress(strip(address), family === 6 ? 'ipv6' : 'ipv4');
    else permitted.addSubnet(strip(address), Number(prefix), family === 6 ? 'ipv6' : 'ipv4');
  }

  const allowsHost = (hostname: string): boolean => hosts.has(hostname.toLowerCase());

  function checkAddress(address: string, hostname: string): void {
    const family = isIPv6(address) ? 'ipv6' : 'ipv4';
    if (permitted.check(address, family) || allowsHost(hostname)) return;
    if (special[family].check(address, family)) {
      throw fail('egress_blocked', {
        message: `The host ${hostname} is at an address that the gateway may not reach.`,
        detail: { hostname, address },
      });
    }
  }

  function isPermitted(hostname: string): boolean {
    const address = strip(hostname);
    return allowsHost(hostname) || (isIP(address) !== 0 && permitted.check(address, isIPv6(address) ? 'ipv6' : 'ipv4'));
  }

  return {
    allowsHost,
    checkAddress,
    checkUrl(url) {
      if (url.protocol !== 'https:' && !(url.protocol === 'http:' && isPermitted(url.hostname))) {
        throw fail('egress_insecure', { message: `${url.origin} does not use https.` });
      }
      if (url.username !== '' || url.password !== '') {
        throw fail('egress_blocked', { message: `The address of ${url.host} carries a user name or password.` });
      }
      const literal = strip(url.hostname);
      if (isIP(literal) !== 0) checkAddress(literal, literal);
    },
    lookup(hostname, options, callback) {
      dnsLookup(hostname, { ...options, all: true }, (error, addresses: LookupAddress[]) => {
        if (error !== null) return callback(error, '', 4);
        try {
          for (const { address } of addresses) checkAddress(address, hostname);
        } catch (blocked) {
          return callback(blocked as NodeJS.ErrnoException, '', 4);
        }
        if (options.all === true) return callback(null, addresses);
        const [first] = addresses;
        if (first === undefined) return callback(Object.assign(new Error('no address'), { code: 'ENOTFOUND' }), '', 4);
        callback(null, first.address, first.family);
      });
    },
  };
}
