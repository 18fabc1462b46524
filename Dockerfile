FROM python:3.11-slim AS build

ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1
RUN python -m venv /venv
WORKDIR /src
# Before the sources: a change of them does not install the dependencies anew.
COPY requirements.lock ./
RUN /venv/bin/pip install --require-hashes -r requirements.lock
COPY pyproject.toml README.md LICENSE ./
COPY millstream ./millstream
RUN /venv/bin/pip install --no-deps .


FROM python:3.11-slim

RUN useradd --system --uid 10001 --no-create-home millstream \
    && install -d -o millstream -g millstream /var/lib/millstream
COPY --from=build /venv /venv
# The service. Its working directory is the volume, so it is found by PYTHONPATH.
COPY models /service/models
COPY app /service/app
COPY tables /service/tables
COPY agents /service/agents
ENV PATH=/venv/bin:$PATH \
    PYTHONPATH=/service \
    PYTHONUNBUFFERED=1 \
    MILLSTREAM_STATE_DIR=/var/lib/millstream \
    MILLSTREAM_WEB_HOST=0.0.0.0
# By number, so that Kubernetes can see that it is not root.
USER 10001
WORKDIR /var/lib/millstream
# After its owner is set, so that a new volume belongs to the user. One volume a container: workers do not share state.
VOLUME /var/lib/millstream
EXPOSE 6066
STOPSIGNAL SIGTERM
# The long start is a restore of large tables.
HEALTHCHECK --interval=10s --timeout=5s --start-period=120s --retries=3 \
    CMD ["python", "-c", "import os, ssl, urllib.request as r; e = os.environ; t = 'MILLSTREAM_TLS_CERT' in e; r.urlopen('http' + 's' * t + '://127.0.0.1:' + e.get('MILLSTREAM_WEB_PORT', '6066') + '/live', timeout=4, context=ssl._create_unverified_context() if t else None)"]
CMD ["faust", "-A", "app", "worker", "-l", "info"]
