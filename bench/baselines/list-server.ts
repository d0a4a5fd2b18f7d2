/**
 * The same list by hand, twice: GET /raw is node:http, one prepared statement and JSON.stringify; POST /graphql is
 * Apollo Server as its documentation starts it, with the same statement behind the resolver.
 */
import { ApolloServer } from '@apollo/server';
import { HeaderMap } from '@apollo/server';
import { GraphQLScalarType } from 'graphql';
import { createServer } from 'node:http';
import type { IncomingMessage } from 'node:http';
import pg from 'pg';
import { FIELD_NAMES, isJson, STATEMENT } from './runs-query.js';

const pool = new pg.Pool({ connectionString: process.env['DATABASE_URL'], max: 6 });
const [workspaceId, project, days] = [
  process.env['WORKSPACE']!,
  process.env['PROJECT']!,
  process.env['DAYS']!.split(','),
];
pg.types.setTypeParser(pg.types.builtins.TIMESTAMPTZ, (text) => text);

async function list(): Promise<Record<string, unknown>[]> {
  const { rows } = await pool.query<Record<string, unknown>>({
    name: 'list',
    text: STATEMENT,
    values: [workspaceId, project, days],
  });
  return rows;
}

const apollo = new ApolloServer({
  typeDefs: `scalar JSON
    type Run { ${FIELD_NAMES.map((name) => `${name}: ${isJson(name) ? 'JSON' : 'String'}`).join(' ')} }
    type RunConnection { nodes: [Run!]! }
    input ProjectRef { id: ID }
    type Query { runs(project: ProjectRef, first: Int): RunConnection! }`,
  resolvers: {
    JSON: new GraphQLScalarType({ name: 'JSON' }),
    Query: { runs: async () => ({ nodes: await list() }) },
  },
});
await apollo.start();

async function body(request: IncomingMessage): Promise<unknown> {
  const chunks: Buffer[] = [];
  for await (const chunk of request) chunks.push(chunk as Buffer);
  return JSON.parse(Buffer.concat(chunks).toString('utf8'));
}

createServer((request, response) => {
  void (async () => {
    if (request.method === 'GET' && request.url === '/readyz') return response.end('ready');
    if (request.method === 'GET') {
      const text = JSON.stringify({ data: { runs: { nodes: await list() } } });
      return response.writeHead(200, { 'content-type': 'application/json' }).end(text);
    }
    const headers = new HeaderMap();
    for (const [name, value] of Object.entries(request.headers)) {
      if (typeof value === 'string') headers.set(name, value);
    }
    const answer = await apollo.executeHTTPGraphQLRequest({
      httpGraphQLRequest: { method: 'POST', headers, search: '', body: await body(request) },
      context: async () => ({}),
    });
    return response
      .writeHead(answer.status ?? 200, Object.fromEntries(answer.headers))
      .end(answer.body.kind === 'complete' ? answer.body.string : '');
  })().catch((error: unknown) => response.writeHead(500).end(String(error)));
}).listen(Number(process.env['PORT']), '127.0.0.1');
process.on('SIGTERM', () => process.exit(0));
