FROM busybox
COPY --link=1 f /x
