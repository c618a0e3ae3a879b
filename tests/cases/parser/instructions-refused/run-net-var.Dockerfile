FROM busybox
ARG N=none
RUN --network=$N true
