FROM busybox
ARG S=x
COPY --from=$S /f /x
