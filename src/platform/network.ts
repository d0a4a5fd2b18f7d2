/** Addresses of clients: which network one is in, and which it is where proxies of ours stand in between. */
import type { IncomingMessage } from 'node:http';
import ipaddr from 'ipaddr.js';

/** Whether an address is that of a proxy whose X-Forwarded-For can be believed. */
export type Trust = (address: string) => boolean;

type Range = [ipaddr.IPv4 | ipaddr.IPv6, number];

/** An address or a CIDR. @throws Error for anything else. */
function parseRange(text: string): Range {
  if (text.includes('/')) return ipaddr.parseCIDR(text);
  const address = ipaddr.process(text);
  return [address, address.kind() === 'ipv4' ? 32 : 128];
}

export function isRange(text: string): boolean {
  try {
    parseRange(text);
    return true;
  } catch {
    return false;
  }
}

/** @throws Error where one is neither an address nor a CIDR. */
export function trustOf(proxies: readonly string[]): Trust {
  const ranges = proxies.map(parseRange);
  return (text) => {
    if (ranges.length === 0 || !ipaddr.isValid(text)) return false;
    const address = ipaddr.process(text);
    return ranges.some(([base, bits]) => base.kind() === address.kind() && address.match(base, bits));
  };
}

/** The nearest address on the way of a request that is no proxy of ours: what stands before it anybody can claim. */
export function clientAddress({ socket, headers }: IncomingMessage, trust: Trust): string {
  const claimed = String(headers['x-forwarded-for'] ?? '').split(',');
  let address = socket.remoteAddress ?? '';
  while (trust(address)) {
    const next = claimed.pop()?.trim();
    if (next === undefined || next === '') break;
    address = next;
  }
  return address;
}

/** What clients are told apart by where they have no key: /24 for IPv4 (also when mapped into IPv6), /64 for IPv6. */
export function networkOf(address: string): string {
  const v4 = /(\d+\.\d+\.\d+)\.\d+$/.exec(address)?.[1];
  if (v4 !== undefined) return v4;
  const [head = '', tail] = address.split('::');
  const groups = head.split(':').filter((group) => group !== '');
  if (tail !== undefined) while (groups.length < 4) groups.push('0');
  return groups.slice(0, 4).join(':');
}
