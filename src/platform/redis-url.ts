/**
 * The addresses of a Redis Cluster in one URL, `redis+cluster://user:password@host:port,host:port`; with TLS
 * `rediss+cluster://`. A scheme of its own, as one name may stand for a whole cluster. The nodes named are where to begin:
 * the cluster says which others there are, and all of them get the same credentials.
 */
export interface ClusterAddress {
  readonly nodes: readonly { readonly host: string; readonly port: number }[];
  readonly username: string | undefined;
  readonly password: string | undefined;
  readonly tls: boolean;
}

export class ClusterUrlError extends Error {
  override readonly name = 'ClusterUrlError';
}

const SCHEME = /^(rediss?)\+cluster:\/\//;
const NODE = /^(?:\[([0-9a-f:.]+)\]|([\w.-]+))(?::(\d{1,5}))?$/i;

/**
 * Undefined where the URL is that of one server.
 * @throws ClusterUrlError in words that repeat nothing of the URL, which may hold a password.
 */
export function parseClusterUrl(url: string): ClusterAddress | undefined {
  const scheme = SCHEME.exec(url);
  if (scheme === null) return undefined;
  const rest = url.slice(scheme[0].length);
  const at = rest.lastIndexOf('@');
  const place = rest.slice(at + 1).replace(/\/$/, '');
  if (/[/?#]/.test(place)) {
    throw new ClusterUrlError('must end with the nodes; a cluster has no numbered databases');
  }
  return {
    tls: scheme[1] === 'rediss',
    ...credentials(at < 0 ? '' : rest.slice(0, at)),
    nodes: place.split(',').map((node, index) => {
      const [, ipv6, name, port = '6379'] = NODE.exec(node.trim()) ?? [];
      const host = ipv6 ?? name;
      if (host === undefined || Number(port) < 1 || Number(port) > 65_535) {
        throw new ClusterUrlError(`must name its nodes as host:port,host:port; number ${index + 1} is none`);
      }
      return { host, port: Number(port) };
    }),
  };
}

function credentials(text: string): Pick<ClusterAddress, 'username' | 'password'> {
  if (text === '') return { username: undefined, password: undefined };
  const [, username = '', password = ''] = /^([^:]*):(.*)$/s.exec(text) ?? [];
  if (password === '') throw new ClusterUrlError('must name the user with a password, as in user:password@');
  try {
    // Several whole URLs in a row look like this too.
    if (/[@/?#,]/.test(text)) throw new URIError();
    return { username: decodeURIComponent(username) || undefined, password: decodeURIComponent(password) };
  } catch {
    throw new ClusterUrlError('must have user and password percent-encoded');
  }
}
