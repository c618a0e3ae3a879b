FROM busybox
RUN --mount=type=bind,target=/x,mode=755 true
