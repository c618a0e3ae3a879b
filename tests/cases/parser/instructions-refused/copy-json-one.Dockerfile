FROM busybox
COPY ["f"]
