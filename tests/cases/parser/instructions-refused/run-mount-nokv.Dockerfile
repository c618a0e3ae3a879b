FROM busybox
RUN --mount=tmpfs true
