FROM busybox AS a
ARG X=a
FROM $X
