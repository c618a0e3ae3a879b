FROM busybox
ARG I=3s
HEALTHCHECK --interval=$I CMD x
