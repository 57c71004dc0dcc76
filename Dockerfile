# pman in a container, from the wheel that `make image` builds into dist/ (any wheels beside it are
# used before the index). What it needs is pinned with hashes in deploy/requirements.txt (`make lock`);
# pin the base too: make image BASE=docker.io/library/python@sha256:...
ARG BASE=docker.io/library/python:3.13-slim-bookworm

FROM ${BASE} AS build
ARG PIP_NO_INDEX=
COPY dist/ /dist/
COPY deploy/requirements.txt /
RUN python3 -m venv --without-pip /opt/pman \
 && python3 -m pip --python /opt/pman install --no-cache-dir --no-compile --find-links /dist \
    --require-hashes -r /requirements.txt \
 && python3 -m pip --python /opt/pman install --no-cache-dir --no-compile --no-deps --no-index /dist/pman-*.whl

FROM ${BASE}
COPY --from=build /opt/pman /opt/pman
COPY deploy/docker-entrypoint.sh /usr/local/bin/pman-entrypoint
RUN echo 'pman:x:10001:10001::/nonexistent:/usr/sbin/nologin' >> /etc/passwd \
 && echo 'pman:x:10001:' >> /etc/group \
 && chmod 755 /usr/local/bin/pman-entrypoint
ENV PATH=/opt/pman/bin:$PATH PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1
EXPOSE 5010
# With TLS, only whether it listens: the certificate is for another name, and clients may need one.
HEALTHCHECK --interval=15s --timeout=5s --start-period=5s CMD ["python3", "-c", \
  "import os, socket, urllib.request as u; at = '127.0.0.1', int(os.environ.get('PORT') or 5010); \
  socket.create_connection(at, 4) if os.environ.get('TLS_CERT') else u.urlopen('http://%s:%d/healthz' % at, timeout=4)"]
ENTRYPOINT ["pman-entrypoint"]
CMD ["serve", "--host", "0.0.0.0"]
