FROM --platform=linux/amd64 --platform=linux/amd64 busybox
