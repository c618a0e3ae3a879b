FROM busybox
ADD --checksum=sha256:aec070645fe53ee3b3763059376134f058cc337247c978add178b6ccdfb0019f f /x
