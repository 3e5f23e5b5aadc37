# syntax=docker/dockerfile:1
# The service without Redis and PostgreSQL: name them in REDIS_LOCK_URLS and DATABASE_URL_FILE (compose.yaml shows how).
#
#   docker build -t flash-sale .

FROM rust:1.95.0-slim-bookworm AS build
# rust-toolchain.toml would download rustfmt and clippy, which no build needs.
ENV RUSTUP_TOOLCHAIN=1.95.0
# hadolint ignore=DL3008 # Debian removes former versions from its mirrors, so a pinned one soon fails
RUN apt-get update \
    && apt-get install -y --no-install-recommends cmake g++ make \
    && rm -rf /var/lib/apt/lists/*
WORKDIR /build
COPY . .
# The commit, for flash_sale_build_info: docker build --build-arg REVISION="$(git rev-parse --short HEAD)" .
ARG REVISION=unknown
ENV FLASH_SALE_REVISION=$REVISION
# The build folder is a cache and not a part of the layer: hence the copy, which removes the symbols too.
RUN --mount=type=cache,target=/usr/local/cargo/registry \
    --mount=type=cache,target=/build/target \
    cargo build --release --locked --bin flash-sale \
    && install -D -s target/release/flash-sale /out/flash-sale \
    && mkdir /out/data

FROM busybox:1.37.0-musl AS busybox

# glibc, libgcc and certificates; no shell and no package manager.
FROM gcr.io/distroless/cc-debian12:nonroot
COPY --from=build /out/flash-sale /usr/local/bin/flash-sale
COPY --from=build --chown=65532:65532 /out/data /data
# One static program, for the health check.
COPY --from=busybox /bin/busybox /usr/local/bin/busybox
USER 65532:65532
# All interfaces of the container. Publish 8080 only through a proxy, and 9464 to nobody but operators.
ENV LISTEN_ADDR=0.0.0.0:8080 \
    OPS_ADDR=0.0.0.0:9464 \
    DATA_DIR=/data \
    SHUTDOWN_DELAY_MS=5000 \
    LOG_FORMAT=json
EXPOSE 8080 9464
# SHUTDOWN_DELAY_MS and SHUTDOWN_TIMEOUT_MS together are 15 s: stop with `docker stop -t 20`.
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=5s --timeout=3s --start-period=30s --retries=3 \
    CMD ["/usr/local/bin/busybox", "wget", "-q", "-O", "/dev/null", "http://127.0.0.1:9464/health/live"]
ENTRYPOINT ["/usr/local/bin/flash-sale"]
CMD ["serve"]
