/**
 * Which addresses may be connected to on behalf of users: public ones on the usual ports, and what the operator has
 * named. Judged is what a socket is connected to, not what a name was said to mean a moment before.
 */
import { lookup as systemLookup } from 'node:dns';
import type { LookupAddress, LookupOptions } from 'node:dns';
import ipaddr from 'ipaddr.js';
import { buildConnector } from 'undici';

/** dns.lookup, as far as it is used: all addresses of a name. */
export type Lookup = (
  hostname: string,
  options: LookupOptions & { all: true },
  callback: (error: NodeJS.ErrnoException | null, addresses: LookupAddress[]) => void,
) => void;

/** An address that must not be connected to. The message names host and port and is safe to show. */
export class AddressRefused extends Error {
  constructor(message: string) {
    super(message);
    this.name = 'AddressRefused';
  }
}

const PORTS: Readonly<Record<string, number>> = { 'http:': 80, 'https:': 443 };
/** Without one of these in the operator's list, no other port can be reached. */
const PUBLIC_PORTS = new Set([80, 443]);
/** All that is assigned for use on the public internet; the rest of IPv6 includes ways to write IPv4 addresses. */
const GLOBAL_UNICAST = ipaddr.parseCIDR('2000::/3');

export class OutboundGuard {
  readonly #allowed: ReadonlySet<string>;
  readonly #lookup: Lookup;

  /**
   * @param allowedHosts `host:port` entries that may be reached whatever their address, as a URL would name them.
   * @param lookup default: the system's resolver.
   */
  constructor({ allowedHosts, lookup }: { allowedHosts: readonly string[]; lookup?: Lookup | undefined }) {
    this.#allowed = new Set(allowedHosts.map(normalEntry));
    this.#lookup = lookup ?? systemLookup;
  }

  /**
   * The parsed URL, if a request to it may be tried. Says nothing about where its host name leads.
   * @throws AddressRefused
   */
  checkUrl(text: string): URL {
    if (!URL.canParse(text)) throw new AddressRefused('This is not a URL.');
    const url = new URL(text);
    if (url.protocol !== 'http:' && url.protocol !== 'https:') {
      throw new AddressRefused('Only http:// and https:// addresses can be reached.');
    }
    if (url.username !== '' || url.password !== '') {
      throw new AddressRefused('A URL must not hold a user name or password.');
    }
    const port = portOf(url);
    if (this.#isAllowed(url.hostname, port)) return url;
    if (!PUBLIC_PORTS.has(port)) {
      throw new AddressRefused(
        `${url.hostname}:${port} cannot be reached: ports other than 80 and 443 have to be allowed by the operator.`,
      );
    }
    const literal = unbracketed(url.hostname);
    if (ipaddr.isValid(literal)) checkAddress(literal, url.hostname);
    return url;
  }

  /** Connects to checked addresses only; a name's addresses are checked, and the socket's once more. */
  connector(timeoutMs: number): buildConnector.connector {
    const anywhere = buildConnector({ timeout: timeoutMs });
    const checked = buildConnector({ timeout: timeoutMs, lookup: this.#checkedLookup() });
    return (options, callback) => {
      const { hostname, protocol } = options;
      const port = options.port === '' ? (PORTS[protocol] ?? 0) : Number(options.port);
      if (this.#isAllowed(hostname, port)) {
        anywhere(options, callback);
        return;
      }
      try {
        const host = hostname.includes(':') ? `[${unbracketed(hostname)}]` : hostname;
        this.checkUrl(`${protocol}//${host}:${port}`);
      } catch (refusal) {
        callback(refusal as Error, null);
        return;
      }
      checked(options, (...[error, socket]) => {
        if (error !== null) {
          callback(error, null);
          return;
        }
        try {
          checkAddress(socket.remoteAddress ?? '', hostname);
          callback(null, socket);
        } catch (refusal) {
          socket.destroy();
          callback(refusal as Error, null);
        }
      });
    };
  }

  #isAllowed(hostname: string, port: number): boolean {
    return this.#allowed.has(`${unbracketed(hostname)}:${port}`);
  }

  /** Nothing is sent to a private address, not even the beginning of a connection. */
  #checkedLookup() {
    return (
      hostname: string,
      options: LookupOptions,
      callback: (error: Error | null, address: string | LookupAddress[], family?: number) => void,
    ): void => {
      this.#lookup(hostname, { ...options, all: true }, (error, addresses) => {
        if (error !== null) {
          callback(error, []);
          return;
        }
        try {
          // One private address among public ones is no accident.
          for (const { address } of addresses) checkAddress(address, hostname);
        } catch (refusal) {
          callback(refusal as Error, []);
          return;
        }
        const [first] = addresses;
        if (options.all === true) callback(null, addresses);
        else if (first === undefined) callback(new Error('The name has no address.'), '');
        else callback(null, first.address, first.family);
      });
    };
  }
}

function checkAddress(address: string, hostname: string): void {
  if (isPublicAddress(address)) return;
  throw new AddressRefused(
    `${hostname} cannot be reached: its address is not a public one. ` +
      'The operator can allow it with OUTBOUND_ALLOWED_PRIVATE_HOSTS.',
  );
}

/** Whether an address belongs to the public internet, however it is written. */
export function isPublicAddress(text: string): boolean {
  if (!ipaddr.isValid(text)) return false;
  const address = ipaddr.process(text);
  if (address.range() !== 'unicast') return false;
  return address.kind() === 'ipv4' || address.match(GLOBAL_UNICAST);
}

const unbracketed = (hostname: string): string => hostname.replace(/^\[(.*)\]$/, '$1');
const portOf = (url: URL): number => (url.port === '' ? (PORTS[url.protocol] ?? 0) : Number(url.port));

/** As the URL parser writes the host, so that the comparison is one of texts. */
function normalEntry(entry: string): string {
  const url = new URL(`http://${entry}`);
  return `${unbracketed(url.hostname)}:${portOf(url)}`;
}
