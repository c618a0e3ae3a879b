LABEL a=1
FROM busybox
