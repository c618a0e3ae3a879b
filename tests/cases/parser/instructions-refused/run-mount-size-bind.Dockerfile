FROM busybox
RUN --mount=type=bind,target=/x,size=1m true
