# The command line in a container without a shell, without root: blobferry and the authorities of TLS, nothing else.
#   docker build -t blobferry .
#   docker run --rm -v "$PWD/ingest.toml:/etc/blobferry/ingest.toml:ro" -e ACME_PASSWORD blobferry
# The configuration is read from /etc/blobferry/ingest.toml, the log goes to standard error, and the root file
# system may be read-only. /tmp takes archives while they are unpacked: give it room.
FROM --platform=$BUILDPLATFORM rust:1.95-bookworm AS build
RUN apt-get update && apt-get install --yes --no-install-recommends python3-venv binutils \
    && rm -rf /var/lib/apt/lists/*
WORKDIR /src
COPY . .
# The machine that the image is for: `docker build --platform linux/arm64` builds for it on any other.
ARG TARGETARCH=amd64
RUN case "$TARGETARCH" in amd64) machine=x86_64 ;; arm64) machine=aarch64 ;; *) exit 1 ;; esac \
    && rustup target add "$machine-unknown-linux-musl" \
    && scripts/build-portable.sh "$machine-unknown-linux-musl" \
    && scripts/portable.sh "target/$machine-unknown-linux-musl/release/blobferry" "$machine" \
    && install -D -m 755 "target/$machine-unknown-linux-musl/release/blobferry" /root-fs/usr/bin/blobferry

FROM gcr.io/distroless/static-debian12:nonroot
COPY --from=build /root-fs/ /
# The allocator gives freed memory back after ten milliseconds; of itself it keeps it for a second.
ENV BLOBFERRY_CONFIG=/etc/blobferry/ingest.toml BLOBFERRY__LOG__FILES=false MIMALLOC_PURGE_DELAY=10
# A number: `runAsNonRoot` of Kubernetes does not know what a name stands for, and refuses the image.
USER 65532:65532
ENTRYPOINT ["/usr/bin/blobferry"]
CMD ["run"]
