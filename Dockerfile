# The command line in a container without a shell, without root: blobferry and the authorities of TLS, nothing else.
#   docker build -t blobferry .
#   docker run --rm -v "$PWD/ingest.toml:/etc/blobferry/ingest.toml:ro" -e ACME_PASSWORD blobferry
# The configuration is read from /etc/blobferry/ingest.toml, the log goes to standard error, and the root file
# system may be read-only. /tmp takes archives while they are unpacked: give it room.
FROM rust:1.95-bookworm AS build
RUN rustup target add x86_64-unknown-linux-musl \
    && apt-get update && apt-get install --yes --no-install-recommends python3-venv binutils \
    && rm -rf /var/lib/apt/lists/*
WORKDIR /src
COPY . .
RUN scripts/package.sh --target x86_64-unknown-linux-musl \
    && install -D -m 755 target/x86_64-unknown-linux-musl/release/blobferry /root-fs/usr/bin/blobferry

FROM gcr.io/distroless/static-debian12:nonroot
COPY --from=build /root-fs/ /
ENV BLOBFERRY_CONFIG=/etc/blobferry/ingest.toml BLOBFERRY__LOG__FILES=false
USER nonroot:nonroot
ENTRYPOINT ["/usr/bin/blobferry"]
CMD ["run"]
