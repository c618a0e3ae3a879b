FROM busybox
COPY ["<<a", "/x"]
hi
a
