FROM busybox
RUN --mount=type=tmpfs,"target=/a,b" touch /a,b/c
