# One image for all services and the command; docker-compose.yml says which each container runs. A clone may be its user's alone
# (umask 077), what the image has is for all its users: chmod, since COPY --chmod is not for every builder.
FROM node:24-bookworm-slim AS build
WORKDIR /grantline
COPY package.json package-lock.json .npmrc ./
COPY shared/base/package.json shared/base/
COPY shared/machine/package.json shared/machine/
COPY shared/xen/package.json shared/xen/
COPY shared/frames/package.json shared/frames/
COPY shared/tcpip/package.json shared/tcpip/
COPY shared/observe/package.json shared/observe/
COPY shared/measure/package.json shared/measure/
COPY shared/service/package.json shared/service/
COPY services/hypervisor/package.json services/hypervisor/
COPY services/driver-domain/package.json services/driver-domain/
COPY services/guest/package.json services/guest/
COPY services/nic/package.json services/nic/
COPY load/package.json load/
COPY dashboards/package.json dashboards/
# What a start needs. The binaries of koffi and esbuild are optional dependencies: do not omit those.
RUN npm ci --omit=dev --no-update-notifier

# The command makes the started form (tools/started-form.mjs), which lies there as tsc would have put it here. Then nobody transpiles any more.
COPY tools tools
COPY shared shared
COPY services services
COPY load load
RUN node load/bin/grantline.mjs --help > /dev/null \
 && mv .cache/started/* started \
 && rm -r node_modules/esbuild node_modules/@esbuild \
 && chmod -R a+rX .

FROM node:24-bookworm-slim
ENV NODE_ENV=production
WORKDIR /grantline
COPY --from=build /grantline/package.json /grantline/package-lock.json ./
COPY --from=build /grantline/node_modules node_modules
COPY --from=build /grantline/started ./
COPY --from=build /grantline/load/bin load/bin
# Compose gives each role a user of its own; alone it is not root either.
USER node
STOPSIGNAL SIGTERM
CMD ["node", "load/bin/grantline.mjs", "--help"]
