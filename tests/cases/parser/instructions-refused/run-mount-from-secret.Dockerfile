FROM busybox
RUN --mount=type=secret,from=busybox,target=/x true
