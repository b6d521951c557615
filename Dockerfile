# Model Fleet in a container: supervisord as PID 1, one user, a read-only root, everything that changes in one volume.
#
#   docker build -t model-fleet .                              with the local backtest
#   docker build -t model-fleet:slim --build-arg LOCK=slim .   without its libraries: for BRAIN as the evaluator
#
# BASE is any image with Python 3.11 or newer and its venv module. It is named by its full version; pin it by digest with
# --build-arg BASE=python@sha256:…. Both stages stand on it, since the packages are made for its Python.
ARG BASE=python:3.13.9-slim-bookworm

# Installs the locked packages and compiles; nothing of pip reaches the result.
FROM ${BASE} AS build
ARG LOCK=runtime
# pip's own variables, for those who build behind a mirror or a proxy with a certificate of its own.
ARG PIP_INDEX_URL
ARG PIP_CERT
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_ROOT_USER_ACTION=ignore
WORKDIR /opt/model-fleet
RUN python3 -m venv /opt/tools && python3 -m venv --without-pip /opt/venv
COPY requirements/${LOCK}.txt /opt/lock.txt
# Wheels only: nothing from outside runs while it is installed. Their tests are a tenth of what they weigh.
RUN /opt/tools/bin/pip --python /opt/venv/bin/python install --quiet --require-hashes --only-binary :all: -r /opt/lock.txt \
 && find /opt/venv/lib -depth -type d -name tests -exec rm -rf {} + \
 && rm -rf /opt/venv/include /opt/venv/share
COPY . .
# Compiled here, since nothing can be written to a read-only root. A CPU of another kind compiles the kernels anew, into
# the volume; see container/entry.sh.
RUN ln -s /var/lib/fleet var \
 && /opt/venv/bin/python -m compileall -q . \
 && if [ "${LOCK}" = runtime ]; then NUMBA_CACHE_DIR=/opt/numba /opt/venv/bin/python -m generator.backtest.warm; fi \
 && mkdir -p /opt/numba

FROM ${BASE}
ARG VERSION=0.2.0
ARG REVISION=unknown
LABEL org.opencontainers.image.title="Model Fleet" \
      org.opencontainers.image.description="Keeps an LLM-driven alpha generator working on a GPU that is too small" \
      org.opencontainers.image.licenses="MIT" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}"
RUN groupadd --system --gid 10001 fleet \
 && useradd --system --uid 10001 --gid fleet --home-dir /var/lib/fleet --no-create-home --shell /usr/sbin/nologin fleet \
 && install -d -o fleet -g fleet -m 0750 /var/lib/fleet
COPY --from=build /opt/venv /opt/venv
COPY --from=build /opt/numba /opt/numba
COPY --from=build /opt/model-fleet /opt/model-fleet
ENV PATH=/opt/venv/bin:$PATH \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    FLEET_HOME=/var/lib/fleet \
    HOME=/var/lib/fleet \
    NUMBA_CACHE_DIR=/var/lib/fleet/cache/numba \
    MPLCONFIGDIR=/tmp/matplotlib
WORKDIR /opt/model-fleet
VOLUME /var/lib/fleet
USER fleet
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=15s --timeout=10s --start-period=30s --retries=3 CMD ["python", "-m", "fleet.startup.healthcheck"]
ENTRYPOINT ["/opt/model-fleet/container/entry.sh"]
CMD ["python", "-m", "fleet"]
