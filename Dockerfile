# syntax=docker/dockerfile:1

# docker build --build-arg VERSION=v1.2.3 -t chatting .
# docker run -p 8000:8000 -v chatting:/data chatting        everything inside, for trial

# The builder runs on the machine that builds, and compiles for the one that is asked for.
FROM --platform=$BUILDPLATFORM golang:1.26.8 AS build
WORKDIR /src
COPY . .
ARG VERSION=
ARG TARGETOS
ARG TARGETARCH
RUN --mount=type=cache,target=/go/pkg/mod --mount=type=cache,target=/root/.cache/go-build \
    CGO_ENABLED=0 GOOS=$TARGETOS GOARCH=$TARGETARCH \
    go build -trimpath -buildvcs=false -ldflags "-s -w -X main.version=$VERSION" -o /out/chatting ./cmd/chatting
RUN mkdir /out/data

FROM scratch
ARG VERSION=
LABEL org.opencontainers.image.title="chatting" \
      org.opencontainers.image.description="A real-time chat server" \
      org.opencontainers.image.version="$VERSION" \
      org.opencontainers.image.licenses="MIT"
# For https:// services, and brokers and databases whose certificates are public.
COPY --from=build /etc/ssl/certs/ca-certificates.crt /etc/ssl/certs/
COPY --from=build /out/chatting /chatting
# A new volume takes its owner from here.
COPY --from=build --chown=65532:65532 /out/data /data
USER 65532:65532
ENV CHATTING_HTTP_ADDR=:8000 \
    CHATTING_DATA_DIR=/data
VOLUME /data
EXPOSE 8000
# Only that the process answers: one whose broker is away keeps its users, and must not be replaced for it.
HEALTHCHECK --interval=10s --timeout=6s --start-period=30s CMD ["/chatting", "health", "--live"]
ENTRYPOINT ["/chatting"]
