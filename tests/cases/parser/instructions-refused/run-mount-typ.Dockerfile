FROM busybox
RUN --mount=typ=tmpfs true
