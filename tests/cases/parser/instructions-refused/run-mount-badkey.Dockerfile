FROM busybox
RUN --mount=type=tmpfs,target=/x,foo=1 true
