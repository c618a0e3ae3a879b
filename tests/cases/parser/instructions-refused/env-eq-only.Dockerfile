FROM busybox
ENV =
