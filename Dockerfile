# One image for all services and the command; docker-compose.yml says which each container runs. A clone may be its user's alone
# (umask 077), what the image has is for all its users: chmod, since COPY --chmod is not for every builder.
FROM node:24-bookworm-slim AS manifests
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

# What runs: production dependencies of the workspaces. koffi's binary is an optional dependency: do not omit those.
FROM manifests AS production
ENV WORKSPACES="--workspace shared/base --workspace shared/machine --workspace shared/xen --workspace shared/frames \
      --workspace shared/tcpip --workspace shared/observe --workspace shared/measure --workspace shared/service \
      --workspace services/hypervisor --workspace services/driver-domain \
      --workspace services/guest --workspace services/nic --workspace load"
RUN npm ci --omit=dev --no-update-notifier $WORKSPACES \
 && chmod -R a+rX .

# What compiles: with the compiler and types, but without what only tests and checks need, which the root's manifest names. npm
# has what runs in its cache already.
FROM production AS build
RUN npm ci --prefer-offline --no-update-notifier $WORKSPACES
COPY tsconfig.base.json ./
COPY shared shared
COPY services services
COPY load load
RUN npx --no-install tsc -b services/hypervisor services/driver-domain services/guest services/nic load \
 && chmod -R a+rX shared services load

FROM node:24-bookworm-slim
ENV NODE_ENV=production
WORKDIR /grantline
COPY --from=production /grantline ./
COPY --from=build /grantline/shared/base/dist/src shared/base/dist/src
COPY --from=build /grantline/shared/machine/dist/src shared/machine/dist/src
COPY --from=build /grantline/shared/xen/dist/src shared/xen/dist/src
COPY --from=build /grantline/shared/frames/dist/src shared/frames/dist/src
COPY --from=build /grantline/shared/tcpip/dist/src shared/tcpip/dist/src
COPY --from=build /grantline/shared/observe/dist/src shared/observe/dist/src
COPY --from=build /grantline/shared/measure/dist/src shared/measure/dist/src
COPY --from=build /grantline/shared/service/dist/src shared/service/dist/src
COPY --from=build /grantline/services/hypervisor/dist/src services/hypervisor/dist/src
COPY --from=build /grantline/services/driver-domain/dist/src services/driver-domain/dist/src
COPY --from=build /grantline/services/guest/dist/src services/guest/dist/src
COPY --from=build /grantline/services/nic/dist/src services/nic/dist/src
COPY --from=build /grantline/load/dist/src load/dist/src
COPY --from=build /grantline/load/bin load/bin
# Compose gives each role a user of its own; alone it is not root either.
USER node
STOPSIGNAL SIGTERM
CMD ["node", "load/bin/grantline.mjs", "--help"]
