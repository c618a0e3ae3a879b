FROM busybox
COPY . /app
RUN find /app | sort > /list
