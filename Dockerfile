# One image for every role: `node`, `coordinator`, `worker` and the command line.
FROM node:24-bookworm-slim

ENV NODE_ENV=production
WORKDIR /opt/scoutsync

# The packages change less often than the code: their layer is kept. `--omit=optional` leaves out the Node that the
# packages bring for machines without one; nothing here needs an install script.
COPY package.json package-lock.json ./
COPY packages/cli/package.json packages/cli/
COPY packages/core/package.json packages/core/
COPY packages/discovery/package.json packages/discovery/
COPY packages/files/package.json packages/files/
COPY packages/protocol/package.json packages/protocol/
COPY packages/replica/package.json packages/replica/
COPY packages/runtime/package.json packages/runtime/
COPY packages/session/package.json packages/session/
COPY packages/testkit/package.json packages/testkit/
COPY packages/trust/package.json packages/trust/
COPY services/coordinator/package.json services/coordinator/
COPY services/sync-node/package.json services/sync-node/
RUN npm ci --omit=dev --omit=optional --ignore-scripts --no-audit --no-fund && npm cache clean --force

COPY packages packages
COPY services services
COPY docs docs
COPY LICENSE README.md ./
RUN ln -s /opt/scoutsync/packages/cli/bin/scoutsync.mjs /usr/local/bin/scoutsync \
  && mkdir -p /var/lib/scoutsync && chown node:node /var/lib/scoutsync

# Whoever owns the databases: run with `--user` when that is not uid 1000.
USER node
VOLUME /var/lib/scoutsync
WORKDIR /var/lib/scoutsync
# tini is Docker's own (`init: true`, `--init`): the program handles its signals, but not other people's orphans.
ENTRYPOINT ["scoutsync"]
CMD ["--help"]
