# syntax=docker/dockerfile:1
# One image for gateways and workers; the command tells which. Migrations are run by whichever process starts first,
# under a lock.

FROM node:22-slim AS build
WORKDIR /app
COPY package.json package-lock.json ./
# Install scripts only make the embedded Postgres usable, which this image does not run.
RUN npm ci --ignore-scripts
COPY tsconfig.json tsconfig.build.json ./
COPY scripts scripts
COPY prisma prisma
COPY src src
COPY workers workers
RUN node scripts/build.mjs && npm prune --omit=dev --ignore-scripts

FROM node:22-slim
ENV NODE_ENV=production
WORKDIR /app
COPY --from=build /app/package.json ./
COPY --from=build /app/node_modules node_modules
COPY --from=build /app/dist dist
COPY --from=build /app/prisma/migrations prisma/migrations
COPY scripts/probe.mjs scripts/probe.mjs
USER node
EXPOSE 1984 1985
CMD ["node", "dist/src/main.js"]
