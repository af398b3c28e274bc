# syntax=docker/dockerfile:1
# This file builds two images: `app` is Queuesite in every role (the command chooses the role), and `sqs` is the SQS
# emulator for development. A team's image begins with `FROM queuesite` and copies its handlers into the working folder.

# Pinned by digest. To move to a later one: docker build --build-arg PYTHON_IMAGE=python:3.13-slim@sha256:…
ARG PYTHON_IMAGE=python:3.13-slim@sha256:7c61056e61ac89e852de05f3dc6fa51a6dd2181797bceed46aa725dd7cb2cd3b

FROM ${PYTHON_IMAGE} AS build
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1
RUN python -m venv /opt/queuesite
ENV PATH=/opt/queuesite/bin:$PATH
WORKDIR /src
# The lock files have the hash of every package, direct or indirect; PostgreSQL's driver is among them.
COPY requirements.lock requirements-build.lock ./
RUN pip install --require-hashes -r requirements.lock
RUN python -m venv /opt/build && /opt/build/bin/pip install --require-hashes -r requirements-build.lock
COPY . .
RUN /opt/build/bin/python -m hatchling build -t wheel -d /tmp/wheel && pip install --no-deps /tmp/wheel/*.whl

FROM ${PYTHON_IMAGE} AS base
ENV PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1
RUN useradd --create-home --uid 1000 app && install -d -o 1000 -g 1000 /data

FROM base AS sqs
COPY requirements-servers.txt /tmp/
RUN pip install --no-cache-dir --disable-pip-version-check "$(grep '^ministack==' /tmp/requirements-servers.txt)"
VOLUME /data
ENV SERVICES=sqs GATEWAY_PORT=4566 BIND_HOST=0.0.0.0 PERSIST_STATE=1 STATE_DIR=/data \
    IOT_MTLS_ENABLED=0 SFTP_ENABLED=0 LOG_LEVEL=WARNING
# The guard accepts only the access key of QUEUESITE_ACCESS_KEY, and nothing from browsers.
COPY queuesite/local/ministack_guard.py /opt/
USER 1000:1000
EXPOSE 4566
CMD ["python", "-P", "/opt/ministack_guard.py"]

FROM base AS app
COPY --from=build /opt/queuesite /opt/queuesite
ENV PATH=/opt/queuesite/bin:$PATH QUEUESITE_HOME=/srv/queuesite
# The home: a team's handlers.py, tasks.py and packages lie here. Nothing is written into it when the image runs.
WORKDIR /srv/queuesite
# Collected static files get names that change with their content.
RUN SECRET_KEY=only-for-collecting-static-files-at-build DATA_DIR=/tmp/build \
    queuesite collectstatic --no-input --verbosity 0 && rm -rf /tmp/build
ENV DEBUG=0 DATA_DIR=/data WEB_HOST=0.0.0.0 LOG_FORMAT=json
USER 1000:1000
EXPOSE 8000
STOPSIGNAL SIGTERM
CMD ["queuesite", "runweb"]
