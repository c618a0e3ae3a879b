FROM busybox
["RUN"]
