FROM busybox
COPY https://github.com/a/b.git /x
