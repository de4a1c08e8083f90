# The server as a container image: docs/containers.md. Works with docker build, podman build and buildah bud.

# Any image with a Debian (apt-get) and Node.js 20.19 or newer with npm.
ARG BASE=docker.io/library/node:24-slim

FROM ${BASE} AS build
RUN apt-get update \
 && apt-get install -y --no-install-recommends g++ make python3 \
 && rm -rf /var/lib/apt/lists/*
WORKDIR /opt/lookaside
COPY package.json package-lock.json ./
# The database is compiled from the source that the lock file has the hash of: the lock file knows nothing of binaries that
# the package would download. Compiled with the headers beside node where the base has them, which are fetched otherwise.
RUN prefix="$(node -p 'path.resolve(process.execPath, "../..")')" \
 && if [ -e "$prefix/include/node/node_version.h" ]; then \
      export npm_package_config_node_gyp_nodedir="$prefix" npm_config_nodedir="$prefix"; \
    fi \
 && export npm_config_build_from_source=true JOBS=max npm_config_update_notifier=false \
 && npm ci --include=dev --ignore-scripts=false --no-audit --no-fund --loglevel=error
COPY tsconfig.json ./
COPY src src
# What only building needed goes; and whatever umask the checkout was made with, everyone may read the rest.
RUN node node_modules/typescript/bin/tsc -p . --sourceMap false \
 && chmod 755 dist/src/main.js \
 && cp -R src/ui/assets dist/src/ui/assets \
 && npm prune --omit=dev --ignore-scripts --no-audit --no-fund --loglevel=error \
 && cd node_modules/better-sqlite3 \
 && mv build/Release/better_sqlite3.node . \
 && rm -rf build deps src binding.gyp \
 && mkdir -p build/Release \
 && mv better_sqlite3.node build/Release/ \
 && find .. -type f \( -name '*.map' -o -name '*.ts' -o -name '*.cts' -o -name '*.mts' \) -delete \
 && find .. -type d -empty -delete
COPY LICENSE ./
COPY migrations migrations
COPY scripts/healthy.mjs scripts/healthy.mjs
RUN rm -rf src tsconfig.json package-lock.json \
 && chmod -R u=rwX,go=rX .

FROM ${BASE}
LABEL org.opencontainers.image.title="lookaside" \
      org.opencontainers.image.description="The signature server for container images" \
      org.opencontainers.image.version="0.1.0" \
      org.opencontainers.image.licenses="Apache-2.0"
COPY --from=build /opt/lookaside /opt/lookaside
# Group 0 and its rights on the data are for OpenShift, which runs an image as any user of that group.
RUN ln -s /opt/lookaside/dist/src/main.js /usr/local/bin/lookaside \
 && install -d -o 1001 -g 0 -m 0770 /var/lib/lookaside
ENV NODE_ENV=production \
    LOOKASIDE_DATA=/var/lib/lookaside
USER 1001
WORKDIR /var/lib/lookaside
VOLUME /var/lib/lookaside
EXPOSE 8000
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=30s --timeout=5s --start-period=30s CMD ["node", "/opt/lookaside/scripts/healthy.mjs"]
ENTRYPOINT ["lookaside"]
CMD ["serve"]
