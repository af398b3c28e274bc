# This file builds two images: `app` is Queuesite in every role (the command chooses the role), and `sqs` is the SQS
# emulator for development. Modules with your own handlers are part of `app` if they are beside manage.py; name them in
# HANDLER_MODULES.

# A tag moves with its security updates. To pin an image, use the digest that your registry shows:
# docker build --build-arg PYTHON_IMAGE=python:3.11-slim@sha256:… (compose.yaml: PYTHON_IMAGE).
ARG PYTHON_IMAGE=python:3.11-slim
FROM ${PYTHON_IMAGE} AS base
ENV PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1 PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1
RUN useradd --create-home --uid 1000 app && install -d -o app -g app /data

FROM base AS sqs
COPY requirements-servers.txt /tmp/
RUN pip install "$(grep '^ministack==' /tmp/requirements-servers.txt)"
VOLUME /data
ENV SERVICES=sqs GATEWAY_PORT=4566 BIND_HOST=0.0.0.0 PERSIST_STATE=1 STATE_DIR=/data \
    IOT_MTLS_ENABLED=0 SFTP_ENABLED=0 LOG_LEVEL=WARNING
# The guard accepts only the access key of QUEUESITE_ACCESS_KEY, and nothing from browsers.
COPY queuesite/ministack_guard.py /opt/
USER app
EXPOSE 4566
CMD ["python", "-P", "/opt/ministack_guard.py"]

FROM base AS app
WORKDIR /app
# The lock file includes PostgreSQL's driver and has the hash of every package, direct or indirect.
COPY requirements.lock .
RUN pip install --require-hashes -r requirements.lock
COPY . .
# Collected static files get names that change with their content.
RUN SECRET_KEY=only-for-collecting-static-files-at-build DATA_DIR=/tmp/build \
    python manage.py collectstatic --no-input --verbosity 0 && chown -R app:app staticfiles
ENV DEBUG=0 DATA_DIR=/data WEB_HOST=0.0.0.0 LOG_FORMAT=json
USER app
EXPOSE 8000
CMD ["python", "manage.py", "runweb"]
