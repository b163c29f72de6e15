# The service: docker build --tag mammoscope:0.1.0 .
# Training:    docker build --tag mammoscope-train:0.1.0 --target train .
# Bulk:        docker build --tag mammoscope-bulk:0.1.0 --target bulk .
# Archive:     docker build --tag mammoscope-archive:0.1.0 --target archive .
#
# The base is an argument, for mirrors, for other Debian images with Python 3.11 and for digests:
# --build-arg BASE=python:3.11-slim@sha256:...
ARG BASE=python:3.11-slim


# Packages exactly as locked, pipenv too: pip refuses every file whose hash is not in the lock.
FROM ${BASE} AS packages
SHELL ["/bin/bash", "-euo", "pipefail", "-c"]
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1 PIP_ROOT_USER_ACTION=ignore
WORKDIR /build
COPY .ci/requirements/pipenv.txt ./
RUN python3 -m venv /opt/pipenv \
    && /opt/pipenv/bin/python -m pip install --quiet --no-deps --require-hashes \
        --requirement pipenv.txt \
    && python3 -m venv /opt/mammoscope
COPY Pipfile Pipfile.lock ./
RUN /opt/pipenv/bin/pipenv requirements --hash --categories packages >packages.txt \
    && /opt/mammoscope/bin/python -m pip install --quiet --no-compile --no-deps --require-hashes \
        --requirement packages.txt


# The image contains the compiled network, so that the service needs neither Keras nor a writable
# folder. Files that it never loads are removed. The result is then tested: it predicts images in each
# DICOM transfer syntax. Loading the model checks the sha256 of its files. Python keeps the bytecode of
# exactly the modules that were needed.
FROM packages AS assembled
WORKDIR /app
COPY mammoscope ./mammoscope
COPY model ./model
RUN PYTHONDONTWRITEBYTECODE=1 /opt/mammoscope/bin/python -m mammoscope compile --output model
COPY .ci/prune.py /build/
RUN PYTHONDONTWRITEBYTECODE=1 /opt/mammoscope/bin/python /build/prune.py
COPY LICENSE predict.py gunicorn.conf.py ./
COPY .ci/try_image.py /build/
RUN chmod -R a=rX,u+w /app \
    && PYTHONPATH=/app /opt/mammoscope/bin/python /build/try_image.py


FROM ${BASE} AS serve
ARG BASE
ARG VERSION=0.1.0
ARG REVISION=unknown
LABEL org.opencontainers.image.title="Mammoscope" \
      org.opencontainers.image.description="Classifies mammograms over HTTP. Research software, not a medical device." \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}" \
      org.opencontainers.image.base.name="${BASE}"
ENV PATH=/opt/mammoscope/bin:/usr/local/bin:/usr/bin:/bin \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    HOME=/tmp \
    MAMMOSCOPE_BIND=0.0.0.0:9696 \
    MAMMOSCOPE_PROBE_BIND=0.0.0.0:9698
WORKDIR /app
COPY --from=assembled /opt/mammoscope /opt/mammoscope
COPY --from=assembled /app ./
USER 10001:10001
EXPOSE 9696
STOPSIGNAL SIGTERM
# In Python, so that neither a shell nor curl is needed; any status except 200 exits with 1.
HEALTHCHECK --interval=15s --timeout=5s --start-period=120s --retries=3 \
    CMD ["python", "-I", "-c", "import http.client as h, os; c = h.HTTPConnection('127.0.0.1', os.environ['MAMMOSCOPE_PROBE_BIND'].rpartition(':')[2], timeout=4); c.request('GET', '/readyz'); raise SystemExit(c.getresponse().status != 200)"]
# Process 1 reaps orphans and passes signals only to gunicorn, which drains and stops its worker
# itself.
ENTRYPOINT ["dumb-init", "--single-child", "--", "gunicorn"]
CMD ["predict:app", "--config", "gunicorn.conf.py"]


FROM packages AS train-packages
RUN /opt/pipenv/bin/pipenv requirements --hash --categories "training distributed" >training.txt \
    && /opt/mammoscope/bin/python -m pip install --quiet --no-compile --no-deps --require-hashes \
        --requirement training.txt


# The training environment: data in /data, runs in /runs.
FROM ${BASE} AS train
ARG BASE
ARG VERSION=0.1.0
ARG REVISION=unknown
LABEL org.opencontainers.image.title="Mammoscope, training" \
      org.opencontainers.image.description="Trains mammogram classifiers. Research software, not a medical device." \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}" \
      org.opencontainers.image.base.name="${BASE}"
ENV PATH=/opt/mammoscope/bin:/usr/local/bin:/usr/bin:/bin \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    HOME=/tmp \
    MPLCONFIGDIR=/tmp/matplotlib
WORKDIR /app
COPY --from=train-packages /opt/mammoscope /opt/mammoscope
COPY --from=assembled /app ./
COPY train.py ./
USER 10001:10001
VOLUME ["/data", "/runs"]
# The training exits by itself and opens no port.
HEALTHCHECK NONE
# Without an init as process 1, Python would ignore SIGTERM, and a stopped training would be killed
# only at the end of the grace period.
ENTRYPOINT ["dumb-init", "--single-child", "--", "python", "train.py"]
CMD ["--help"]


FROM packages AS bulk-packages
RUN /opt/pipenv/bin/pipenv requirements --hash --categories bulk >bulk.txt \
    && /opt/mammoscope/bin/python -m pip install --quiet --no-compile --no-deps --require-hashes \
        --requirement bulk.txt


# A head or worker of a Ray cluster for bulk prediction; KubeRay gives the command.
FROM ${BASE} AS bulk
ARG BASE
ARG VERSION=0.1.0
ARG REVISION=unknown
LABEL org.opencontainers.image.title="Mammoscope, bulk prediction" \
      org.opencontainers.image.description="Predicts archives of mammograms on Ray. Research software, not a medical device." \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}" \
      org.opencontainers.image.base.name="${BASE}"
ENV PATH=/opt/mammoscope/bin:/usr/local/bin:/usr/bin:/bin \
    PYTHONPATH=/app \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    HOME=/tmp
WORKDIR /app
COPY --from=bulk-packages /opt/mammoscope /opt/mammoscope
COPY --from=assembled /app ./
USER 10001:10001
# Ray has its own checks of health, which the manifests ask for.
HEALTHCHECK NONE
ENTRYPOINT ["dumb-init", "--"]
CMD ["ray", "--help"]


FROM packages AS archive-packages
RUN /opt/pipenv/bin/pipenv requirements --hash --categories archive >archive.txt \
    && /opt/mammoscope/bin/python -m pip install --quiet --no-compile --no-deps --require-hashes \
        --requirement archive.txt


# The worker of an archive (PACS), and the other commands of `mammoscope archive`.
FROM ${BASE} AS archive
ARG BASE
ARG VERSION=0.1.0
ARG REVISION=unknown
LABEL org.opencontainers.image.title="Mammoscope, archive" \
      org.opencontainers.image.description="Reports mammography studies of a PACS. Research software, not a medical device." \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}" \
      org.opencontainers.image.base.name="${BASE}"
ENV PATH=/opt/mammoscope/bin:/usr/local/bin:/usr/bin:/bin \
    PYTHONPATH=/app \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    HOME=/tmp
WORKDIR /app
COPY --from=archive-packages /opt/mammoscope /opt/mammoscope
COPY --from=assembled /app ./
USER 10001:10001
# The worker answers no requests; the manifests ask whether its port of metrics is open.
HEALTHCHECK NONE
ENTRYPOINT ["dumb-init", "--single-child", "--", "python", "-m", "mammoscope"]
CMD ["archive", "--help"]


# The default of `docker build .`. It comes last, because some builders build all earlier stages: with
# `--target serve` they then skip TensorFlow.
FROM serve AS default
