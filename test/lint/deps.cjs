// Who may import whom (docs/architecture.md). Arrows point inward: platform knows nobody, the core of a domain
// knows platform, GraphQL files know the core, workers know services.
const core = '^src/(?!platform|graphql|http|rest|generated)[a-z]+/';
const graphqlFiles = '\\.(types|inputs|resolver)\\.ts$';

/** @type {import('dependency-cruiser').IConfiguration} */
module.exports = {
  forbidden: [
    {
      name: 'no-cycles',
      severity: 'error',
      from: {},
      to: { circular: true, viaOnly: { dependencyTypesNot: ['type-only'] } },
    },
    {
      name: 'platform-knows-no-domain',
      severity: 'error',
      from: { path: '^src/platform' },
      to: { path: '^src/(?!platform|generated)' },
    },
    {
      name: 'core-knows-no-graphql',
      severity: 'error',
      from: { path: core, pathNot: graphqlFiles },
      to: {
        path: '(^src/graphql/(?!context|raw-json|text-name|cursor)|\\.(types|inputs|resolver)\\.ts$|node_modules/(graphql|type-graphql)/)',
      },
    },
    {
      name: 'workers-know-no-graphql',
      severity: 'error',
      from: { path: '^workers' },
      to: { path: `(^src/graphql/|${graphqlFiles})` },
    },
    {
      name: 'resolvers-know-no-storage',
      severity: 'error',
      from: { path: '\\.(resolver|types|inputs)\\.ts$' },
      to: {
        path: '(\\.store\\.ts$|^src/platform/(db|prisma|redis)|node_modules/(pg|bullmq|ioredis)/)',
        dependencyTypesNot: ['type-only'],
      },
    },
    {
      name: 'config-only-at-the-roots',
      severity: 'error',
      from: { pathNot: '^(src/(app|main|start|installation)|workers/main|src/config)\\.ts$' },
      to: { path: '^src/config\\.ts$', dependencyTypesNot: ['type-only'] },
    },
    {
      name: 'no-orphans',
      severity: 'error',
      from: { orphan: true, pathNot: '(\\.d\\.ts|^src/generated)' },
      to: {},
    },
  ],
  options: {
    doNotFollow: { path: 'node_modules' },
    exclude: { path: '^src/generated' },
    tsConfig: { fileName: 'tsconfig.json' },
    tsPreCompilationDeps: true,
  },
};
