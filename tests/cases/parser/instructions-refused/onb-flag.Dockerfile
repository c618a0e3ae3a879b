FROM busybox
ONBUILD --x RUN y
