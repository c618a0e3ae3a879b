FROM busybox
ENV S=busybox
RUN --mount=from=$S,type=cache,target=/x true
