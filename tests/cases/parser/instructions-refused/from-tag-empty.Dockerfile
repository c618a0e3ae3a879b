FROM busybox:
