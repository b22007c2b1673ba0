# syntax=docker/dockerfile:1

FROM rust:1.95-slim-bookworm AS build
WORKDIR /src
# Build the dependencies first: their layer is reused until the lock file changes.
COPY Cargo.toml Cargo.lock ./
COPY crates/loadgen/Cargo.toml crates/loadgen/
# Cargo.toml refers to them, but they are not built.
COPY benches benches
RUN mkdir -p src crates/loadgen/src && echo 'fn main() {}' > src/main.rs && touch src/lib.rs crates/loadgen/src/lib.rs \
    && cargo build --release --locked --bin yamabiko \
    && rm -r src crates/loadgen/src
COPY config config
# The console includes documents, snippets and the JavaScript client.
COPY docs docs
COPY clients/js/dist clients/js/dist
COPY crates crates
COPY src src
# The sources may be older than the empty crates built above, so touch them.
RUN touch src/main.rs src/lib.rs crates/loadgen/src/lib.rs && cargo build --release --locked --bin yamabiko

FROM gcr.io/distroless/cc-debian12:nonroot
COPY --from=build /src/target/release/yamabiko /usr/local/bin/yamabiko
EXPOSE 8080
# Requests /healthz on the operators' port, at the address in the server's settings.
HEALTHCHECK --interval=10s --timeout=3s --start-period=5s CMD ["/usr/local/bin/yamabiko", "healthcheck"]
ENTRYPOINT ["/usr/local/bin/yamabiko"]
CMD ["serve"]
