FROM busybox
ARG "A=x y"
RUN echo "$A" > /x
