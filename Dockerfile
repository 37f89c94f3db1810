# Images of both services: `docker build --target scheduler-svc -t scheduler-svc:0.1.0 .`, and the same for worker-svc.
# docs/operations.md says how they were tested. The version of Rust is that of rust-toolchain.toml (k8s/tests).
ARG RUST_VERSION=1.95.0

# What both need of other people's code. This layer is built anew only when a Cargo.toml or Cargo.lock changes: of our own
# code it has empty files in place.
FROM docker.io/library/rust:${RUST_VERSION}-slim-bookworm AS dependencies
WORKDIR /build
ENV CARGO_INCREMENTAL=0
COPY Cargo.toml Cargo.lock ./
COPY scheduler-svc/Cargo.toml scheduler-svc/
COPY worker-svc/Cargo.toml worker-svc/
COPY sync-core/Cargo.toml sync-core/
COPY simulation/Cargo.toml simulation/
COPY docker/skeleton docker/
RUN docker/skeleton && cargo build --locked --profile dist -p scheduler-svc -p worker-svc --bins

FROM dependencies AS build
COPY build.rs ./
COPY proto proto/
COPY scheduler-svc scheduler-svc/
COPY worker-svc worker-svc/
COPY sync-core sync-core/
# Cargo compares times, and what was copied may be older than the empty files that were built.
RUN find build.rs proto scheduler-svc worker-svc sync-core -type f -exec touch {} + \
    && cargo build --locked --profile dist -p scheduler-svc -p worker-svc --bins \
    && mkdir /out && cp target/dist/scheduler-svc target/dist/worker-svc /out/
# Line tables were three quarters of each program, and nothing prints a backtrace. Names of functions stay, for profilers.
RUN strip --strip-debug /out/*

FROM docker.io/library/debian:bookworm-slim AS runtime
# Object stores and Redis over TLS are checked against the authorities that the image trusts.
RUN apt-get update \
    && apt-get install -y --no-install-recommends ca-certificates \
    && rm -rf /var/lib/apt/lists/* \
    && mkdir -p /var/lib/docket && chown 65532:65532 /var/lib/docket
ARG VERSION=0.1.0
LABEL org.opencontainers.image.licenses="Apache-2.0" org.opencontainers.image.version="${VERSION}"
# The one place that is written to. ./data of the default settings is below it.
WORKDIR /var/lib/docket
USER 65532:65532

FROM runtime AS scheduler-svc
LABEL org.opencontainers.image.title="scheduler-svc" \
    org.opencontainers.image.description="Docket: owns schedules and runs, and streams due jobs to workers"
COPY --from=build /out/scheduler-svc /usr/local/bin/
EXPOSE 7310 7311
ENTRYPOINT ["/usr/local/bin/scheduler-svc"]

FROM runtime AS worker-svc
LABEL org.opencontainers.image.title="worker-svc" \
    org.opencontainers.image.description="Docket: runs due jobs, and serves mailboxes and documents"
COPY --from=build /out/worker-svc /usr/local/bin/
EXPOSE 7320 7321
ENTRYPOINT ["/usr/local/bin/worker-svc"]
